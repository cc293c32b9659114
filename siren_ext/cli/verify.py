"""The owner's commands after release: ``score`` and ``verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.common import (
    Assignments,
    ConfigFile,
    Device,
    Quiet,
    command,
    explain,
    report_skipped,
    say,
    settings,
    watched,
)
from siren_ext.cli.passphrase import KeyFile, PassphraseEnv, open_keys, open_signer
from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from siren_ext.verdict.verify import Verdict


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""

    @command(
        app,
        "score",
        example="siren-ext score mimicries --coater coater.safetensors --out scores.json",
    )
    def score(
        folder: Annotated[Path, typer.Argument(help="Folder of generated images.")],
        coater: Annotated[Path, typer.Option("--coater", help="The coater that was released.")],
        out: Annotated[Path, typer.Option("--out", help="The scores, as JSON.")],
        batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 16,
        device: Device = "auto",
        quiet: Quiet = False,
    ) -> None:
        """Measure in each image how far it is from a coated one (small = coated).

        Files that can't be read are named and skipped (exit code 3).
        """
        from siren_ext.coater.bundled import coater_path
        from siren_ext.coater.coater import Coater
        from siren_ext.devices import pick_device
        from siren_ext.scoring.score import score_folder

        loaded = Coater.load(coater_path(coater), device=pick_device(device))
        with watched(quiet) as progress:
            scores = score_folder(folder, loaded, batch_size=batch_size, progress=progress)
        scores.save(out)
        say(f"{len(scores.scores)} scores: {out}")
        report_skipped(scores.failures, "files could not be read and were")

    @command(
        app,
        "verify",
        example="siren-ext verify --suspect scores.json --reference clean.json --out report",
    )
    def verify_(
        suspect: Annotated[
            Path, typer.Option("--suspect", help="Scores of the suspicious model's images.")
        ],
        out: Annotated[Path, typer.Option("--out", help="Folder for report.html and its JSON.")],
        reference: Annotated[
            Path | None,
            typer.Option("--reference", help="Scores of a model trained on clean images."),
        ] = None,
        key: KeyFile = None,
        recipient: Annotated[
            str | None, typer.Option("--recipient", help="Whose key, if the file holds several.")
        ] = None,
        innocent: Annotated[
            list[Path] | None,
            typer.Option("--innocent", help="Scores of an innocent model; may be repeated."),
        ] = None,
        commitment: Annotated[
            Path | None,
            typer.Option("--commitment", help="Check what was committed to before release."),
        ] = None,
        coated: Annotated[
            Path | None,
            typer.Option("--coated", help="With --commitment: folder of the coated images."),
        ] = None,
        coater: Annotated[
            Path | None, typer.Option("--coater", help="With --commitment: the coater file.")
        ] = None,
        alpha: Annotated[
            float | None,
            typer.Option("--alpha", help="Risk of accusing an innocent model; default 1e-6."),
        ] = None,
        mimicries: Annotated[
            Path | None,
            typer.Option("--mimicries", help="Show images of the suspicious model."),
        ] = None,
        reference_mimicries: Annotated[
            Path | None, typer.Option("--reference-mimicries", help="Show images of the reference.")
        ] = None,
        sign: Annotated[
            Path | None,
            typer.Option("--sign", help="Sign the report with this file of 'key signing'."),
        ] = None,
        passphrase_env: PassphraseEnv = None,
        sign_passphrase_env: Annotated[
            str | None,
            typer.Option(
                "--sign-passphrase-env",
                metavar="NAME",
                help="The same for --sign; by default as --passphrase-env.",
            ),
        ] = None,
        config: ConfigFile = None,
        assign: Assignments = None,
    ) -> None:
        """Test whether the suspicious model was trained on the coated images; write a report.

        Give a --key, a --reference, several --innocent models, or all of them: every test that they
        permit is made, and the strictest that can reach the risk decides. The exit code is 0 for
        every verdict: read the verdict from the report or its JSON.
        """
        from siren_ext.coater.bundled import coater_path
        from siren_ext.data.image_files import list_images
        from siren_ext.evidence.commitment import check_commitment
        from siren_ext.report.write import write_report
        from siren_ext.scoring.score_set import ScoreSet
        from siren_ext.verdict.config import VerifyConfig
        from siren_ext.verdict.verify import verify

        chosen = settings(VerifyConfig, config, assign, alpha=alpha)
        if commitment is None and (coated is not None or coater is not None):
            raise ConfigError("--coated and --coater are compared with a --commitment; give it.")
        suspect_scores = ScoreSet.load(suspect)
        clean_scores = ScoreSet.load(reference) if reference else None
        innocents = [ScoreSet.load(path) for path in innocent or ()]
        secret = open_keys(key, passphrase_env).key(recipient) if key else None
        signer = open_signer(sign, sign_passphrase_env or passphrase_env) if sign else None
        precedence = None
        if commitment is not None:
            precedence = check_commitment(
                commitment,
                coater=suspect_scores.coater,
                keys=[secret.fingerprint()] if secret else (),
                coater_file=coater_path(coater) if coater else None,
                coated=coated,
            )
        verdict = verify(
            suspect_scores,
            clean_scores,
            chosen,
            key=secret,
            innocents=innocents,
            precedence=precedence,
        )
        paths = write_report(
            verdict,
            suspect_scores,
            clean_scores,
            out,
            mimicries=list_images(mimicries) if mimicries else (),
            reference_mimicries=list_images(reference_mimicries) if reference_mimicries else (),
            innocents=innocents,
            signer=signer,
        )
        tell(verdict)
        if signer is not None:
            explain(f"Signed by {signer.public}")
        say(str(paths.html))


def tell(verdict: Verdict) -> None:
    """Say the verdict, a line per finding, and its warnings on stderr."""
    from siren_ext.stats.keyed import KeyedResult
    from siren_ext.stats.ks import KsResult
    from siren_ext.verdict.wording import NAMES

    say(f"{verdict.outcome}: {verdict.headline}")
    for finding in verdict.findings:
        one, figures = finding.result, f"p = {finding.p_value:.3g}"
        if isinstance(one, KsResult):
            figures += f", n = {one.n}, m = {one.m}, D = {one.statistic:.3f}"
        elif isinstance(one, KeyedResult):
            figures += f", n = {one.images}, {one.bits_right} of {one.bits} bits right"
        else:
            figures += f", {one.at_least} of {one.others} innocent models score as low"
        several = len(verdict.findings) > 1 or finding.test != "ks"
        say(f"{NAMES[finding.test]}: {finding.outcome}, {figures}" if several else figures)
    explain(verdict.precedence.text)
    for warning in verdict.warnings:
        if warning != verdict.precedence.text:
            explain(f"Note: {warning}")
