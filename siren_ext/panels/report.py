"""The panel that reads somebody's report and computes its verdict again."""

from __future__ import annotations

from typing import Any

from siren_ext.errors import ScoreError
from siren_ext.panels import html as cards
from siren_ext.panels.gradio_compat import private, upload_paths
from siren_ext.panels.host import Desk
from siren_ext.panels.recheck import Recheck, recheck_step
from siren_ext.panels.widgets import reveal


def report_panel(gr: Any, desk: Desk | None = None) -> dict[str, Any]:
    """Lay out the check of a report inside the current ``gr.Blocks``; components by elem_id."""
    del desk  # nothing of the host is needed; taken so that all panels are called alike
    gr.HTML(
        cards.intro(
            "Reads a report.json, computes its verdict again from the scores inside, and shows it. "
            "This tells whether the figures fit the scores; whether the scores fit the images is "
            "told by Verify alone. Changed files and signatures are told by 'siren-ext report "
            "check', which reads the seal beside the report."
        ),
        elem_id="siren_report_intro",
    )
    given = gr.File(
        label="report.json", file_count="single", file_types=[".json"], elem_id="siren_report_file"
    )
    run = gr.Button("Check the report", variant="primary", elem_id="siren_report_run")
    card = gr.HTML(elem_id="siren_report_verdict")
    charts = gr.HTML(visible=False, elem_id="siren_report_charts")

    def check(value: Any) -> tuple[Any, ...]:
        def work() -> tuple[Any, ...]:
            paths = upload_paths(value)
            if not paths:
                raise ScoreError("No report was given; add the report.json of a verification.")
            found = recheck_step(paths[0])
            return (
                cards.verdict_card(found.verdict, remark_on(found)),
                cards.chart_card(found.verdict, found.suspect, found.reference),
            )

        return reveal(gr, cards.attempt(work, (None,)))

    run.click(check, [given], [card, charts], **private(gr))
    return {part.elem_id: part for part in (given, run, card, charts)}


def remark_on(found: Recheck) -> str:
    """Whether the report agrees with itself, and what of it could not be checked."""
    wrong = [point.text for point in found.points if point.state == "differs"]
    if wrong:
        return f"Do not rely on this report. It states '{found.stated}', but: {' '.join(wrong)}"
    said = f"Report of {found.created}: its figures follow from its scores."
    if found.stated != found.verdict.outcome:
        said += (
            f" It states '{found.stated}' by a test of pictures one by one; shown here is the test "
            "of all pictures together, which did not decide."
        )
    if any(finding.test == "keyed" for finding in found.verdict.findings):
        said += (
            " That its keyed test is of the owner's own secret can be told only by somebody with "
            "the key: 'siren-ext report check --key'."
        )
    left = [point for point in found.points if point.state == "not checked"]
    rest = [f" Not checked: {point.text}." for point in left if point.name != "keyed statistic"]
    return said + "".join(rest)
