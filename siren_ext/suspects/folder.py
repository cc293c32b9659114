"""A suspect of which only pictures are known: a folder that somebody else generated."""

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
    """The pictures of a folder, in natural order; prompts and seeds are not known."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def paths(self) -> list[Path]:
        """The folder's picture files; raises :class:`DatasetError` when there are none."""
        if not self.folder.is_dir():
            raise DatasetError(f"There is no folder {self.folder}; expected one with pictures.")
        found = list_images(self.folder)
        if not found:
            raise DatasetError(
                f"{self.folder} holds no pictures; expected PNG, JPEG, WebP or similar files."
            )
        return found

    def describe(self) -> dict[str, Any]:
        """Kind, folder name, number of pictures and a hash over their bytes."""
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
        """The pictures themselves: the first ``plan.count``, or all without a plan.

        Raises :class:`DatasetError` when the plan asks for more than there are.
        """
        paths = self.paths()
        wanted = list(range(len(paths) if plan is None else plan.count))
        if indices is not None:
            wanted = sorted(indices)
        if wanted and wanted[-1] >= len(paths):
            raise DatasetError(
                f"{self.folder} holds {len(paths)} pictures, but picture {wanted[-1] + 1} is asked "
                f"for; expected a plan of at most {len(paths)}."
            )
        for index in wanted:
            image = to_tensor(read_picture(paths[index]).rgb)[0]
            yield Mimicry(image=image, index=index, prompt="", seed=-1)
            progress.advance(note=paths[index].name)
