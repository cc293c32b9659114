"""The report: complete, self-contained, safe against hostile names, honest about settings."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from siren_ext.files import sha256_file
from siren_ext.report.charts import distributions_svg, histogram_svg
from siren_ext.report.pictures import CoatEvidence
from siren_ext.report.redaction import clean
from siren_ext.report.write import environment, write_report
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.ks import ks_less
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify

HOSTILE = "<img src=x onerror=alert(1)>\"'&\u202egnp.exe"


def pool(scores, start=0, **changes):
    n = len(scores)
    parts = {
        "scores": np.asarray(scores, dtype=float),
        "names": tuple(f"{i:05d}.png" for i in range(n)),
        "hashes": tuple(f"{start + i:064x}" for i in range(n)),
        "coater": "ab" * 32,
        "source": {"prompts": ["a dog"], "seeds": [1, 2], "steps": 20},
    }
    return ScoreSet(**(parts | changes))


def normal(mean, n, seed):
    return np.random.default_rng(seed).normal(mean, 1, n)


def save(path, seed, size=(32, 24)):
    pixels = np.random.default_rng(seed).integers(40, 200, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def suspect():
    return pool(normal(5, 40, 1))


@pytest.fixture
def reference():
    return pool(normal(10, 120, 0), 10_000)


def written(suspect, reference, out, **options):
    verdict = verify(suspect, reference, options.pop("config", None))
    paths = write_report(verdict, suspect, reference, out, **options)
    return verdict, paths.html.read_text(encoding="utf-8"), json.loads(paths.json.read_text())


class Page(HTMLParser):
    """Collects tags and attributes and checks that every element is closed."""

    VOID = ("meta", "img", "br", "hr", "input", "link")

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.words = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_page_and_json_tell_the_whole_finding(suspect, reference, tmp_path):
    verdict, html, data = written(suspect, reference, tmp_path / "report")
    finding = verdict.finding
    text = Page(html).text
    for words in (
        "coating found",
        verdict.headline,
        f"{finding.statistic:.4f}",
        f"{finding.p_value:.3g}",
        f"{finding.smallest_p:.3g}",
        "1e-06",
        "40 against 120",
        "p, one-sided, exact",
        "What this does not prove",
        "ab" * 32,
        "numpy",
        "a dog",
        *verdict.does_not_prove,
    ):
        assert words in text
    assert data["verdict"] == verdict.to_dict()
    np.testing.assert_array_equal([i["score"] for i in data["suspect"]["images"]], suspect.scores)
    assert [i["sha256"] for i in data["reference"]["images"]] == list(reference.hashes)
    assert data["reference"]["source"] == reference.source
    assert data["environment"] == environment()
    assert {"Python", "system", "torch", "numpy", "scipy"} <= set(environment())


def test_the_test_can_be_repeated_from_the_json_alone(suspect, reference, tmp_path):
    verdict, _, data = written(suspect, reference, tmp_path, config=VerifyConfig(alpha=1e-3))
    pools = (ScoreSet.from_dict(data["suspect"]), ScoreSet.from_dict(data["reference"]))
    config = VerifyConfig.from_dict(data["verdict"]["settings"])
    assert verify(*pools, config) == verdict


@pytest.mark.parametrize("config", [VerifyConfig(), VerifyConfig(two_sided=True)])
@pytest.mark.parametrize(
    ("scores", "others"),
    [
        ([1.0], [2.0]),
        ([3.0] * 5, [3.0] * 7),
        (normal(12, 40, 1), normal(10, 100, 0)),
        ([0], [1] * 9),
    ],
)
def test_extreme_pools_still_give_a_page(scores, others, config, tmp_path):
    verdict, html, _ = written(pool(scores), pool(others, 500), tmp_path, config=config)
    assert verdict.outcome in Page(html).text
    for warning in verdict.warnings:
        assert warning in Page(html).text


def evidence(folder, count=3):
    pairs = []
    for i in range(count):
        first = save(folder / f"clean{i}.png", i)
        pixels = np.asarray(Image.open(first)) + np.uint8(2 + i)
        second = folder / f"coated{i}.png"
        Image.fromarray(pixels).save(second)
        pairs.append((first, second))
    return pairs


def test_pictures_and_measures_of_the_written_files(suspect, reference, tmp_path):
    pairs = evidence(tmp_path)
    _, html, data = written(
        suspect, reference, tmp_path / "out", coated=CoatEvidence(tuple(pairs), "ab" * 32)
    )
    quality = data["quality"]
    assert (quality["measured"], quality["of"]) == (3, 3)
    for i, file in enumerate(quality["files"]):
        assert file["sha256"] == sha256_file(pairs[i][1])
        assert file["psnr_db"] == pytest.approx(-20 * np.log10((2 + i) / 255), abs=1e-3)
        assert 0.9 < file["ssim"] < 1
        assert 0 < file["de00_mean"] < 4
    worst = quality["summary"]["psnr_db"]["worst"]
    assert worst == min(file["psnr_db"] for file in quality["files"])
    page = Page(html)
    assert page.tags.count("img") == 9
    assert "Difference × 10" in page.text  # noqa: RUF001
    assert f"{worst:.1f}) " in page.text


def test_amplified_difference_is_what_it_says(tmp_path):
    from siren_ext.report.pictures import _pictures

    first = save(tmp_path / "a.png", 0)
    pixels = np.asarray(Image.open(first)).astype(int)
    pixels[..., 0] += 3
    pixels[..., 2] -= 20
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "b.png")
    import base64
    import io

    uri = _pictures(first, tmp_path / "b.png")["difference"]
    shown = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert np.unique(np.asarray(shown).reshape(-1, 3), axis=0).tolist() == [[158, 128, 0]]


def test_bad_pairs_are_told_and_left_out(suspect, reference, tmp_path):
    pairs = evidence(tmp_path, 4)
    pairs[1][1].write_bytes(b"broken")
    save(pairs[2][1], 9, (16, 16))
    _, html, data = written(suspect, reference, tmp_path / "out", coated=CoatEvidence(tuple(pairs)))
    assert data["quality"]["measured"] == 2
    text = Page(html).text
    assert "coated1.png was left out" in text
    assert "32 x 24 pixels, the coated file 16 x 16" in text
    assert str(tmp_path) not in html
    broken = CoatEvidence(tuple(pairs[1:2]))
    _, html, data = written(suspect, reference, tmp_path / "none", coated=broken)
    assert data["quality"] is None
    assert "What the coating does" not in html


def test_uncoated_copies_have_no_infinite_numbers(suspect, reference, tmp_path):
    path = save(tmp_path / "same.png", 0)
    coated = CoatEvidence(((path, path),))
    _, html, data = written(suspect, reference, tmp_path / "out", coated=coated)
    assert data["quality"]["files"][0]["psnr_db"] is None
    assert "unlimited (no change)" in html


def test_galleries_show_the_extremes_by_content(reference, tmp_path):
    files = [save(tmp_path / f"{i}.png", i) for i in range(14)]
    scores = np.arange(14.0)[::-1]
    suspect = pool(
        scores, names=tuple(f.name for f in files), hashes=tuple(sha256_file(f) for f in files)
    )
    stranger = save(tmp_path / "0_other.png", 99)
    _, html, _ = written(suspect, reference, tmp_path / "out", mimicries=[*files, stranger])
    names = re.findall(r'alt="image ([^"]*)"', html)
    assert names == [f"{i}.png" for i in (13, 12, 11, 10, 9, 8, 5, 4, 3, 2, 1, 0)]
    assert "Suspect: lowest scores" in html
    assert "Reference: lowest scores" not in html


def test_nothing_outside_is_needed_and_nothing_runs(suspect, reference, tmp_path):
    coated = CoatEvidence(tuple(evidence(tmp_path)))
    _, html, _ = written(suspect, reference, tmp_path / "out", coated=coated)
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "form", "base"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href", "data", "action"):
            assert value.startswith(("data:image/", "#")), (tag, name, value[:80])
    assert "@import" not in html
    assert not re.search(r"url\((?!['\"]?#)", html)
    assert "default-src 'none'" in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    assert 'name="viewport"' in html


def test_hostile_text_stays_text(reference, tmp_path):
    files = [save(tmp_path / f"{i}.png", i) for i in range(3)]
    suspect = pool(
        [1.0, 2.0, 3.0],
        names=(HOSTILE, "{{ 7*7 }}.png", "$\\frac{a}{b}$.png"),
        hashes=tuple(sha256_file(f) for f in files),
        source={"prompts": [HOSTILE, "</pre></style><script>alert(2)</script>"], HOSTILE: 1},
        failures=((HOSTILE, HOSTILE),),
    )
    _, html, _ = written(
        suspect,
        reference,
        tmp_path / "out",
        mimicries=files,
        extra={HOSTILE: [HOSTILE, "\ud800", float("nan"), tmp_path]},
        coated=CoatEvidence(((files[0], files[1]),), HOSTILE),
    )
    page = Page(html)
    assert "script" not in page.tags
    assert not [a for a in page.attributes if a[1].startswith("on")]
    assert not [a for a in page.attributes if a[1] == "src" and not a[2].startswith("data:image/")]
    assert "onerror=alert(1)" in page.text
    assert "\u202e" not in html
    assert "{{ 7*7 }}.png" in page.text


def test_secrets_and_machine_folders_stay_out(suspect, reference, tmp_path):
    source = {
        "prompts": ["walking and/or running", "1/2 pound, a/b/c"],
        "adapter": "/home/alice/loras/suspect.safetensors",
        "windows": "C:\\Users\\alice\\model.safetensors",
        "relative": "models/pocket",
        "api_key": "hunter2",
        "nested": [{"Authorization": "hunter2", "token": "hunter2"}],
        "url": "https://alice:hunter2@example.org/v1/images?key=hunter2",
        "note": "/home/alice/x.png can't be read",
        "seeds": [3, 4],
    }
    pools = pool(suspect.scores, source=source), reference
    _, html, data = written(*pools, tmp_path, extra={"password": "hunter2"})
    for text in (html, json.dumps(data)):
        assert "hunter2" not in text
        assert "alice" not in text
    kept = data["suspect"]["source"]
    assert kept["prompts"] == source["prompts"]
    assert kept["adapter"].endswith("suspect.safetensors")
    assert kept["windows"].endswith("model.safetensors")
    assert kept["relative"] == "models/pocket"
    assert kept["seeds"] == [3, 4]
    assert kept["api_key"] == "(left out)"
    assert "example.org/v1/images" in kept["url"]


def test_cleaning_ends_on_deep_nesting():
    value = "x"
    for _ in range(1000):
        value = [value]
    assert "nested too deeply" in json.dumps(clean(value))


def test_long_pools_are_cut_in_the_page_but_whole_in_the_json(tmp_path):
    _, html, data = written(pool(normal(5, 900, 1)), pool(normal(9, 400, 2), 5000), tmp_path)
    assert "600 more are in report.json" in Page(html).text
    assert len(data["suspect"]["images"]) == 900


def test_charts_are_sound_and_follow_the_page():
    first, second = normal(5, 30, 1), normal(8, 100, 2)
    finding = ks_less(first, second)
    for svg in (histogram_svg(first, second), distributions_svg(first, second, finding)):
        ElementTree.fromstring(svg)
        assert "var(--suspect)" in svg
        assert "var(--reference)" in svg
        assert "#0a0b" not in svg
        assert "<style" in svg or "style=" in svg
    assert f"D = {finding.statistic:.3f}" in distributions_svg(first, second, finding)
    assert histogram_svg(first, second) == histogram_svg(first, second)
    assert "D =" not in distributions_svg(second, first, ks_less(second + 99, first))
