"""The two small networks of a coater and the visibility mask between them."""
