"""The panel that reads somebody's report and recomputes its verdict."""

from __future__ import annotations

from typing import Any

from siren_ext.errors import ScoreError
from siren_ext.panels import html as cards
from siren_ext.panels.gradio_compat import private, upload_field, upload_paths
from siren_ext.panels.host import PanelHost
from siren_ext.panels.recheck import Recheck, recheck_step
from siren_ext.panels.widgets import reveal


def report_panel(gr: Any, host: PanelHost | None = None) -> dict[str, Any]:
    """Lay out the check of a report inside the current ``gr.Blocks``.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    host : PanelHost | None
        Not used; accepted so that all panels are called alike.

    Returns
    -------
    dict[str, Any]
        The components by their ``elem_id``.
    """
    del host
    gr.HTML(
        cards.intro(
            "Reads a report.json, recomputes its verdict from the scores in it and shows the "
            "result. This checks that the figures follow from the scores. It can't check that the "
            "scores belong to the images; use Verify for that. To find changed files and check "
            "signatures, use 'siren-ext report check', which also reads the seal "
            "(report.seal.json)."
        ),
        elem_id="siren_report_intro",
    )
    file = upload_field(
        gr,
        label="report.json",
        file_count="single",
        file_types=[".json"],
        elem_id="siren_report_file",
    )
    run = gr.Button("Check the report", variant="primary", elem_id="siren_report_run")
    card = gr.HTML(elem_id="siren_report_verdict")
    charts = gr.HTML(visible=False, elem_id="siren_report_charts")

    def check(upload: Any) -> tuple[Any, ...]:
        def work() -> tuple[Any, ...]:
            paths = upload_paths(upload)
            if not paths:
                raise ScoreError("No report was given; add the report.json of a verification.")
            found = recheck_step(paths[0])
            return (
                cards.verdict_card(
                    found.verdict, recheck_note(found), preference=found.suspect.preference
                ),
                cards.chart_card(found.verdict, found.suspect, found.reference),
            )

        return reveal(gr, cards.attempt(work, (None,)))

    run.click(check, [file], [card, charts], **private(gr))
    return {part.elem_id: part for part in (file, run, card, charts)}


def recheck_note(found: Recheck) -> str:
    """Whether a report is consistent, and what could not be checked.

    Parameters
    ----------
    found : Recheck
        What :func:`~siren_ext.panels.recheck.recheck_step` returned.

    Returns
    -------
    str
        A few sentences.
    """
    wrong = [point.text for point in found.points if point.state == "differs"]
    if wrong:
        return f"Do not rely on this report. It states '{found.stated}', but: {' '.join(wrong)}"
    text = f"Report of {found.created}: its figures follow from its scores."
    if found.stated != found.verdict.outcome and found.earlier:
        text += (
            f" It states '{found.stated}', by the rules of an earlier version. Shown here is what "
            "its figures say by those of today."
        )
    elif found.stated != found.verdict.outcome:
        text += (
            f" It states '{found.stated}', based on a test that looked at the images one by one. "
            "Shown here is the test of all images together, which did not decide."
        )
    if any(finding.whole is not None for finding in found.verdict.findings):
        text += (
            " The p that decides, of whole changes and bits together, can be checked only with the "
            "key, the measurement and the coater: 'siren-ext report check --key --suspect "
            "--coater'."
        )
    elif any(finding.test == "keyed" for finding in found.verdict.findings):
        text += (
            " Whether its keyed test used the owner's own secret can be checked only with the key: "
            "'siren-ext report check --key'."
        )
    left = [point for point in found.points if point.state == "not checked"]
    rest = [f" Not checked: {point.text}." for point in left if point.name != "keyed statistic"]
    return text + "".join(rest)
