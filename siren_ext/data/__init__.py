"""Images and sets of images: reading and writing files, captions, kohya's folders."""
