"""The command ``generate`` takes suspects of every kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.investigated import shades
from support.standin_a1111 import A1111Standin
from support.standins import running


@pytest.fixture
def ui() -> Iterator[Any]:
    with running(A1111Standin(shades)) as standin:
        yield standin


def test_generate_command_takes_suspects(call: Any, ui: Any, tmp_path: Path) -> None:
    common = ["-n", "2", "--size", "64", "--out", tmp_path / "o", "--limit", "requests=1"]
    code, _, err = call("generate", "--suspect", f"a1111://{ui.place}", *common)
    assert code == 2
    assert "limit of 1 requests" in err
    common[-1] = "attempts=2"
    code, out, _ = call("generate", "--suspect", f"a1111://{ui.place}", *common)
    assert (code, out) == (0, f"2 images: {tmp_path / 'o'}\n")
    for wrong, why in (
        ((), "give --base or --suspect"),
        (("--suspect", "a1111://x", "--adapter", "y"), "--adapter needs --base"),
        (("--suspect", "a1111://x", "--base", "pocket"), r"\?model="),
        (("--suspect", f"{tmp_path}/none"), "There is no"),
        (("--suspect", "https://host"), "Describe other APIs in a TOML file"),
        (("--suspect", "a1111://x", "--limit", "speed=1"), "no setting speed"),
    ):
        code, _, err = call("generate", "--out", tmp_path / "w", *wrong)
        assert code == 2
        assert re.search(why, err), err
