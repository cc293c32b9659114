"""The panel that reads somebody's report and computes its verdict again."""

from __future__ import annotations

from typing import Any

from siren_ext.errors import ScoreError
from siren_ext.panels import cards
from siren_ext.panels.desk import Desk
from siren_ext.panels.dialect import private, upload_paths
from siren_ext.panels.steps import recheck_step
from siren_ext.panels.widgets import reveal


def report_panel(gr: Any, desk: Desk | None = None) -> dict[str, Any]:
    """Lay out the check of a report inside the current ``gr.Blocks``; components by elem_id."""
    del desk  # nothing of the host is needed; taken so that all panels are called alike
    gr.HTML(
        cards.intro(
            "Reads a report.json, computes its verdict again from the scores inside, and shows it. "
            "This tells whether the figures fit the scores; whether the scores fit the images is "
            "told by Verify alone."
        )
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
            if found.agrees:
                remark = f"Report of {found.created}: its figures follow from its scores."
            else:
                remark = (
                    f"The file states '{found.stated}' with p = {found.stated_p:.3g}, but its "
                    f"scores give p = {found.verdict.finding.p_value:.3g}. Do not rely on it."
                )
            return (
                cards.verdict_card(found.verdict, remark),
                cards.chart_card(found.verdict, found.suspect, found.reference),
            )

        return reveal(gr, cards.attempt(work, (None,)))

    run.click(check, [given], [card, charts], **private(gr))
    return {part.elem_id: part for part in (given, run, card, charts)}
