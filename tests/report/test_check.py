"""Reports with keys and seals: checked, signed, and every change named."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from support.decoy_sets import ranked
from support.evidence_samples import SALT, SIGNS, known_key
from support.looks import table
from support.reports import edit, resealed, states, texts
from support.score_sets import drawn

from siren_ext.errors import EvidenceError
from siren_ext.evidence.precedence import Precedence
from siren_ext.files import sha256_file
from siren_ext.keys.signing import Signer
from siren_ext.report.check import check_report
from siren_ext.report.keyed_check import restored_keyed
from siren_ext.report.stored import StoredFinding
from siren_ext.report.write import write_report
from siren_ext.schema import convert
from siren_ext.scoring.copies import MIRRORED, mirrored_in
from siren_ext.stats.keyed import contributions
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify
from siren_ext.verdict.wording import WORDING

QUICK = VerifyConfig()


OTHERS = [drawn(10, 30, seed=100 + i) for i in range(3)]


REFERENCE = drawn(10, 110, seed=1)


@pytest.fixture(scope="module")
def suspect():
    return drawn(5, lean=SIGNS)


@pytest.fixture(scope="module")
def signer():
    pytest.importorskip("cryptography")
    return Signer.draw()


@pytest.fixture(scope="module")
def written(suspect, signer, tmp_path_factory):
    """A signed report with all three tests: its folder's files, by name."""
    folder = tmp_path_factory.mktemp("report")
    key = known_key()
    verdict = verify(suspect, REFERENCE, QUICK, key=key, innocents=OTHERS)
    assert {finding.test for finding in verdict.findings} == {"keyed", "rank", "ks"}
    write_report(verdict, suspect, REFERENCE, folder, innocents=OTHERS, signer=signer)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def report(written, tmp_path):
    for name, content in written.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_an_untouched_report_matches(report, signer, suspect):
    found = check_report(report / "report.html", public=signer.public)
    assert found.sound
    assert states(found) == {
        "files": "matches",
        "signature": "matches",
        "keyed statistic": "not checked",
        "message's centre": "not checked",
        "figures": "matches",
        "copies": "matches",
        "verdict": "matches",
        "page": "matches",
        "commitment": "not checked",
        "number of tests": "not checked",
    }
    whole = check_report(report, key=known_key(), suspect=suspect)
    assert states(whole)["keyed statistic"] == "matches"
    assert states(whole)["signature"] == "not checked"
    assert "Signed by a key you have not named" in texts(whole)["signature"]
    centre = "message's centre"
    assert set(whole.unchecked) == {"signature", centre, "commitment", "number of tests"}


def test_neither_message_nor_features_are_in_any_file(report, suspect):
    assert set(path.name for path in report.iterdir()) == {
        "report.html",
        "report.json",
        "report.seal.json",
    }
    bits = "".join("1" if sign > 0 else "0" for sign in SIGNS)
    secret = [bits, bits.translate(str.maketrans("01", "-+")), SALT.hex()]
    secret += [np.packbits(SIGNS > 0).tobytes().hex(), ",".join(map(str, SIGNS))]
    summed = contributions(suspect.features).sum(axis=0)
    assert (np.sign(summed) == SIGNS).mean() > 0.95, "the features would tell the message"
    for path in report.iterdir():
        text = re.sub(r"\s", "", path.read_text(encoding="utf-8"))
        assert not [way for way in secret if way in text], path.name
        assert '"features":' not in text
        assert f"{suspect.features[0, 0]!r}" not in text
        # strengths are there, but in ascending order and without signs
        assert ",".join(repr(float(value)) for value in summed[:3]) not in text
    stated = json.loads((report / "report.json").read_text())["verdict"]["findings"][0]
    assert stated["strengths"] == sorted(stated["strengths"])
    assert min(stated["strengths"]) >= 0


