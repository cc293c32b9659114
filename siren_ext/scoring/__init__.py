"""How strongly images carry a coating."""
