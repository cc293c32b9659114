"""The arithmetic of adapters' changes, on a toy network."""

from __future__ import annotations

import torch
from support.toy_adapters import normal

from siren_ext.adapters.changes import lora_delta


def test_convolution_delta_equals_the_convolutions() -> None:
    down, up, x = normal(4, 5, 3, 3), normal(6, 4, 1, 1), normal(2, 5, 8, 8)
    conv = torch.nn.functional.conv2d
    through = conv(conv(x, down, padding=1), up) * (2.0 / 4)
    ours = conv(x, lora_delta(down, up, 2.0), padding=1)
    torch.testing.assert_close(ours, through, atol=1e-4, rtol=1e-4)
    point, mid = normal(4, 5, 1, 1), normal(3, 4, 3, 3)
    last = normal(6, 3, 1, 1)
    through = conv(conv(conv(x, point), mid, padding=1), last) * (2.0 / 4)
    ours = conv(x, lora_delta(point, last, 2.0, mid), padding=1)
    torch.testing.assert_close(ours, through, atol=1e-4, rtol=1e-4)
