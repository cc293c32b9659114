"""The networks of a coater and the visibility mask between them."""
