"""The web UI's side of the panels: what only works inside it."""
