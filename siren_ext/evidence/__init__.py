"""What is fixed before a test, so that nobody can choose afterwards."""
