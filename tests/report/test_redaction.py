"""Secrets and machine folders stay out of a report."""

from __future__ import annotations

import json

import pytest
from support.reports import written
from support.score_sets import pool

from siren_ext.report.redaction import clean


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


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("C:\\Users\\Joe Smith\\set\\x.png can't be read", "\u2026/x.png can't be read"),
        ("C:/Users/Joe Smith/x.png and D:\\a b\\c.png", "\u2026/x.png and \u2026/c.png"),
        ("/Users/Joe Smith/set/x.png", "\u2026/x.png"),
        ("\\\\server\\Joe's files\\x.png", "\u2026/x.png"),
        ("file:///home/joe/x.png", "\u2026/x.png"),
        ("https://example.org/home/a b/c", "https://example.org/home/a b/c"),
    ],
)
def test_folders_with_spaces_and_of_other_systems_stay_out(text, kept):
    assert clean(text) == kept
    assert clean({"passphrase": text}) == {"passphrase": "(left out)"}


def test_cleaning_ends_on_deep_nesting():
    value = "x"
    for _ in range(1000):
        value = [value]
    assert "nested too deeply" in json.dumps(clean(value))
