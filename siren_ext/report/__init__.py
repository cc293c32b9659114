"""The page and the record of a verdict, and how both are checked."""
