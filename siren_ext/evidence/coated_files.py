"""The coated images in a folder, as commitments record them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from siren_ext.errors import DatasetError, EvidenceError, ImageError
from siren_ext.files import sha256_file
from siren_ext.text import printable

MAX_FILES = 200_000


def coated_hashes(folder: Path) -> list[tuple[str, str]]:
    """Hashes of the coated images in a folder.

    Parameters
    ----------
    folder : Path
        with subfolders; uncoated images that ``coat`` copied are left out.

    Returns
    -------
    list[tuple[str, str]]
        (name, SHA-256) of every coated image.

    Raises
    ------
    EvidenceError
        the folder holds no coated images or too many, or one can't be read.
    """
    from siren_ext.data.image_files import scan_images

    try:
        paths, _ = scan_images(folder, deep=True)
        runs = {here: _coated_names(here) for here in {path.parent for path in paths}}
        for here in list(runs):  # a manifest may also list files in subfolders
            runs |= {up: _coated_names(up) for up in here.parents if up.is_relative_to(folder)}
        found = [
            (printable(path.relative_to(folder).as_posix()), sha256_file(path))
            for path in paths
            if all(
                names is None or path.relative_to(here).as_posix() in names
                for here, names in runs.items()
                if path.is_relative_to(here)
            )
        ]
    except (ImageError, DatasetError) as error:
        raise EvidenceError(str(error)) from error
    except OSError as error:
        raise EvidenceError(
            f"A coated file in {folder} can't be read: {error.strerror}."
        ) from error
    if not found or len(found) > MAX_FILES:
        raise EvidenceError(
            f"{folder} has {len(found):,} coated images; expected 1 to {MAX_FILES:,}."
        )
    return found


def refuse_other_runs(folder: Path, coater: str, keys: Collection[str]) -> None:
    """Refuse images coated with another coater or key than is committed to, or not all coated.

    Parameters
    ----------
    folder : Path
        the coated images, with the manifests of their runs; images without one are not known.
    coater : str
        fingerprint of the coater.
    keys : Collection[str]
        fingerprints of the keys; empty leaves the keys unchecked.

    Raises
    ------
    EvidenceError
        a run in the folder had another coater, or a key that is not among these, or was stopped
        before its end; or its manifest can't be read.
    """
    from siren_ext.coating.manifest import MANIFEST_NAME, CoatManifest

    for path in sorted(Path(folder).rglob(MANIFEST_NAME)):
        try:
            run = CoatManifest.load(path)
        except DatasetError as error:
            raise EvidenceError(str(error)) from error
        place, used = printable(path.parent), run.key[: len(coater)]  # a label of twins may follow
        if run.coater != coater:
            raise EvidenceError(
                f"{place} was coated with the coater {printable(run.coater)[:12]}, but the "
                f"commitment would be to {coater[:12]}. Give the coater that the images were "
                "coated with."
            )
        if keys and len(used) == len(coater) and used not in keys:
            raise EvidenceError(
                f"{place} was coated with a key with the fingerprint {printable(used)[:12]}, "
                "which is not in the given key file. Give the key file that the images were "
                "coated with."
            )
        if not run.complete:
            raise EvidenceError(
                f"The coating of {place} was stopped after {len(run.entries):,} images, so the "
                "commitment would leave out the others. Run 'siren-ext coat' again into the same "
                "folder to finish the rest, and then commit."
            )


def _coated_names(folder: Path) -> set[str] | None:
    """Names of the coated files in a manifest's folder; None without a manifest."""
    from siren_ext.coating.manifest import MANIFEST_NAME, CoatManifest

    if not (folder / MANIFEST_NAME).is_file():
        return None
    entries = CoatManifest.load(folder / MANIFEST_NAME).entries
    return {entry.output for entry in entries if entry.coated}
