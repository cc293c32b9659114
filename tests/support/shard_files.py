"""Shards made of the images in a folder."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from support.noise_files import noise

from siren_ext.text import natural_key


def tar(path: Path, members: dict[str, bytes], *, links: dict[str, str] | None = None) -> Path:
    """A tar file with these members, and symbolic links after them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = len(content), 1_600_000_000, "artist"
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


def members(path: Path) -> dict[str, bytes]:
    """The members of a tar file, in order."""
    with tarfile.open(path) as archive:
        return {
            info.name: archive.extractfile(info).read() if info.isfile() else b""  # type: ignore[union-attr]
            for info in archive.getmembers()
        }


def samples(folder: Path, first: int, count: int, *, suffix: str = ".png") -> dict[str, bytes]:
    """Members of so many samples: an image, a caption and facts for each key."""
    made: dict[str, bytes] = {}
    for index in range(first, first + count):
        image = folder / f"{index:03d}{suffix}"
        if not image.exists():
            noise(image, size=(12 + 4 * (index % 2), 10))
        made[f"{index:03d}{suffix}"] = image.read_bytes()
        made[f"{index:03d}.txt"] = f"caption {index}".encode()
        made[f"{index:03d}.json"] = json.dumps({"number": index}).encode()
    return made


def parquet(path: Path, folder: Path, *, struct: bool = True, **options: Any) -> Path:
    """A Parquet file with the images of a folder, their captions and numbers."""
    import pyarrow
    import pyarrow.parquet

    files = sorted(folder.glob("*.png"), key=lambda file: natural_key(file.name))
    images: list[Any] = [file.read_bytes() for file in files]
    kind: Any = pyarrow.binary()
    if struct:
        images = [{"bytes": b, "path": f.name} for b, f in zip(images, files, strict=True)]
        kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = {
        "image": pyarrow.array(images, type=kind),
        "text": pyarrow.array([f"caption of {file.stem}" for file in files]),
        "number": pyarrow.array(range(len(files))),
    }
    table = pyarrow.table(columns).replace_schema_metadata({"made by": "a test"})
    pyarrow.parquet.write_table(table, path, **({"row_group_size": 4} | options))
    return path