def test_the_page_shows_every_test_and_its_charts(report):
    page = (report / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg xmlns") == 4
    for words in (
        "The findings",
        "keyed test (decides)",
        "Is the secret message in the images?",
        "Comparison with the reference model",
        "How well random messages fit the images, with the secret message marked",
        "Evidence after each image, with the boundary that decides",
        "How many of them are right is not stated",
        "No commitment: the key could have been chosen afterwards.",
        "--innocent SCORES",
    ):
        assert words in page, words


def test_a_report_without_a_reference_is_whole(suspect, tmp_path):
    verdict = verify(suspect, None, QUICK, key=known_key())
    paths = write_report(verdict, suspect, None, tmp_path)
    page = paths.html.read_text(encoding="utf-8")
    assert "Kolmogorov" not in page
    assert page.count("<svg xmlns") == 1
    found = check_report(tmp_path)
    assert found.sound
    assert states(found)["signature"] == "not checked"
    assert "The report is not signed" in texts(found)["signature"]
    verdict = verify(suspect, None, VerifyConfig(alpha=0.4), innocents=OTHERS)
    write_report(verdict, suspect, None, tmp_path / "rank", innocents=OTHERS)
    assert check_report(tmp_path / "rank").sound
    assert "innocent models score this low" in (tmp_path / "rank" / "report.html").read_text()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda d: d["verdict"].update(outcome="no evidence"), "verdict.outcome"),
        (lambda d: d["verdict"]["finding"].update(p_value=1e-99), "verdict.finding.p_value"),
        (lambda d: d["suspect"]["images"][7].update(score=-3.5), "suspect.images[7]"),
        (lambda d: d["suspect"]["images"].pop(), "suspect.images.length, suspect.images[39]"),
        (lambda d: d["innocents"][1].update(coater="x"), "innocents[1].coater"),
        (lambda d: d.update(notes=["new"]), "notes"),
        (lambda d: d["reference"]["source"].update(steps=21), "reference.source.steps"),
    ],
)
def test_a_changed_field_is_named(report, signer, change, place):
    edit(report, change)
    found = check_report(report, public=signer.public)
    assert not found.sound
    assert states(found)["files"] == "differs"
    assert f"Changed in report.json: {place}." in texts(found)["files"]
    assert states(found)["signature"] == "matches", "the seal itself is untouched"


def test_changed_bytes_without_a_changed_value_are_told(report):
    data = json.loads((report / "report.json").read_text())
    (report / "report.json").write_text(json.dumps(data))
    assert "no value has changed, only spelling or spacing" in texts(check_report(report))["files"]
    page = report / "report.html"
    page.write_bytes(page.read_bytes().replace(b"coating found", b"coating_found", 1))
    edit(report, lambda data: None)
    found = check_report(report)
    assert texts(found)["files"].startswith("report.html: changed since the report was sealed")
    page.unlink()
    assert (
        "report.html: changed since the report was sealed" in texts(check_report(report))["files"]
    )


