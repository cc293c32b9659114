"""``coat``: write coated copies of images, to publish instead of the originals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siren_ext.cli.common import (
    command,
    explain,
    report_notes,
    report_notices,
    report_skipped,
    say,
    settings,
    watched,
)
from siren_ext.cli.options import (
    Assignments,
    BatchSize,
    ConfigFile,
    Device,
    Engine,
    ImageColumn,
    Images,
    Processes,
    Quiet,
)
from siren_ext.cli.passphrase import KeyFile, PassphraseEnv, open_keys
from siren_ext.cli.places import is_url, place, refuse_apart, several, shown
from siren_ext.errors import CoaterError, ConfigError

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.coating.credentials import ContentSigner
    from siren_ext.coating.manifest import CoatConfig, CoatManifest
    from siren_ext.data.dataset import ImageSet
    from siren_ext.keys.coating_key import CoatingKey
    from siren_ext.scale.shards import Shards


Layout = Annotated[
    str | None,
    typer.Option(
        "--layout",
        help="Folder layout: same as the source (default), or what a training program reads: "
        "kohya, imagefolder, onetrainer, ai-toolkit or musubi.",
    ),
]
FileFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="File format: png (default, exact), jpeg, webp, or keep for each image's own format.",
    ),
]
Quality = Annotated[
    int | None,
    typer.Option(
        "--quality",
        help="Quality of JPEG and WebP files, 1 to 100 (default 95). The coating is scored after "
        "compression.",
    ),
]
NoScores = Annotated[
    bool,
    typer.Option(
        "--no-scores",
        help="Do not score the images before and after, which is faster; the files are the same.",
    ),
]
Share = Annotated[
    float | None, typer.Option("--share", help="Share of the images to coat, 0 to 1.")
]
Strength = Annotated[
    float | None, typer.Option("--strength", help="Scales the coating; 1 is as trained.")
]
ChoiceSeed = Annotated[
    int | None,
    typer.Option(
        "--seed", help="Random seed: decides which images are coated if --share is below 1."
    ),
]
Twins = Annotated[
    Path | None,
    typer.Option(
        "--twins",
        metavar="FOLDER",
        help="Private folder for twins: two copies of every image are made, a coin toss decides "
        "which one is published, and the other one is kept here ('siren-ext twins' compares "
        "them).",
    ),
]
Recipient = Annotated[
    str | None, typer.Option("--recipient", help="Who gets this copy; their key is used.")
]
Workers = Annotated[
    int, typer.Option("--workers", min=1, help="Threads that read and write files.")
]
Credentials = Annotated[
    Path | None,
    typer.Option(
        "--content-credentials",
        metavar="CERT",
        help="Add C2PA content credentials to every file, signed with this certificate (PEM, with "
        "the certificates above it); they say 'not for training or data mining'. Needs "
        "--content-key.",
    ),
]
ContentKey = Annotated[
    Path | None,
    typer.Option("--content-key", metavar="KEY", help="Private key of the certificate (PEM)."),
]


def coat(
    data: Images,
    coater: Annotated[Path, typer.Option("--coater", help="The trained coater.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the coated images.")],
    layout: Layout = None,
    format_: FileFormat = None,
    quality: Quality = None,
    share: Share = None,
    strength: Strength = None,
    no_scores: NoScores = False,
    seed: ChoiceSeed = None,
    key: KeyFile = None,
    recipient: Recipient = None,
    passphrase_env: PassphraseEnv = None,
    twins: Twins = None,
    credentials: Credentials = None,
    content_key: ContentKey = None,
    config: ConfigFile = None,
    assign: Assignments = None,
    batch_size: BatchSize = 8,
    workers: Workers = 2,
    processes: Processes = 1,
    engine: Engine = "local",
    image_column: ImageColumn = "",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Write a coated copy of every image, to publish instead of the originals.

    File names, sizes, transparency, captions and metadata (EXIF, IPTC, XMP, colour profile,
    comments, resolution) are kept; what can't be kept is listed. Files that can't be read are
    listed and skipped (exit code 3). A keyed coater needs a --key and hides that key's message in
    every image. Run the same command again to resume a stopped run. WebDataset shards (.tar) and
    Parquet files are coated into files of the same names.
    """
    from siren_ext.coater.bundled import coater_path
    from siren_ext.coater.coater import Coater
    from siren_ext.coating.credentials import add_credentials
    from siren_ext.coating.manifest import CoatConfig
    from siren_ext.data.dataset import ImageSet
    from siren_ext.devices import pick_device
    from siren_ext.scale.shards import shards_at

    chosen = settings(
        CoatConfig,
        config,
        assign,
        layout=layout,
        format=format_,
        quality=quality,
        share=share,
        strength=strength,
        seed=seed,
        scores=False if no_scores else None,
    )
    refuse_idle_quality(chosen)
    apart = several(processes, engine)
    signer = _signer(credentials, content_key, twins)
    shards = shards_at(data)
    far = shards is not None or is_url(data) or is_url(out)
    refuse_apart("--twins", given=twins is not None, far=apart or far)
    refuse_apart("--content-credentials", given=credentials is not None, far=far)
    images = None if far else ImageSet.open(data)
    loaded = Coater.load(file := coater_path(coater), device=pick_device(device))
    secret = key_for(loaded, coater, key, recipient, passphrase_env)
    with watched(quiet) as progress:
        options: dict[str, Any] = {"key": secret, "batch_size": batch_size, "progress": progress}
        if apart or far:
            options |= {"processes": processes, "engine": engine, "device": str(loaded.device)}
            options |= {} if shards is None else {"column": image_column}
            given = shards or (place(data) if images is None else images)
            manifest = _with_workers(given, loaded, file, out, chosen, options)
        else:
            assert images is not None  # it is far otherwise
            options["workers"] = workers
            manifest = _here(images, loaded, out, twins, chosen, options)
        if signer is not None:
            manifest = add_credentials(out, manifest, signer, progress)
    _report(manifest, images, out)


