"""Was a model trained on images that were never coated? Compares published with unpublished."""
