"""The pair of networks that writes a coating and reads it, and the file that holds them."""
