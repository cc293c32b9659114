"""Nodes to use after publishing: score images, save scores, test them, write a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from . import convert, files, host, paths, record, shown
from .types import CATEGORY, Case, CoaterSocket, ScoresSocket, VerdictSocket, schema

if TYPE_CHECKING:
    from siren_ext.verdict.verify import Verdict

ALPHA: dict[str, Any] = {
    "default": 1e-6,
    "min": 1e-12,
    "max": 0.5,
    "step": 1e-6,
    "round": 1e-12,
    "tooltip": "Accepted risk of a false alarm. 0.000001 is one in a million.",
}


def in_words(verdict: Verdict) -> str:
    """Write out a verdict.

    Parameters
    ----------
    verdict : Verdict
        The verdict.

    Returns
    -------
    str
        Outcome, warnings and limits, one per line.
    """
    standing = verdict.precedence.beside(verdict.warnings)
    return "\n".join(
        [
            f"{verdict.outcome.upper()}: {verdict.headline}",
            *shown.beside(verdict),
            *([standing] if standing else []),
            *(f"Note: {warning}" for warning in verdict.warnings),
            *(f"Limit: {limit}" for limit in verdict.does_not_prove),
        ]
    )


class ScoreCoating(io.ComfyNode):
    """Scores images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenScoreCoating",
            search_aliases=["detect watermark", "verify lora", "check model"],
            display_name="Score Coating",
            category=CATEGORY,
            description="Scores each image; a low score means that it looks coated. All images of "
            "a list (from Prompt Batch) are scored together as one pool.",
            is_input_list=True,
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            inputs=[
                CoaterSocket.Input(
                    "coater", tooltip="The coater that your published images were coated with."
                ),
                io.Image.Input("image", tooltip="Images of one model; use 30 or more."),
                io.String.Input(
                    "prompts",
                    optional=True,
                    force_input=True,
                    tooltip="The prompts of the images (from Prompt Batch or Pocket Sampler), so "
                    "that KS Verify can check that both pools used the same ones.",
                ),
            ],
            outputs=[
                ScoresSocket.Output(
                    "scores", display_name="scores", tooltip="For KS Verify and Save Scores."
                ),
                io.Float.Output("mean", display_name="mean", tooltip="Mean score of the pool."),
            ],
        )

    @classmethod
    def execute(
        cls, coater: list[Any], image: list[Tensor], prompts: list[str] | None = None
    ) -> io.NodeOutput:
        from siren_ext.scoring.score import score_images

        hidden = cls.hidden
        source = record.made_by(
            hidden.prompt if hidden else None, hidden.unique_id if hidden else None, "image"
        )
        if prompts:
            lines = [line.strip() for text in prompts for line in text.splitlines()]
            source["prompts"] = sorted({line for line in lines if line})
        with host.long_step() as progress:
            kept = record.keep_pictures(list(convert.single_images(image)), source)
            scores = score_images(kept, coater[0], batch_size=8, source=source, progress=progress)
        mean = float(scores.scores.mean())
        lines = [f"Mean score {mean:.4g}", f"Kept in output/{source['pictures']}"]
        return io.NodeOutput(scores, mean, ui=shown.shown(f"{len(scores)} images scored", lines))


class SaveScores(io.ComfyNode):
    """Saves scores."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenSaveScores",
            search_aliases=["watermark scores"],
            display_name="Save Scores",
            category=CATEGORY,
            description="Saves scores in output/siren, for Load Scores and the command line.",
            is_output_node=True,
            inputs=[
                ScoresSocket.Input("scores", tooltip="From Score Coating."),
                io.String.Input(
                    "save_as",
                    default="scores",
                    tooltip="Name of the file. A number is added, so nothing is overwritten.",
                ),
            ],
            outputs=[
                io.String.Output(
                    "file", display_name="file", tooltip="The file's name in Load Scores."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, save_as: str | None = None) -> bool | str:
        return paths.input_check(paths.new_output, save_as)

    @classmethod
    def execute(cls, scores: Any, save_as: str) -> io.NodeOutput:
        path = paths.free_output(f"{paths.SUBFOLDER}/{save_as}", ".json")
        scores.save(path)
        name = path.relative_to(paths.output_folder() / paths.SUBFOLDER).as_posix()
        note = shown.shown(f"{len(scores)} scores saved", [name])
        return io.NodeOutput(name, ui=note | {"text": [name]})


class LoadScores(io.ComfyNode):
    """Loads scores."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenLoadScores",
            search_aliases=["watermark scores"],
            display_name="Load Scores",
            category=CATEGORY,
            description="Loads scores that Save Scores or 'siren-ext score' saved.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=files.score_names() or [files.NO_SCORES],
                    tooltip="A file in output/siren or input/siren, newest first.",
                )
            ],
            outputs=[
                ScoresSocket.Output("scores", display_name="scores", tooltip="For KS Verify.")
            ],
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        return paths.input_check(files.score_file, name)

    @classmethod
    def fingerprint_inputs(cls, name: str) -> Any:
        return paths.stamp(files.score_file(name))

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        from siren_ext.scoring.score_set import ScoreSet

        return io.NodeOutput(ScoreSet.load(files.score_file(name)))


