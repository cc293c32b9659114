"""What the owner keeps secret: the message of a coating, signing keys, and their files."""
