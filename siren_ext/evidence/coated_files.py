"""The coated images in a folder, as commitments record them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from siren_ext.errors import DatasetError, EvidenceError, ImageError
from siren_ext.files import sha256_file
from siren_ext.text import folded, printable

MAX_FILES = 200_000


def coated_hashes(folder: Path) -> list[tuple[str, str]]:
    """Hashes of the coated images in a folder.

    Parameters
    ----------
    folder : Path
        with subfolders; uncoated images that ``coat`` copied are left out. Names may be in another
        case or have their accents in another form than in the manifest, as file systems and
        archives change them, and unchanged files may have other names.

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
        runs = {here: _coated_by(here) for here in {path.parent for path in paths}}
        for here in list(runs):  # a manifest may also list files in subfolders
            runs |= {up: _coated_by(up) for up in here.parents if up.is_relative_to(folder)}
        hashed = {path: sha256_file(path) for path in paths}
        found = [
            (printable(path.relative_to(folder).as_posix()), digest)
            for path, digest in hashed.items()
            if all(
                run is None or run.has(path.relative_to(here).as_posix(), digest)
                for here, run in runs.items()
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
            f"{folder} holds {len(found):,} coated images; expected 1 to {MAX_FILES:,}."
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
                f"{place} was coated with the coater {printable(run.coater)[:12]}, and the "
                f"commitment would be to {coater[:12]}. Name the coater that the images were "
                "coated with."
            )
        if keys and len(used) == len(coater) and used not in keys:
            raise EvidenceError(
                f"{place} was coated with a key of the fingerprint {printable(used)[:12]}, which "
                "is not one of the given key file. Name the key file that the images were coated "
                "with."
            )
        if not run.complete:
            raise EvidenceError(
                f"The coating of {place} was stopped after {len(run.entries):,} images, so the "
                "commitment would leave out the others. Coat the images into the same folder once "
                "more, which goes on from there, and then commit."
            )


def unrecorded(folder: Path, files: Collection[str]) -> list[str]:
    """Images of a folder that are in no record of ``coat``, so that nobody knows what they are.

    Parameters
    ----------
    folder : Path
        as for :func:`coated_hashes`.
    files : Collection[str]
        names of the coated images there.

    Returns
    -------
    list[str]
        their names; empty if the folder has no record at all.
    """
    from siren_ext.coating.manifest import MANIFEST_NAME, CoatManifest
    from siren_ext.data.image_files import scan_images

    known = set(files)
    for path in Path(folder).rglob(MANIFEST_NAME):
        within = path.parent.relative_to(folder).as_posix()
        start = "" if within == "." else f"{within}/"
        known |= {folded(start + entry.output) for entry in CoatManifest.load(path).entries}
    names = [path.relative_to(folder).as_posix() for path in scan_images(folder, deep=True)[0]]
    return [printable(name) for name in names if not {printable(name), folded(name)} & known]


def differences(
    committed: Sequence[tuple[str, str]], found: Sequence[tuple[str, str]]
) -> tuple[list[str], list[str]]:
    """Which committed files are not as they were.

    Parameters
    ----------
    committed, found : Sequence[tuple[str, str]]
        (name, SHA-256) of the files then and now.

    Returns
    -------
    tuple[list[str], list[str]]
        Names of the files that differ, and of those that are missing. An unchanged file may have
        another name.
    """
    exact, hashes = dict(found), {digest for _, digest in found}
    alike = {folded(name): digest for name, digest in found}
    changed, missing = list[str](), list[str]()
    for name, digest in committed:
        now = exact.get(name, alike.get(folded(name)))
        if digest not in hashes:
            (missing if now is None else changed).append(name)
    return changed, missing


class _Run(NamedTuple):
    """The coated files of a manifest: their names as file systems compare them, and hashes."""

    names: frozenset[str]
    hashes: frozenset[str]

    def has(self, name: str, digest: str) -> bool:
        """Whether a file is one of them, perhaps changed or under another name."""
        return folded(name) in self.names or digest in self.hashes


def _coated_by(folder: Path) -> _Run | None:
    """The coated files in a manifest's folder; None without a manifest."""
    from siren_ext.coating.manifest import MANIFEST_NAME, CoatManifest

    if not (folder / MANIFEST_NAME).is_file():
        return None
    coated = [entry for entry in CoatManifest.load(folder / MANIFEST_NAME).entries if entry.coated]
    return _Run(
        frozenset(folded(entry.output) for entry in coated),
        frozenset(entry.output_sha256 for entry in coated),
    )
