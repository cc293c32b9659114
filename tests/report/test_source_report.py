"""The page and the record of a verdict about a source."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.toy_source import caption, write_scenes

from siren_ext.attribution.key_queries import Answers, KeySample
from siren_ext.attribution.key_samples import Selection
from siren_ext.attribution.shadow import ShadowFinding
from siren_ext.attribution.source_config import SourceConfig
from siren_ext.attribution.source_verdict import SourceVerdict, judge_source
from siren_ext.attribution.source_wording import DOES_NOT_PROVE, NULL
from siren_ext.report.source_report import write_source

SHADOW = ShadowFinding(1.5, 0.5, (2.0, 1.0, 0.7), (0.1, -1.0, 0.5), 0.25, 1.0, 0.1)


@pytest.fixture
def parts(tmp_path: Path) -> tuple[SourceVerdict, Selection, Answers]:
    data = write_scenes(tmp_path / "keys", range(4))
    keys = tuple(
        KeySample(item.path, f"<i>{caption(number)}", item.name, 0.05)
        for number, item in enumerate(data.items)
    )
    gone = tmp_path / "gone.png"
    files = ((keys[0].path,), (keys[1].path, gone), (gone,), ())
    table = np.array([[0.1, np.nan], [0.2, 0.12], [0.3, np.nan], [np.nan, np.nan]])
    own = Answers(table, files, 8)
    innocent = {f"i{n}.safetensors": Answers(table + 0.2, files, 8) for n in range(3)}
    verdict = judge_source(own, {}, innocent, SourceConfig(), shadow=SHADOW, notes=("A <b>n</b>.",))
    return verdict, Selection(keys, "detection", 9, 1, 2), own


def facts(tmp_path: Path) -> dict:
    return {
        "query": "img2img",
        "resolution": 16,
        "requests": 8,
        "source": {"model": str(tmp_path / "secret" / "model.safetensors"), "token": "abc"},
        "suspect": {"kind": "function"},
        "base": None,
        "settings": SourceConfig().to_dict(),
        "shadow_settings": None,
    }


def test_page_and_record(parts, tmp_path: Path) -> None:
    written = write_source(*parts, facts(tmp_path), tmp_path / "out")
    raw = written.html.read_text(encoding="utf-8")
    page = html.unescape(raw)
    # three key samples were answered; of two the nearest answer is gone
    assert page.count('src="data:image/jpeg') == 4
    assert "can't be read any more" in page
    assert "A <b>n</b>." not in raw
    assert "<i>scene" not in raw
    assert "Among shadow models" in page
    assert "i0.safetensors" in page
    assert NULL in page
    assert all(line in page for line in DOES_NOT_PROVE)
    kept = json.loads(written.json.read_text())
    assert next(iter(kept)) == "format"
    assert kept["hits"] == 2
    assert kept["total"] == 3
    assert [row["suspect"] for row in kept["samples"]] == [0.1, 0.12, 0.3, None]
    assert kept["does_not_prove"] == list(DOES_NOT_PROVE)
    for text in (raw, written.json.read_text()):
        assert "secret" not in text
        assert "abc" not in text


def test_a_model_whose_name_looks_like_a_secret_keeps_its_counts(parts, tmp_path: Path) -> None:
    verdict, *rest = parts
    models = {"private_model.safetensors": (1, 3), "/home/jane/key.safetensors": (0, 3)}
    written = write_source(
        replace(verdict, models=models), *rest, facts(tmp_path), tmp_path / "out"
    )
    kept = json.loads(written.json.read_text())
    assert kept["models"]["private_model.safetensors"] == {"hits": 1, "total": 3}
    assert len(kept["models"]) == 2
    assert "jane" not in written.json.read_text()


def test_the_nearest_answer_is_shown_first(parts, tmp_path: Path) -> None:
    written = write_source(*parts, facts(tmp_path), tmp_path / "out")
    page = written.html.read_text(encoding="utf-8")
    places = [page.index(f"distance {value}") for value in ("0.100", "0.120", "0.300")]
    assert places == sorted(places)