def _with_workers(
    given: Shards | ImageSet | str,
    coater: Coater,
    file: Path,
    out: Path,
    config: CoatConfig,
    options: dict[str, Any],
) -> CoatManifest:
    """Coat shards, a folder or a place with other processes than this one."""
    from siren_ext.data.dataset import ImageSet
    from siren_ext.scale.coat import coat_with_workers
    from siren_ext.scale.shard_coat import coat_shards
    from siren_ext.scale.store import coat_places

    if isinstance(given, str):
        return coat_places(given, coater, file, place(out), config, **options)
    if isinstance(given, ImageSet):
        return coat_with_workers(given, coater, file, out, config, **options)
    return coat_shards(given, coater, file, place(out), config, **options)


def _here(
    images: ImageSet,
    coater: Coater,
    out: Path,
    kept: Path | None,
    config: CoatConfig,
    options: dict[str, Any],
) -> CoatManifest:
    """Coat in this process: every image, or one of its twins to publish and one to keep."""
    from siren_ext.coating.folder import coat_folder
    from siren_ext.coating.twins import TwinsRecord, coat_twins, record_path
    from siren_ext.files import is_present

    if kept is None:
        return coat_folder(images, coater, out, config, **options)

    before = TwinsRecord.load(kept) if is_present(record_path(kept)) else None
    manifest, record = coat_twins(images, coater, out, kept, config, **options)
    say(f"{len(record.images)} twins kept: {kept}")
    if before is not None and before.images not in ((), record.images):
        explain(
            "Warning: the record of the twins has changed, so a commitment to the earlier record "
            "no longer fits. Use separate folders for images that were added later. The same "
            "images as before give the same record."
        )
    explain(
        f"Keep {kept.name} to yourself. Commit to it ('siren-ext commit --twins') before "
        "you publish the images."
    )
    return manifest


