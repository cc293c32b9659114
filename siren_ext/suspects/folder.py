"""A suspect of which only pictures are available: a folder that somebody else generated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from siren_ext.data.image_files import list_images
from siren_ext.data.images import read_picture, to_tensor
from siren_ext.errors import DatasetError
from siren_ext.files import sha256_file
from siren_ext.progress import NULL, Progress
from siren_ext.suspects.base import Mimicry, PromptPlan


class FolderSuspect:
    """The pictures in a folder, in natural order; their prompts and seeds are unknown.

    Parameters
    ----------
    folder : Path
        The folder; subfolders are not searched.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def paths(self) -> list[Path]:
        """The picture files, in natural order.

        Raises
        ------
        DatasetError
            If the folder does not exist or has no pictures.
        """
        if not self.folder.is_dir():
            raise DatasetError(
                f"There is no folder {self.folder}; expected a folder with pictures."
            )
        found = list_images(self.folder)
        if not found:
            raise DatasetError(
                f"{self.folder} contains no pictures; expected PNG, JPEG, WebP or similar files."
            )
        return found

    def describe(self) -> dict[str, Any]:
        """The record: kind, folder name, number of pictures and a hash of their bytes."""
        paths = self.paths()
        digest = hashlib.sha256("\n".join(sha256_file(path) for path in paths).encode())
        return {
            "kind": "folder",
            "name": self.folder.resolve().name,
            "images": len(paths),
            "hash": digest.hexdigest(),
        }

    def generate(
        self,
        plan: PromptPlan | None = None,
        *,
        indices: Sequence[int] | None = None,
        progress: Progress = NULL,
    ) -> Iterator[Mimicry]:
        """Read the pictures.

        Parameters
        ----------
        plan : PromptPlan or None
            Its ``count`` pictures are read; None reads all.
        indices : sequence of int or None
            Read only these.
        progress : Progress
            One unit per picture.

        Yields
        ------
        Mimicry
            In rising order, with an empty prompt and seed -1.

        Raises
        ------
        DatasetError
            If there are fewer pictures than requested.
        ImageError
            If a picture cannot be read.
        """
        paths = self.paths()
        wanted = list(range(len(paths) if plan is None else plan.count))
        if indices is not None:
            wanted = sorted(indices)
        if wanted and wanted[-1] >= len(paths):
            raise DatasetError(
                f"{self.folder} contains {len(paths)} pictures, but picture {wanted[-1] + 1} was "
                f"requested; expected a plan of at most {len(paths)}."
            )
        for index in wanted:
            image = to_tensor(read_picture(paths[index]).rgb)[0]
            yield Mimicry(image=image, index=index, prompt="", seed=-1)
            progress.advance(note=paths[index].name)