def keyed_of(data):
    return next(one for one in data["verdict"]["findings"] if one["test"] == "keyed")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["verdict"].update(outcome="no evidence"), "verdict.outcome is no evidence"),
        (lambda d: d["verdict"].update(headline="Guilty."), "verdict.headline is Guilty"),
        (lambda d: d["verdict"]["finding"].update(p_value=1e-99), "finding.p_value is 1e-99"),
        (lambda d: d["verdict"]["findings"][2]["result"].update(n=41), "ks finding.result.n is 41"),
        (lambda d: d["verdict"]["findings"].pop(1), "findings: the report has keyed, ks"),
        (lambda d: keyed_of(d).update(p_value=1e-99), "keyed finding.p_value is 1e-99"),
        (lambda d: keyed_of(d)["result"].update(statistic=1e9), "larger than possible"),
        (lambda d: keyed_of(d)["result"].update(statistic=1.5), "which no message has"),
        (lambda d: keyed_of(d)["result"].update(statistic=-2.0), "keyed finding"),
        (lambda d: keyed_of(d)["strengths"].__setitem__(0, 0.5), "not whole numbers"),
        (lambda d: keyed_of(d)["strengths"].__setitem__(-1, 11), "largest is 10"),
        (lambda d: keyed_of(d)["strengths"].pop(), "keyed finding"),
        (lambda d: keyed_of(d)["strengths"].reverse(), "ascending"),
        (lambda d: keyed_of(d)["strengths"].append("x"), "strengths[48] is 'x'; expected a number"),
        (lambda d: keyed_of(d)["result"].pop("images"), "result has no images; expected a whole"),
        (lambda d: keyed_of(d)["strengths"].clear(), "has no strengths"),
        (
            lambda d: d["suspect"]["images"][0].update(score="low"),
            "can't be recomputed: report.json: suspect.images[0].score is 'low'; expected",
        ),
        (lambda d: d["reference"].update(coater="ef" * 32), "come from different coaters"),
        (lambda d: d["innocents"].append(d["innocents"][0]), "models 1 and 4 are the same images"),
        (lambda d: d["verdict"]["settings"].update(price=0), "can't be recomputed"),
        (
            lambda d: d["verdict"].update(settings=[]),
            "verdict.settings is []; expected named values",
        ),
        (lambda d: d["verdict"].update(settings={"alpha": 0.5}), "verdict.alpha is 1e-06"),
        (lambda d: d["verdict"].update(mood="dark"), "verdict has the unknown name 'mood'"),
        (lambda d: d["verdict"]["findings"][0].update(test="x"), "findings[0].test is 'x'"),
        (lambda d: d["verdict"]["commitment"].update(status="?"), "commitment.status is '?'"),
        (lambda d: d["verdict"].update(headline="x" * 30_000), "(30,000 characters); expected"),
        (lambda d: d["innocents"][1]["images"].clear(), "innocents[1].images is []; expected"),
        (lambda d: d["verdict"].pop("commitment"), "can't be recomputed"),
        (lambda d: d.pop("verdict"), "can't be recomputed"),
        (lambda d: d.update(verdict=[1]), "can't be recomputed"),
        (lambda d: d.update(innocents={"a": 1}), "can't be recomputed"),
    ],
)
def test_made_up_figures_are_found_even_under_a_fresh_seal(report, change, words):
    found = resealed(report, change)
    assert states(found)["files"] == "matches"
    assert not found.sound
    assert re.search(re.escape(words), " ".join(texts(found).values()))


def test_sentences_of_another_version_are_not_compared(report):
    """Their figures are, and the check says that the sentences were left out."""
    found = resealed(report, lambda d: d["verdict"].update(wording=WORDING + 1, headline="Guilty."))
    assert states(found)["verdict"] == "matches"
    assert "sentences are those of another version and were not compared" in texts(found)["verdict"]
    found = resealed(report, lambda d: d["verdict"].update(outcome="no evidence"))
    assert "verdict.outcome is no evidence" in texts(found)["verdict"]


def test_mirrored_copies_in_reports_of_earlier_versions_are_told(report, suspect):
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(suspect.phashes[0]), dtype=np.uint8))
    mirrored = np.packbits((2.0 * bits - 1) * MIRRORED[1] > 0).tobytes().hex()
    pool = dataclasses.replace(
        suspect, phashes=(suspect.phashes[0], mirrored, *suspect.phashes[2:])
    )
    assert mirrored_in(pool) == 1  # and from now on it counts them, as earlier versions did
    verdict = verify(pool, REFERENCE, QUICK, key=known_key(), innocents=OTHERS)
    write_report(verdict, pool, REFERENCE, report, innocents=OTHERS)
    old = resealed(report, lambda d: d["verdict"].update(wording=6))
    assert states(old)["figures"] == "matches"
    assert "1 more mirrored copies" in texts(old)["mirrored copies"]
    new = resealed(report, lambda d: d["verdict"].update(wording=WORDING))
    assert states(new)["copies"] == "differs"


