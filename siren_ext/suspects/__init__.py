"""Models under suspicion, and how to get pictures out of them."""
