"""How unlike sets of pictures look: halves of one set against each other, and different sets.

Prints the largest contrast of looks, its upper 95 % bound and whether the verdict would compare
scores of the two pools (siren_ext/scoring/appearance.py). None of these sets was used to choose the
limit. Of each set at most LIMIT pictures are read, chosen at random.

Run: python benchmarks/likeness.py FOLDER ... [--pictures 120] [--side 64]
The bundled samples are always included; sets of less than 30 pictures are left out.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np

from siren_ext.data.image_files import list_images
from siren_ext.data.images import read_picture, square_view, to_tensor
from siren_ext.samples.folder import sample_folder
from siren_ext.scoring.appearance import Contrast, contrast, looks_of


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--pictures", type=int, default=120)
    parser.add_argument("--side", type=int, default=64)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    sets = {}
    for folder in (sample_folder(), *options.folders):
        paths = list_images(folder)
        if len(paths) < 30:
            continue
        chosen = rng.permutation(len(paths))[: options.pictures]
        views = (to_tensor(read_picture(paths[place]).rgb) for place in chosen)
        sets[folder.name] = np.array([looks_of(square_view(v, options.side)) for v in views])
    print(f"{'pair':44}{'n':>5}{'m':>5}{'share':>8}{'bound':>8}  judged")
    same, other = [], []
    for name, looks in sets.items():
        middle = len(looks) // 2
        same.append(contrast(looks[:middle], looks[middle:]))
        show(f"{name}, two halves", same[-1])
    for first, second in itertools.combinations(sets, 2):
        other.append(contrast(sets[first], sets[second]))
        show(f"{first} and {second}", other[-1])
    for name, found in (("halves of one set", same), ("different sets", other)):
        judged = sum(one.comparable for one in found)
        print(f"{name}: {judged} of {len(found)} pairs would be judged")


def show(name: str, found: Contrast) -> None:
    """Print a line."""
    judged = "yes" if found.comparable else "no"
    print(f"{name:44}{found.n:5}{found.m:5}{found.share:8.3f}{found.upper:8.3f}  {judged}")


if __name__ == "__main__":
    main()