def test_a_statistic_of_another_message_is_found_with_the_key(report, suspect):
    """Without the key T must be believed; with it, it is computed again."""
    other = verify(suspect, REFERENCE, QUICK, key=known_key(), innocents=OTHERS)
    lower = other.deciding.result.statistic - 2

    def change(data):
        one = keyed_of(data)
        one["result"]["statistic"] = lower
        stated = convert(one, StoredFinding, name="finding", error=EvidenceError)
        one.update(restored_keyed(stated, 1e-6).to_dict())

    assert states(resealed(report, change))["figures"] == "matches"
    found = check_report(report, key=known_key(), suspect=suspect)
    assert states(found)["keyed statistic"] == "differs"
    assert "keyed finding.result.statistic" in texts(found)["keyed statistic"]
    stranger = drawn(5, seed=9, lean=SIGNS)
    found = check_report(report, key=known_key(), suspect=stranger)
    assert "not those of the report's suspect images" in texts(found)["figures"]


def test_signatures(report, signer):
    other = Signer.draw()
    found = check_report(report, public=other.public)
    assert "not by the expected" in texts(found)["signature"]
    for change in (
        lambda d: d.update(signature="00" * 64),
        lambda d: d.update(signature=""),
        lambda d: d.update(signature="zz"),
        lambda d: d.update(public_key=other.public),
        lambda d: d["fields"].update(notes="0"),
        lambda d: d["files"].update({"report.html": "0" * 64}),
    ):
        before = (report / "report.seal.json").read_bytes()
        edit(report, change, "report.seal.json")
        found = check_report(report)
        assert states(found)["signature"] == "differs"
        assert "the seal was changed" in texts(found)["signature"]
        (report / "report.seal.json").write_bytes(before)
    edit(report, lambda d: d.update(signature="", public_key=""), "report.seal.json")
    assert states(check_report(report))["signature"] == "not checked"
    assert states(check_report(report, public=signer.public))["signature"] == "differs"


def test_what_is_no_report_is_refused(report, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvidenceError, match=r"There is no report\.json"):
        check_report(tmp_path / "empty")
    (report / "report.seal.json").write_text("{}")
    with pytest.raises(EvidenceError, match="format"):
        check_report(report)
    (report / "report.seal.json").unlink()
    found = check_report(report)
    assert states(found)["files"] == "not checked"
    assert found.sound
    for text, words in (("[]", "has no format"), ("{", "not valid JSON")):
        (report / "report.json").write_text(text)
        with pytest.raises(EvidenceError, match=words):
            check_report(report)


def test_images_are_told_apart_by_content(suspect, tmp_path):
    for number in range(3):
        (tmp_path / f"{number:05d}.png").write_bytes(bytes([number]))
    files = sorted(tmp_path.iterdir())
    hashes = tuple(sha256_file(path) for path in files) + suspect.hashes[3:]
    own = drawn(5, hashes=hashes)
    write_report(verify(own, REFERENCE), own, REFERENCE, tmp_path / "report")
    assert states(check_report(tmp_path / "report", images=files))["images"] == "matches"
    files[1].write_bytes(b"changed")
    found = check_report(tmp_path / "report", images=files)
    assert texts(found)["images"].endswith(
        "1 of 3 files are not among the scored images: 00001.png"
    )


def test_a_report_holds_the_looks_and_is_checked_with_them(tmp_path):
    reference = drawn(10, 120, seed=1, looks=table(120, 7), features=None)
    suspect = drawn(5, features=None, looks=table(40, 6, at0=-4.0))
    write_report(verify(suspect, reference), suspect, reference, tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "These images are not shown to look alike, so they are not judged" in page
    assert check_report(tmp_path).sound
    # as if an accuser had left them out
    write_report(verify(suspect, reference), drawn(5, features=None), reference, tmp_path)
    states = {point.name: point.state for point in check_report(tmp_path).points}
    assert states["verdict"] == "differs"


def test_malformed_scores_by_decoys_are_a_difference(tmp_path):
    suspect = ranked(0.9, [0.1, 0.2])
    before = Precedence("committed before", "Committed.", "2026-01-01T00:00:00Z", "a" * 64)
    verdict = verify(suspect, config=VerifyConfig(alpha=0.5), precedence=before)
    write_report(verdict, suspect, None, tmp_path)
    assert check_report(tmp_path).sound
    found = resealed(tmp_path, lambda d: d["suspect"]["source"]["decoys"]["decoys"].pop(0))
    assert states(found)["figures"] == "differs"
    assert "are not those of decoys 1 to" in texts(found)["figures"]
