"""Draw docs/coating.png: a sample, its coated copies and the amplified differences.

python benchmarks/coating_picture.py [--sample flamingo] [--out docs/coating.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coating.apply import message_of
from siren_ext.data.images import quantise, read_picture, to_tensor, to_uint8
from siren_ext.files import atomic
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.samples.folder import sample_folder

GAIN = 8
HEADER = 32
COATINGS = {"default": "samples", "keyed": "keyed"}
"""The bundled coater of each preset that is shown."""


def example_key() -> CoatingKey:
    """A key that is the same on every call, for the picture only."""
    return CoatingKey(np.random.default_rng(0).choice([-1, 1], 48))


def tiles(sample: str) -> dict[str, torch.Tensor]:
    """Titles and pictures, each 1 x 3 x H x W."""
    clean = to_tensor(read_picture(sample_folder() / f"{sample}.png").rgb)
    found = {"original": clean}
    for preset, name in COATINGS.items():
        coater = Coater.load(coater_path(name))
        message = message_of(example_key() if coater.config.message_bits else None)
        with torch.no_grad():
            coated = quantise(clean + coater.residual(clean, message))
        found[f"coated, {preset}"] = coated
        found[f"difference \u00d7 {GAIN}, {preset}"] = (0.5 + GAIN * (coated - clean)).clamp(0, 1)
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sample", default="flamingo", help="name of a bundled image")
    parser.add_argument("--out", type=Path, default=Path("docs/coating.png"))
    args = parser.parse_args()
    shown = tiles(args.sample)
    row = Image.fromarray(to_uint8(torch.cat(list(shown.values()), 3)))
    page = Image.new("RGB", (row.width, row.height + HEADER), "white")
    page.paste(row, (0, HEADER))
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 18)
    pen, side = ImageDraw.Draw(page), row.width // len(shown)
    for place, title in enumerate(shown):
        middle = (place * side + side // 2, HEADER // 2)
        pen.text(middle, title, fill="black", font=font, anchor="mm")
    with atomic(args.out) as temporary:
        page.save(temporary, format="PNG", optimize=True)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
