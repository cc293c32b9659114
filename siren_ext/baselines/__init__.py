"""Published methods for comparison: each protects images, and tests pictures of a model."""
