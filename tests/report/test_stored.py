"""Reports and seals that are damaged, or made to do harm."""

from __future__ import annotations

import json
import pickle

import pytest
from support.evidence_samples import SIGNS, known_key
from support.hostile_files import check_reader, wrong_values
from support.score_sets import drawn

from siren_ext.errors import EvidenceError
from siren_ext.report import charts
from siren_ext.report.check import check_report
from siren_ext.report.write import write_report
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify


@pytest.fixture(scope="module")
def suspect():
    return drawn(5, 6, lean=SIGNS)


@pytest.fixture(scope="module")
def written(suspect, tmp_path_factory):
    """A small report with all three tests: its folder's files, by name."""
    folder = tmp_path_factory.mktemp("report")
    others = [drawn(10, 4, seed=100 + i) for i in range(2)]
    reference, config = drawn(10, 8, seed=1), VerifyConfig()
    verdict = verify(suspect, reference, config, key=known_key(), innocents=others)
    write_report(verdict, suspect, reference, folder, innocents=others)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def report(written, tmp_path):
    for name, content in written.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_damaged_files_are_refused(report):
    (report / "report.seal.json").unlink()
    check_reader(report / "report.json", check_report, EvidenceError, but=("unknown name",))


def test_damaged_seals_are_refused(report):
    check_reader(report / "report.seal.json", check_report, EvidenceError)
    good = json.loads((report / "report.seal.json").read_text())
    for what, data in wrong_values(good):
        if what in (
            "no signature",
            "fields = {'a': 1}",
            "fields = {}",
            "created = 'text'",
            "public_key = 'text'",
            "signature = 'text'",
        ):
            continue
        (report / "report.seal.json").write_text(json.dumps(data))
        with pytest.raises(EvidenceError, match=r"report\.seal\.json.*an untouched copy"):
            pytest.fail(f"{what}: {check_report(report)}")


@pytest.fixture
def drawn_once(monkeypatch):
    """Charts of equal data are drawn once: most changes to a report leave its charts alone."""
    for name in ("histogram_svg", "distributions_svg", "decoys_svg", "path_svg"):
        monkeypatch.setattr(charts, name, remembered(getattr(charts, name)))


def remembered(draw):
    known = {}

    def remember(*data):
        key = pickle.dumps(data)
        if key not in known:
            known[key] = draw(*data)
        return known[key]

    return remember


def places(value, path=()):
    """Paths of all values; of long lists only the first."""
    yield path
    items = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        items = list(enumerate(value))[: 1 if len(value) > 3 else 3]
    for name, item in items:
        yield from places(item, (*path, name))


@pytest.mark.usefixtures("drawn_once")
def test_no_value_of_any_type_is_a_fault_of_the_program(report, written, suspect):
    """Whatever stands anywhere in a report, the answer is a check point or an error of ours."""
    (report / "report.seal.json").unlink()
    good = json.loads(written["report.json"])
    image = report / "report.html"
    for path in list(places(good))[1:]:
        for wrong in (None, -1, "\x1b[31m\u202e", [[0]], {}):
            data = json.loads(written["report.json"])
            part = data
            for name in path[:-1]:
                part = part[name]
            part[path[-1]] = wrong
            (report / "report.json").write_text(json.dumps(data))
            if "images" in path:  # thousands of values: the page is made again for the others
                next(report.glob("*.html")).rename(report / "picture.html")
            else:
                next(report.glob("*.html")).rename(image)
            for secret in ({}, {"key": known_key(), "suspect": suspect}):
                try:
                    shown_image = next(report.glob("*.html"))
                    points = check_report(report, images=[shown_image], **secret).points
                except EvidenceError as error:
                    shown = str(error)
                else:
                    shown = "".join(point.text for point in points)
                assert shown.isprintable(), (path, wrong, shown)
                if "findings" not in path:
                    break  # the key makes no difference elsewhere
