"""What makes evidence hold: ``key``, ``commit``, ``trace`` and ``report check``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siren_ext.cli.common import command, explain, say
from siren_ext.cli.passphrase import KeyFile, PassphraseEnv, open_keys, passphrase
from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from siren_ext.keys.coating_key import KeyRing
    from siren_ext.stats.keyed import TraceResult

NewFile = Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; a new one.")]
Recipients = Annotated[
    list[str] | None,
    typer.Option("--recipient", metavar="NAME", help="A key of its own; may be repeated."),
]
_KEPT = "Keep the file and the passphrase: without both nothing can be proved. Copies are wise."


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    _register_keys(app)
    _register_commit(app)
    _register_trace(app)
    _register_report(app)


def _register_keys(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True)
    app.add_typer(group, name="key", help="Draw and keep the secrets: key new, add, show, signing.")

    @command(group, "new", example="siren-ext key new keys.json --recipient gallery")
    def new(
        file: NewFile,
        recipient: Recipients = None,
        bits: Annotated[
            int, typer.Option("--bits", min=16, max=512, help="As many as the coater has.")
        ] = 48,
        passphrase_env: PassphraseEnv = None,
    ) -> None:
        """Draw a secret message for a keyed coating, one per recipient, into an encrypted file.

        The messages come from the operating system's randomness and are never shown. An existing
        file is not overwritten.
        """
        from siren_ext.keys.coating_key import KeyRing

        ring = KeyRing.draw(recipient or (), bits)
        _refuse_existing(file)
        ring.save(file, passphrase(str(file), passphrase_env, fresh=True))
        _tell_keys(ring)
        explain(_KEPT)

    @command(group, "add", example="siren-ext key add keys.json --recipient printer")
    def add(
        file: Annotated[Path, typer.Argument(help="A key file.")],
        recipient: Recipients = None,
        passphrase_env: PassphraseEnv = None,
    ) -> None:
        """Draw keys for further recipients; those in the file stay as they are."""
        if not recipient:
            raise ConfigError("Nothing to add: name a recipient with --recipient.")
        from siren_ext.keys.coating_key import FORMAT, KeyRing
        from siren_ext.keys.encrypted_file import require_encrypted

        require_encrypted(file, FORMAT)
        secret = passphrase(str(file), passphrase_env)
        ring = KeyRing.load(file, secret).extended(recipient)
        ring.save(file, secret, replace=True)
        _tell_keys(ring)
        explain("A commitment made before does not cover the new keys; make another.")

    @command(group, "show", example="siren-ext key show keys.json")
    def show(
        file: Annotated[Path, typer.Argument(help="A key file.")],
        passphrase_env: PassphraseEnv = None,
    ) -> None:
        """List the recipients of a key file and the fingerprints of their keys, never a key."""
        _tell_keys(open_keys(file, passphrase_env))

    @command(group, "signing", example="siren-ext key signing signing.json")
    def signing(file: NewFile, passphrase_env: PassphraseEnv = None) -> None:
        """Make a key to sign reports with; prints the public half, which you may publish."""
        from siren_ext.keys.signing import Signer

        _refuse_existing(file)
        signer = Signer.draw()
        signer.save(file, passphrase(str(file), passphrase_env, fresh=True))
        say(f"public key: {signer.public}")


def _register_commit(app: typer.Typer) -> None:
    @command(
        app,
        "commit",
        example="siren-ext commit --coater coater.safetensors --key keys.json --coated coated "
        "--out commitment.json",
    )
    def commit(
        coater: Annotated[Path, typer.Option("--coater", help="The coater that is released.")],
        out: Annotated[Path, typer.Option("--out", help="The commitment, as JSON; a new file.")],
        key: KeyFile = None,
        coated: Annotated[
            Path | None, typer.Option("--coated", help="Folder of the coated images.")
        ] = None,
        passphrase_env: PassphraseEnv = None,
    ) -> None:
        """Write down hashes of coater, keys and coated files, to prove later what came first.

        Before you release anything, publish or time-stamp the SHA-256 that is printed; it tells
        nothing. The file tells which images are coated: keep it until you need it.
        """
        from siren_ext.coater.bundled import coater_path
        from siren_ext.evidence.commitment import make_commitment

        _refuse_existing(out)
        prints = [one.fingerprint() for _, one in open_keys(key, passphrase_env)] if key else []
        made = make_commitment(coater_path(coater), prints, coated)
        digest = made.save(out)
        say(f"{made.created}: {_counts(made.keys, made.files)}")
        say(f"SHA-256 of {out.name}: {digest}")
        if not prints:
            explain("Note: no key was given, so the commitment covers none.")
        explain("Publish or time-stamp this SHA-256 before the images; keep the file unchanged.")


def _register_trace(app: typer.Typer) -> None:
    @command(app, "trace", example="siren-ext trace --suspect scores.json --key keys.json")
    def trace(
        suspect: Annotated[
            Path, typer.Option("--suspect", help="Scores of the suspicious model's images.")
        ],
        key: Annotated[Path, typer.Option("--key", help="Key file with several recipients.")],
        alpha: Annotated[
            float, typer.Option("--alpha", help="Risk of naming anybody falsely.")
        ] = 1e-3,
        decoys: Annotated[
            int, typer.Option("--decoys", min=1000, max=2_000_000, help="Random messages.")
        ] = 100_000,
        seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random messages.")] = 0,
        commitment: Annotated[
            Path | None,
            typer.Option("--commitment", help="Check that the keys were committed to."),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
        passphrase_env: PassphraseEnv = None,
    ) -> None:
        """Tell whose copy was trained on: one keyed test per recipient, corrected for their number.

        The copy may have been passed on or stolen: a recipient who is named need not have done it.
        """
        import numpy as np

        from siren_ext.evidence.commitment import check_commitment, not_committed
        from siren_ext.scoring.score_set import ScoreSet
        from siren_ext.stats.keyed import trace_messages
        from siren_ext.verdict.findings import used_features

        scores = ScoreSet.load(suspect)
        features = used_features(scores)
        ring = open_keys(key, passphrase_env)
        messages = [one.signs() for _, one in ring]
        rng = np.random.default_rng(seed)
        result = trace_messages(features, messages, alpha=alpha, decoys=decoys, rng=rng)
        prints = [one.fingerprint() for _, one in ring]
        standing = not_committed(keyed=True)
        if commitment is not None:
            standing = check_commitment(commitment, coater=scores.coater, keys=prints)
        rows = _ranking(ring, result)
        if as_json:
            about = {"alpha": alpha, "images": len(features), "decoys": decoys, "seed": seed}
            said = {**about, "recipients": rows, "commitment": standing.to_dict()}
            say(json.dumps(said, indent=2, ensure_ascii=False, allow_nan=False))
        else:
            _print_ranking(rows, alpha)
        explain(standing.text)


def _register_report(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True)
    app.add_typer(group, name="report", help="Check somebody's report: report check.")

    @group.callback()
    def _options() -> None:
        """Keep 'check' a command of its own."""

    @command(group, "check", example="siren-ext report check report/report.json")
    def check(
        file: Annotated[Path, typer.Argument(help="A report's folder, or a file in it.")],
        public: Annotated[
            str | None,
            typer.Option("--signer", help="The public key that must have signed it."),
        ] = None,
        images: Annotated[
            Path | None,
            typer.Option("--images", help="Folder of images: are they the scored ones?"),
        ] = None,
        key: KeyFile = None,
        recipient: Annotated[
            str | None, typer.Option("--recipient", help="Whose key, if there are several.")
        ] = None,
        suspect: Annotated[
            Path | None,
            typer.Option("--suspect", help="With --key: the suspect's scores with features."),
        ] = None,
        passphrase_env: PassphraseEnv = None,
    ) -> None:
        """Compute hashes, signature, figures and verdict of a report again; tell what matches.

        Exit code 2 if anything differs; what was changed is named. That the scores are those of the
        images is told only by scoring the images again.
        """
        from siren_ext.data.image_files import list_images
        from siren_ext.errors import EvidenceError
        from siren_ext.keys.signing import checked_public
        from siren_ext.report.check import check_report
        from siren_ext.scoring.score_set import ScoreSet

        if (key is None) != (suspect is None):
            raise ConfigError("The keyed statistic needs both --key and --suspect; give both.")
        found = check_report(
            file,
            public=checked_public(public) if public else "",
            suspect=ScoreSet.load(suspect) if suspect else None,
            key=open_keys(key, passphrase_env).key(recipient) if key else None,
            images=list_images(images) if images else (),
        )
        for point in found.points:
            say(f"{point.name}: {point.state}. {point.text}")
        if not found.sound:
            wrong = ", ".join(point.name for point in found.points if point.state == "differs")
            raise EvidenceError(f"The report does not match itself ({wrong}); do not rely on it.")


def _refuse_existing(file: Path) -> None:
    """Before anybody types a passphrase: is the name free?"""
    from siren_ext.errors import EvidenceError

    if file.exists():
        raise EvidenceError(f"{file} exists already and is not overwritten; choose another name.")


def _tell_keys(ring: KeyRing) -> None:
    for name, key in ring:
        say(f"{name or '(unnamed)'}: {key.bits} bits, fingerprint {key.fingerprint()}")


def _counts(keys: tuple[str, ...], files: tuple[tuple[str, str], ...]) -> str:
    from siren_ext.verdict.wording import count_of

    parts = [count_of(len(keys), "key", "keys"), count_of(len(files), "file", "files")]
    return f"committed to a coater, {' and '.join(parts)}"


def _ranking(ring: KeyRing, result: TraceResult) -> list[dict[str, Any]]:
    names = ring.names
    rows = []
    for index in result.ranking:
        finding = result.findings[index]
        rows.append(
            {
                "recipient": names[index],
                "named": result.holm.rejected[index],
                "p_value": finding.p_value,
                "p_corrected": result.holm.adjusted[index],
                "statistic": finding.statistic,
                "bits_right": finding.bits_right,
                "bits": finding.bits,
            }
        )
    return rows


def _print_ranking(rows: list[dict[str, Any]], alpha: float) -> None:
    from siren_ext.verdict.wording import odds

    width = max(len(row["recipient"] or "(unnamed)") for row in rows)
    for row in rows:
        name = (row["recipient"] or "(unnamed)").ljust(width)
        bits = f"{row['bits_right']} of {row['bits']} bits"
        figures = f"p = {row['p_value']:.3g}, corrected {row['p_corrected']:.3g}"
        say(f"{name}  {bits}  {figures}{'  <- this copy' if row['named'] else ''}")
    if not any(row["named"] for row in rows):
        say(f"No recipient stands out at a risk of {odds(alpha)}.")
    else:
        explain("A copy may have been passed on or stolen: this names a copy, not a culprit.")
