"""The owner's secrets: coating keys, signing keys, and the encrypted files that hold them."""
