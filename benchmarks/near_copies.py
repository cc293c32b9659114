"""How well near copies are found: the same picture in other formats, sizes and qualities.

Each picture is saved in several ways, and its perceptual hash (siren_ext/scoring/copies.py) is
compared with that of each file: copies that differ in more bits than the limit are missed. Pairs of
different pictures of a set that differ in fewer bits are false. The limit was chosen on the bundled
samples; all other sets check it.

Run: python benchmarks/near_copies.py FOLDER ... [--pictures 100]
Folders are searched with their subfolders; the bundled samples are always included. Pictures that a
model made for one prompt with different seeds are the hardest set for false copies:
siren-ext generate --base pocket --prompt "a cat" --prompt "a red apple" -n 80 --out FOLDER
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from siren_ext.data.image_files import list_images
from siren_ext.data.images import read_picture, square_view, to_tensor
from siren_ext.samples.folder import sample_folder
from siren_ext.scoring.copies import MIRRORED, NEAR, phash_of

SIDE = 128
LARGEST = 768


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--pictures", type=int, default=100)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"limit: {NEAR} of 255 bits; bits that differ between")
    print(
        f"{'set':16}{'pictures':>9}{'copies: 99 %':>14}{'most':>6}{'missed':>13}"
        f"{'different: least':>18}{'1 %':>6}{'false':>12}"
    )
    worst: dict[str, int] = {}
    for folder in (sample_folder(), *options.folders):
        folders = (folder, *sorted(one for one in folder.rglob("*") if one.is_dir()))
        paths = [path for one in folders for path in list_images(one)]
        chosen = sorted(rng.permutation(len(paths))[: options.pictures])
        rows, apart = [], []
        for place in chosen:
            picture = Image.fromarray(read_picture(paths[place]).rgb)
            picture.thumbnail((LARGEST, LARGEST))
            rows.append(bits_of(picture))
            for name, copy in saved_again(picture):
                differ = differing(bits_of(copy), rows[-1])
                apart.append(differ)
                worst[name] = max(worst.get(name, 0), differ)
        table = np.array(rows, dtype=int)
        pairs = np.array([differing(first, second) for first, second in combinations(table, 2)])
        copies = np.array(apart)
        missed = f"{(copies > NEAR).sum()} of {len(copies)}"
        false = f"{(pairs <= NEAR).sum()} of {len(pairs)}"
        print(
            f"{folder.name:16}{len(table):9}{np.quantile(copies, 0.99):14.0f}{copies.max():6}"
            f"{missed:>13}{pairs.min():18}{np.quantile(pairs, 0.01):6.0f}{false:>12}"
        )
    print("most bits of any set:", ", ".join(f"{name} {most}" for name, most in worst.items()))


def bits_of(picture: Image.Image) -> np.ndarray:
    """The bits of a picture's hash."""
    view = square_view(to_tensor(np.asarray(picture)), SIDE)
    return np.unpackbits(np.frombuffer(bytes.fromhex(phash_of(view)), dtype=np.uint8))


def differing(first: np.ndarray, second: np.ndarray) -> int:
    """Bits in which two pictures differ, as they are or one of them mirrored."""
    signs = 2 * first.astype(int) - 1, 2 * second.astype(int) - 1
    return min(int((signs[0] * one != signs[1]).sum()) for one in MIRRORED)


def saved_again(picture: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """The picture in other formats, qualities and sizes."""
    for kind, quality in (
        ("JPEG", 95),
        ("JPEG", 75),
        ("JPEG", 50),
        ("JPEG", 30),
        ("WEBP", 90),
        ("WEBP", 60),
    ):
        yield f"{kind} {quality}", encoded(picture, kind, quality)
    side = max(picture.size)
    for target in (2 * side, side // 2, 180, 64):
        name = {2 * side: "double size", side // 2: "half size"}.get(target, f"{target} px")
        small = resized(picture, target)
        yield name, small
        if target == 180:
            yield "180 px, JPEG 75", encoded(small, "JPEG", 75)
    for name, way in (("mirrored", 0), ("upside down", 1), ("turned round", 3)):
        yield name, picture.transpose(Image.Transpose(way))
    yield "mirrored, JPEG 50", encoded(picture.transpose(Image.Transpose(0)), "JPEG", 50)


def encoded(picture: Image.Image, kind: str, quality: int) -> Image.Image:
    """The picture as it is read from such a file."""
    file = io.BytesIO()
    picture.save(file, kind, quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def resized(picture: Image.Image, side: int) -> Image.Image:
    """The picture with its longer side of so many pixels."""
    share = side / max(picture.size)
    size = (max(1, round(picture.width * share)), max(1, round(picture.height * share)))
    return picture.resize(size, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
