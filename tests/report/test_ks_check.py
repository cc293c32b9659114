"""Exact p of many images: taken from the report if they agree with the approximation."""

from __future__ import annotations

import json

import pytest
from support.reports import resealed, states, texts
from support.score_sets import drawn

from siren_ext.panels.recheck import recheck_step
from siren_ext.report import ks_check
from siren_ext.report.check import check_report
from siren_ext.report.write import write_report
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.findings import ks_finding
from siren_ext.verdict.verify import conclude, verify


@pytest.mark.parametrize("two_sided", [False, True])
def test_an_exact_p_that_takes_long_is_compared_with_the_approximation(
    tmp_path, monkeypatch, two_sided
):
    own, reference = drawn(9.5, 400, seed=2), drawn(10, 500, seed=3)
    config = VerifyConfig(alpha=0.01, method="exact", two_sided=two_sided)
    write_report(verify(own, reference, config), own, reference, tmp_path)
    assert "exact p" not in states(check_report(tmp_path))
    monkeypatch.setattr(ks_check, "EXACT_CELLS", 1000)
    monkeypatch.setattr("siren_ext.stats.ks.exact_p", lambda *_: pytest.fail("it was computed"))
    found = check_report(tmp_path)
    assert found.sound
    assert states(found)["exact p"] == "not checked"
    assert states(found)["figures"] == states(found)["verdict"] == "matches"

    def forge(power):
        def change(data):
            kept = data["verdict"]["findings"][0]
            for part in (kept, kept["result"], data["verdict"]["finding"]):
                part["p_value"] **= power

        return change

    before = (tmp_path / "report.json").read_text()
    for change, words in (
        (forge(1.2), "expected nearly the same"),
        (forge(0.8), "expected nearly the same"),
        (forge(1e9), "expected nearly the same"),
        (lambda d: d["verdict"]["finding"].update(n=401), "finding.n is 401"),
        (lambda d: d["verdict"]["findings"][0]["result"].update(statistic=0.9), "statistic is 0.9"),
        (lambda d: d["verdict"]["findings"].clear(), "no comparison with it"),
        (lambda d: d["verdict"]["findings"][0].update(result={}), "has no statistic; expected"),
    ):
        (tmp_path / "report.json").write_text(before)
        found = resealed(tmp_path, change)
        assert states(found)["figures"] == "differs"
        assert words in texts(found)["figures"]


@pytest.mark.parametrize("method", ["auto", "exact"])
def test_a_report_of_the_time_before_the_exact_low_end_keeps_its_p(tmp_path, monkeypatch, method):
    own, reference = drawn(9.5, 60, seed=2), drawn(10, 80, seed=3)
    config = VerifyConfig(alpha=0.01, method=method)
    now = verify(own, reference, config)
    earlier = ks_finding(own, reference, config.alpha, bound=True, **config.comparison())
    assert earlier.p_value > now.finding.p_value > earlier.smallest_p
    write_report(conclude(own, reference, (), [earlier], config), own, reference, tmp_path)
    kept = json.loads((tmp_path / "report.json").read_text())["verdict"]["findings"][0]["result"]
    assert "searched" not in kept
    assert kept["p_value"] == earlier.p_value
    assert check_report(tmp_path).sound
    assert recheck_step(tmp_path / "report.json").verdict.finding == earlier.result
    if method == "exact":
        monkeypatch.setattr(ks_check, "EXACT_CELLS", 1000)
        assert states(check_report(tmp_path))["exact p"] == "not checked"
        assert check_report(tmp_path).sound

    # a report can't take the p of one way and the claim of the other
    found = resealed(tmp_path, lambda d: d["verdict"]["findings"][0]["result"].update(searched=20))
    assert states(found)["figures"] == "differs"
