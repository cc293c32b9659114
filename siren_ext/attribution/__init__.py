"""Which of the owner's images shaped a picture, by a model's gradients or by patches."""
