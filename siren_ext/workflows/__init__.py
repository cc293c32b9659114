"""Several stations in one call: the demo, and an investigation from model to report."""
