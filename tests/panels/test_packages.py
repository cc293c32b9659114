"""A panel whose packages are missing says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from siren_ext.panels import packages


def test_a_panel_says_what_is_missing_and_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    gr: Any = SimpleNamespace(HTML=lambda text, elem_id: (text, elem_id))
    monkeypatch.setattr(packages, "find_spec", lambda name: object())
    assert packages.missing_packages() == []
    assert packages.absent_notice(gr, "siren_x", "siren-ext x") == {}
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == "peft" else object())
    (name, (text, elem_id)) = packages.absent_notice(
        gr, "siren_x", "siren-ext x", "More."
    ).popitem()
    assert name == elem_id == "siren_x_absent"
    assert "not installed here: peft. Run" in text
    assert "siren-ext x" in text
    assert "environment instead. More." in text
