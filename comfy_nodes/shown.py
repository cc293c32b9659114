"""What a node shows once it has run; ``web/siren.js`` draws it in both of ComfyUI's front ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import paths

if TYPE_CHECKING:
    from siren_ext.verdict.verify import Verdict

Tone = Literal["good", "plain", "warn"]


def shown(
    title: str, lines: Sequence[str] = (), *, tone: Tone = "plain", page: Path | None = None
) -> dict[str, Any]:
    """A short text on the node.

    Parameters
    ----------
    title : str
        The first line, in bold.
    lines : Sequence[str]
        Further lines.
    tone : {"good", "plain", "warn"}
        Its colour.
    page : Path | None
        A file below ComfyUI's output folder to link to.

    Returns
    -------
    dict[str, Any]
        For ``io.NodeOutput(ui=...)``. ``text`` has the same words, for programs that read
        ComfyUI's history.
    """
    card: dict[str, Any] = {"title": title, "lines": list(lines), "tone": tone}
    if page is not None:
        inside = page.relative_to(paths.output_folder())
        folder = "" if inside.parent == Path() else inside.parent.as_posix()
        card["link"] = {"filename": inside.name, "subfolder": folder, "type": "output"}
    return {"text": ["\n".join([title, *lines])], "siren": [card]}


def verdict_shown(verdict: Verdict, *, page: Path | None = None) -> dict[str, Any]:
    """A verdict on the node: the outcome, its sentences, and the warnings.

    Parameters
    ----------
    verdict : Verdict
        The verdict.
    page : Path | None
        The report's page, if there is one.

    Returns
    -------
    dict[str, Any]
        See :func:`shown`.
    """
    standing = verdict.precedence.beside(verdict.warnings)
    lines = [
        verdict.headline,
        *beside(verdict),
        standing,
        *(f"Note: {warning}" for warning in verdict.warnings),
    ]
    lines = [line for line in lines if line]
    outcome = verdict.outcome
    return shown(outcome[:1].upper() + outcome[1:], lines, tone="plain", page=page)


def beside(verdict: Verdict) -> list[str]:
    """The tests that were made beside the one that decides, in a line each.

    Parameters
    ----------
    verdict : Verdict
        The verdict.

    Returns
    -------
    list[str]
        Empty if only one test was made.
    """
    from siren_ext.verdict.wording import NAMES

    others = [finding for finding in verdict.findings if finding.test != verdict.test]
    return [f"Beside it, {NAMES[one.test]}: {one.outcome}, p = {one.p_value:.3g}" for one in others]
