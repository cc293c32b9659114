"""The coated images in a folder, as commitments record them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

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
        hashed = {path: sha256_file(path) for path in paths}
        homes = {path.parent for path in paths}
        # a manifest may also list files in subfolders
        homes |= {up for here in homes for up in here.parents if up.is_relative_to(folder)}
        left = {path for here in homes for path in _not_coated(here, hashed)}
        found = [
            (printable(path.relative_to(folder).as_posix()), digest)
            for path, digest in hashed.items()
            if path not in left
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


def _not_coated(here: Path, hashed: Mapping[Path, str]) -> set[Path]:
    """Files below a folder that its manifest does not call coated; none without a manifest.

    Each coated file is the one of its name, or else of a name that file systems take for the same,
    or else with its content.
    """
    from siren_ext.coating.manifest import MANIFEST_NAME, CoatManifest

    if not (here / MANIFEST_NAME).is_file():
        return set()
    coated = [entry for entry in CoatManifest.load(here / MANIFEST_NAME).entries if entry.coated]
    left = {p.relative_to(here).as_posix(): p for p in hashed if p.is_relative_to(here)}
    coated = [entry for entry in coated if left.pop(entry.output, None) is None]
    alike = {folded(name): name for name in left}
    coated = [
        entry for entry in coated if left.pop(alike.get(folded(entry.output), ""), None) is None
    ]
    same = {hashed[path]: name for name, path in left.items()}
    for entry in coated:
        left.pop(same.get(entry.output_sha256, ""), None)
    return set(left.values())
