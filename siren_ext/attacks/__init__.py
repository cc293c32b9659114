"""What others do to coated images: ordinary handling before and during training."""
