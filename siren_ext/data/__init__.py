"""Images and folders of images: reading, writing, captions, kohya layouts."""
