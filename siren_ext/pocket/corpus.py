"""The base corpus of the pocket model: captioned photos and drawings at 128 px.

Photos are Caltech-101 objects (CC BY 4.0); drawings come from five packages of free art. People's
faces, paintings, landscapes, monsters and the Fluent icons are left out on purpose: the sets in
experiments consist of those, and the base model must not have seen them.

Run ``python -m siren_ext.pocket.corpus --help``. Archives are downloaded with ``npm`` and
``apt-get`` (without an account or a model hub). They are needed only for training the pocket model,
not for using it.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

log = logging.getLogger(__name__)

SIZE = 128
NPM_PACKAGES = (
    "emoji-datasource-google@16.0.0",
    "emoji-datasource-twitter@16.0.0",
    "openmoji@17.0.0",
)
DEB_PACKAGES = ("openclipart-png", "tuxpaint-stamps-default")
CLIPART_SKIPPED = (
    "computer/icons",
    "shapes/stars",
    "shapes/arrows",
    "map_symbols",
    "gradients",
    "led",
    "jigsaw",
    "flowchart",
    "callouts",
)
EMOJI_SKIPPED_CATEGORIES = frozenset({"People & Body", "Flags", "Component", "Symbols"})
Sample = tuple[Image.Image, str, str]


def fetch(folder: Path) -> None:
    """Download the packages of drawings (about 290 MB) into a folder; existing files are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in NPM_PACKAGES:
        if not (folder / f"{package.replace('@', '-')}.tgz").exists():
            subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True)
    for package in DEB_PACKAGES:
        if not list(folder.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", package], cwd=folder, check=True)


def flatten(image: Image.Image, size: int = SIZE, margin: float = 0.0) -> Image.Image:
    """A drawing on a white square.

    Parameters
    ----------
    image : PIL.Image.Image
        The drawing, of any mode and size.
    size : int
        Side of the square in pixels.
    margin : float
        Share of the side that stays free at each edge.
    """
    image = image.convert("RGBA")
    inner = round(size * (1 - 2 * margin))
    scale = inner / max(image.size)
    shape = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(shape, Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (size, size), (255, 255, 255, 255))
    canvas.alpha_composite(image, ((size - shape[0]) // 2, (size - shape[1]) // 2))
    return canvas.convert("RGB")


def photos(folder: Path) -> Iterator[Sample]:
    """Caltech-101 from ``images.zip`` and ``captions.tsv``, cropped to the central square."""
    with (
        zipfile.ZipFile(folder / "images.zip") as archive,
        (folder / "captions.tsv").open(encoding="utf-8") as rows,
    ):
        for row in csv.DictReader(rows, delimiter="\t"):
            image = Image.open(io.BytesIO(archive.read(row["file"]))).convert("RGB")
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            image = image.crop((left, top, left + side, top + side))
            yield image.resize((SIZE, SIZE), Image.Resampling.LANCZOS), row["caption"], "photo"


def emoji(folder: Path, vendor: str, style: str) -> Iterator[Sample]:
    """Emoji of one vendor, without people, flags and symbols.

    Parameters
    ----------
    folder : Path
        Folder of :func:`fetch`.
    vendor : {"google", "twitter"}
        Whose emoji.
    style : str
        First words of the captions, such as "an emoji".

    Yields
    ------
    image, caption, source
        One per emoji.
    """
    archive = next(folder.glob(f"emoji-datasource-{vendor}-*.tgz"))
    with tarfile.open(archive) as tar:
        members = {m.name: m for m in tar.getmembers()}
        table = tar.extractfile(members["package/emoji.json"])
        if table is None:
            return
        for entry in json.load(table):
            name = f"package/img/{vendor}/64/{entry['image']}"
            if entry["category"] in EMOJI_SKIPPED_CATEGORIES or name not in members:
                continue
            data = tar.extractfile(members[name])
            if data is None:
                continue
            words = (entry.get("name") or entry["short_name"]).lower().replace("-", " ")
            yield flatten(Image.open(io.BytesIO(data.read()))), f"{style} of {words}", vendor


def openmoji(folder: Path) -> Iterator[Sample]:
    """OpenMoji drawings, rasterised; without skin tones, people and flags."""
    import resvg_py

    with tarfile.open(next(folder.glob("openmoji-*.tgz"))) as tar:
        members = {m.name: m for m in tar.getmembers()}
        table = tar.extractfile(members["package/data/openmoji.csv"])
        if table is None:
            return
        for row in csv.DictReader(io.TextIOWrapper(table, encoding="utf-8")):
            name = f"package/color/svg/{row['hexcode']}.svg"
            if row["skintone"] or row["group"] in {"people-body", "flags"} or name not in members:
                continue
            data = tar.extractfile(members[name])
            if data is None:
                continue
            png = resvg_py.svg_to_bytes(svg_string=data.read().decode(), width=SIZE)
            image = Image.open(io.BytesIO(bytes(png)))
            yield flatten(image), f"a line drawing of {row['annotation'].lower()}", "openmoji"


def deb_members(folder: Path, package: str, target: Path) -> Path:
    """Unpack the files of a Debian package below ``target``, without running its scripts."""
    out = target / package
    if not out.exists():
        target.mkdir(parents=True, exist_ok=True)
        archive = next(folder.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg", "-x", str(archive), str(out)], check=True)
    return out


def clipart(root: Path) -> Iterator[Sample]:
    """Open Clip Art without repetitive topics; captions are words of the folder and file name."""
    base = root / "usr/share/openclipart/png"
    for path in sorted(base.rglob("*.png")):
        topic = path.relative_to(base).parent.as_posix()
        if path.is_symlink() or any(skip in topic for skip in CLIPART_SKIPPED):
            continue
        try:
            image = flatten(Image.open(path))
        except (OSError, Image.DecompressionBombError, ValueError):
            continue
        words = [w for w in re.split(r"[^a-z]+", path.stem.lower()) if len(w) > 2][:2]
        folder_words = topic.split("/")[-1].replace("_", " ")
        yield image, f"a clip art of {folder_words} {' '.join(words)}".strip(), "clipart"


def stamps(root: Path) -> Iterator[Sample]:
    """Tux Paint stamps that have an English caption, without letters and symbols."""
    import resvg_py

    base = root / "usr/share/tuxpaint/stamps"
    for path in sorted([*base.rglob("*.png"), *base.rglob("*.svg")]):
        text = path.with_suffix(".txt")
        if not text.exists() or "symbols" in path.parts:
            continue
        lines = text.read_text(encoding="utf-8", errors="ignore").splitlines()
        if not lines or not lines[0].strip():
            continue
        try:
            if path.suffix == ".svg":
                png = resvg_py.svg_to_bytes(svg_path=str(path), width=256)
                image = flatten(Image.open(io.BytesIO(bytes(png))))
            else:
                image = flatten(Image.open(path))
        except (OSError, ValueError, Image.DecompressionBombError):
            continue
        yield image, f"a picture of {lines[0].strip().rstrip('.').lower()}", "stamp"


def build(photo_folder: Path, downloads: Path, out: Path) -> int:
    """Write ``images.npy`` (N x 128 x 128 x 3, uint8) and ``captions.json``.

    Images of nearly one colour, and duplicates at 16 px, are left out. The order depends only on
    the sources.

    Parameters
    ----------
    photo_folder : Path
        Folder with ``images.zip`` and ``captions.tsv``.
    downloads : Path
        Folder of :func:`fetch`.
    out : Path
        Folder to write to.

    Returns
    -------
    int
        N, the number of images.
    """
    Image.MAX_IMAGE_PIXELS = 60_000_000
    scratch = out / "unpacked"
    art = deb_members(downloads, "openclipart-png", scratch)
    stamp_root = deb_members(downloads, "tuxpaint-stamps-default", scratch)
    streams = (
        photos(photo_folder),
        emoji(downloads, "google", "an emoji"),
        emoji(downloads, "twitter", "a flat emoji"),
        openmoji(downloads),
        clipart(art),
        stamps(stamp_root),
    )
    images: list[np.ndarray] = []
    rows: list[dict[str, str]] = []
    seen: set[bytes] = set()
    for stream in streams:
        for image, caption, source in stream:
            pixels = np.asarray(image, dtype=np.uint8)
            key = (np.asarray(image.resize((16, 16))) >> 3).tobytes()
            if pixels.std() < 8 or key in seen:
                continue
            seen.add(key)
            images.append(pixels)
            rows.append({"caption": caption, "source": source})
        log.info("%d images", len(images))
    np.save(out / "images.npy", np.stack(images))
    (out / "captions.json").write_text(json.dumps(rows, indent=0), encoding="utf-8")
    shutil.rmtree(scratch)
    return len(images)


def main() -> None:
    """Command line: fetch the packages and build the corpus arrays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="folder with images.zip")
    parser.add_argument("--downloads", type=Path, required=True, help="folder for the packages")
    parser.add_argument("--out", type=Path, required=True, help="folder for the arrays")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args.out.mkdir(parents=True, exist_ok=True)
    fetch(args.downloads)
    count = build(args.photos, args.downloads, args.out)
    log.info("corpus of %d images in %s", count, args.out)


if __name__ == "__main__":
    main()
