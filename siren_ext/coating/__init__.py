"""An image, or a folder of images, with the coating added, and the record of it."""