def _report(manifest: CoatManifest, images: ImageSet | None, out: Path) -> None:
    """Say what was done, what could not be kept, and what was skipped."""
    from siren_ext.coater.bundled import public_warning
    from siren_ext.coating.formats import compression_words, size_words
    from siren_ext.coating.layouts import training_advice
    from siren_ext.coating.manifest import MANIFEST_NAME
    from siren_ext.coating.outputs import left_over_words

    coated = sum(entry.coated for entry in manifest.entries)
    say(f"{coated} of {len(manifest.entries)} images coated: {shown(out)}")
    if signed := sum(bool(entry.credentials) for entry in manifest.entries):
        say(f"{signed} files signed with content credentials: not for training or data mining")
    if coated:
        explain(f"Don't publish {MANIFEST_NAME}: it lists which images are coated. Keep it.")
    if public := public_warning(manifest.coater):
        explain(f"Warning: {public}")
    if words := compression_words(manifest.entries):
        say(words)
    if images is not None:
        if words := size_words(manifest, images, out):
            say(words)
        for line in training_advice(images, out, manifest.config.layout):
            say(line)
        report_notices(images.notices)
        if words := left_over_words(manifest, images, out):
            explain(f"Note: {words}")
    report_notes((note, entry.source) for entry in manifest.entries for note in entry.notes)
    failures = [(failure.source, failure.error) for failure in manifest.failures]
    report_skipped(failures, "file")


def refuse_idle_quality(chosen: CoatConfig) -> None:
    """Refuse a quality for files that keep the pixels exactly.

    Parameters
    ----------
    chosen : CoatConfig
        the settings.

    Raises
    ------
    ConfigError
        there is a quality, and all files are PNG.
    """
    from msgspec import UNSET, UnsetType

    if not isinstance(chosen.quality, UnsetType) and chosen.format in (UNSET, "png"):
        raise ConfigError(
            "--quality is only for JPEG and WebP files; add --format jpeg, webp or keep."
        )


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "coat",
        example="siren-ext coat photos --coater coater.safetensors --key keys.json --out coated",
    )(coat)


def _signer(certificate: Path | None, key: Path | None, twins: Path | None) -> ContentSigner | None:
    """Who signs content credentials; None if nobody does."""
    from siren_ext.coating.credentials import ContentSigner

    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ConfigError("Give both --content-credentials and --content-key, or neither.")
    if twins is not None:
        raise ConfigError(
            "Twins can't get content credentials; sign the published files afterwards, for example "
            "with c2patool."
        )
    return ContentSigner(certificate, key)


def key_for(
    coater: Coater,
    name: Path,
    file: Path | None,
    recipient: str | None,
    passphrase_env: str | None,
) -> CoatingKey | None:
    """Open the key that a keyed coater writes.

    Parameters
    ----------
    coater : Coater
        keyed or not.
    name : Path
        what was given for it, for messages.
    file : Path | None
        the key file.
    recipient : str | None
        whose key of the file.
    passphrase_env : str | None
        environment variable with the passphrase; None to ask.

    Returns
    -------
    CoatingKey | None
        the key; None for a coater that is not keyed.

    Raises
    ------
    CoaterError
        the coater needs a key and there is none, or takes none and there is one.
    ConfigError
        a recipient without a key file, or no passphrase.
    EvidenceError
        the key file can't be opened.
    """
    if file is None and recipient is not None:
        raise ConfigError("--recipient picks a key from a key file; add --key FILE.")
    if coater.keyed and file is None:
        raise CoaterError(f"{name} is keyed; add --key FILE ('siren-ext key new' makes one).")
    if not coater.keyed and file is not None:
        raise CoaterError(
            f"{name} is not keyed and takes no --key; 'siren-ext train --preset keyed' trains a "
            "keyed coater."
        )
    return None if file is None else open_keys(file, passphrase_env).key(recipient)
