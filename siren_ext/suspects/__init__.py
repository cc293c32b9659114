"""Suspect models: get pictures from local models, web UIs, web services and folders."""
