"""The coater: a generator that coats images, an extractor that scores them, and their file."""
