"""Coats, scores and generates with several processes or machines; images in stores and shards."""
