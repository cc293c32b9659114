"""A coater without networks."""

from __future__ import annotations

import torch
from torch import Tensor

from siren_ext.coater.config import CoaterConfig
from siren_ext.errors import CoaterError


class FakeCoater:
    """A checkerboard that darkens; its score is the mean."""

    def __init__(self, amplitude: float = 0.02, fingerprint: str = "fake-1") -> None:
        self.amplitude, self.fingerprint = amplitude, fingerprint
        self.device, self.config = torch.device("cpu"), CoaterConfig()
        # there are no networks that could see a large photo by strips, as those of float32 do
        self.center = torch.zeros(1, 1, dtype=torch.float64)
        self.coated_images = 0
        self.batches: list[int] = []

    def residual(self, images: Tensor) -> Tensor:
        if images.shape[2] < 4:
            raise CoaterError("the image is too small")
        self.coated_images += len(images)
        self.batches.append(len(images))
        rows = torch.arange(images.shape[2]).view(-1, 1)
        columns = torch.arange(images.shape[3])
        pattern = ((rows + columns) % 2).float() - 0.9
        return (self.amplitude * pattern).expand_as(images)

    def score(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))