class KSVerify(io.ComfyNode):
    """Compares two pools of scores."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenKSVerify",
            search_aliases=[
                "verify lora",
                "stolen images",
                "copyright",
                "detect watermark",
                "check model",
            ],
            display_name="KS Verify: compare with a reference",
            category=CATEGORY,
            description="Compares a suspicious model with a reference: tests whether its images "
            "score lower than those of a model that never saw coated images.",
            is_output_node=True,
            inputs=[
                ScoresSocket.Input(
                    "suspect", tooltip="Scores of 30 or more images of the suspicious model."
                ),
                ScoresSocket.Input(
                    "reference",
                    tooltip="Scores of 100 or more images of a clean model, made with the same "
                    "prompts and settings.",
                ),
                io.Float.Input("alpha", **ALPHA),
                io.String.Input(
                    "more_references",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="Scores of more clean models: file names as in Load Scores, one per "
                    "line. Three or more references are also compared as models.",
                ),
            ],
            outputs=[
                VerdictSocket.Output(
                    "verdict", display_name="verdict", tooltip="For Verification Report."
                ),
                io.Float.Output(
                    "p",
                    display_name="p",
                    tooltip="How often chance alone would give a difference like this, by the "
                    "test that decides.",
                ),
                io.Float.Output(
                    "D",
                    display_name="D",
                    tooltip="Largest gap between the two score distributions, 0 to 1.",
                ),
                io.Image.Output(
                    "plot", display_name="plot", tooltip="A chart of both pools and the outcome."
                ),
                io.String.Output(
                    "text",
                    display_name="text",
                    tooltip="The verdict in words, with warnings and limits.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, more_references: str | None = None) -> bool | str:
        return paths.input_check(_score_files, more_references)

    @classmethod
    def fingerprint_inputs(cls, more_references: str | None = "", **_: Any) -> str | float:
        return paths.fingerprint((_score_files, more_references))

    @classmethod
    def execute(
        cls, suspect: Any, reference: Any, alpha: float, more_references: str = ""
    ) -> io.NodeOutput:
        from siren_ext.data.images import to_tensor
        from siren_ext.report.charts import verdict_picture
        from siren_ext.scoring.score_set import ScoreSet
        from siren_ext.verdict.config import VerifyConfig
        from siren_ext.verdict.models import joined_models
        from siren_ext.verdict.pools import distinct_scores
        from siren_ext.verdict.verify import verify

        others = [ScoreSet.load(path) for path in _score_files(more_references)]
        clean = joined_models([reference, *others]) or reference
        verdict = verify(suspect, clean, VerifyConfig(alpha=alpha))
        pools = distinct_scores(suspect), distinct_scores(clean)
        plot = convert.to_comfy(to_tensor(verdict_picture(verdict, *pools)))
        return io.NodeOutput(
            Case(verdict, suspect, clean),
            verdict.deciding.p_value,
            verdict.finding.statistic,
            plot,
            in_words(verdict),
            ui=ui.PreviewImage(plot, cls=cls).as_dict() | shown.verdict_shown(verdict),
        )


def _score_files(text: str) -> list[Path]:
    """The score files that a text names, one per line."""
    return [files.score_file(line.strip()) for line in text.splitlines() if line.strip()]


class VerificationReport(io.ComfyNode):
    """Writes report.html and report.json."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenVerificationReport",
            search_aliases=["evidence", "copyright", "proof", "verify lora"],
            display_name="Verification Report",
            category=CATEGORY,
            description="Writes the verdict as a single web page and as JSON, with everything "
            "that is needed to check it.",
            is_output_node=True,
            inputs=[
                VerdictSocket.Input("verdict", tooltip="From KS Verify or Keyed Verify."),
                io.String.Input(
                    "save_as",
                    default="siren/report",
                    tooltip="Name of the new folder inside ComfyUI's output folder. A number is "
                    "added.",
                ),
            ],
            outputs=[
                io.String.Output(
                    "page",
                    display_name="page",
                    tooltip="Path of report.html, relative to the output folder.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, save_as: str | None = None) -> bool | str:
        return paths.input_check(paths.new_output, save_as)

    @classmethod
    def execute(cls, verdict: Case, save_as: str) -> io.NodeOutput:
        from siren_ext.report.write import write_report

        folder, reference = paths.free_output(save_as), verdict.reference
        with torch.inference_mode(False):
            written = write_report(
                verdict.verdict,
                verdict.suspect,
                verdict.reference,
                folder,
                mimicries=record.kept_pictures(verdict.suspect.source),
                reference_mimicries=record.kept_pictures(reference.source) if reference else (),
            )
        page = written.html.relative_to(paths.output_folder()).as_posix()
        note = shown.verdict_shown(verdict.verdict, page=written.html)
        return io.NodeOutput(page, ui=note | {"text": [page]})
