"""The owner's commands after release: ``score`` and ``verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
        from siren_ext.bundled import coater_path
        from siren_ext.coater import Coater
        from siren_ext.devices import pick_device
        from siren_ext.scoring import score_folder

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
        reference: Annotated[
            Path, typer.Option("--reference", help="Scores of a model trained on clean images.")
        ],
        out: Annotated[Path, typer.Option("--out", help="Folder for report.html and its JSON.")],
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
        config: ConfigFile = None,
        assign: Assignments = None,
    ) -> None:
        """Test whether the suspicious model was trained on the coated images; write a report.

        The exit code is 0 for every verdict: read the verdict from the report or its JSON.
        """
        from siren_ext.images import list_images
        from siren_ext.report import write_report
        from siren_ext.scoring import ScoreSet
        from siren_ext.verdict import VerifyConfig, verify

        chosen = settings(VerifyConfig, config, assign, alpha=alpha)
        suspect_scores, clean_scores = ScoreSet.load(suspect), ScoreSet.load(reference)
        verdict = verify(suspect_scores, clean_scores, chosen)
        paths = write_report(
            verdict,
            suspect_scores,
            clean_scores,
            out,
            mimicries=list_images(mimicries) if mimicries else (),
            reference_mimicries=list_images(reference_mimicries) if reference_mimicries else (),
        )
        finding = verdict.finding
        say(f"{verdict.outcome}: {verdict.headline}")
        counts = f"n = {finding.n}, m = {finding.m}"
        say(f"p = {finding.p_value:.3g}, {counts}, D = {finding.statistic:.3f}")
        for warning in verdict.warnings:
            explain(f"Note: {warning}")
        say(str(paths.html))
