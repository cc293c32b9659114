"""Draw docs/coating.png: samples, their coated copies and the enlarged difference.

python benchmarks/coating_picture.py [--coater samples] [--out docs/coating.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.data.images import quantise, read_picture, to_tensor, to_uint8
from siren_ext.files import atomic
from siren_ext.samples.folder import sample_folder

NAMES = ("flamingo", "avocado", "dog-face", "strawberry")
GAIN = 8


def strip(name: str, coater: Coater) -> torch.Tensor:
    """Clean, coated and enlarged difference of one sample, 3 x H x 3W."""
    clean = to_tensor(read_picture(sample_folder() / f"{name}.png").rgb)
    with torch.no_grad():
        coated = quantise(clean + coater.residual(clean))
    difference = (0.5 + GAIN * (coated - clean)).clamp(0, 1)
    return torch.cat([clean, coated, difference], 3)[0]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coater", default="samples")
    parser.add_argument("--out", type=Path, default=Path("docs/coating.png"))
    args = parser.parse_args()
    coater = Coater.load(coater_path(args.coater))
    strips = [strip(name, coater) for name in NAMES]
    rows = [torch.cat(strips[i : i + 2], 2) for i in range(0, len(strips), 2)]
    with atomic(args.out) as temporary:
        Image.fromarray(to_uint8(torch.cat(rows, 1))).save(temporary, format="PNG", optimize=True)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
