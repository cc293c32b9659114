"""What all tests share: no hub, few threads, no clock in the property tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "siren", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("siren")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line, siren-ext's by default, in this process: (exit code, stdout, stderr)."""
    from siren_ext.cli.app import app

    def run(*arguments: str | Path, of: typer.Typer = app) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            of([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return int(stop.value.code or 0), shown.out, shown.err

    return run


@pytest.fixture
def few_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of a model's file compares with a tenth of the usual messages."""
    from siren_ext.preference import changes
    from siren_ext.stats import tilted

    monkeypatch.setattr(changes, "DRAWN", 400)
    monkeypatch.setattr(changes, "_SPREAD", 64)
    monkeypatch.setattr(tilted, "_PILOTS", 4)


@pytest.fixture
def few_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The patterns of bits are measured on a tenth of the usual copies."""
    from siren_ext.preference import patterns

    monkeypatch.setattr(patterns, "CODINGS", 48)
    monkeypatch.setattr(patterns, "_PER_BIT", 3)


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least scrypt cost that files may have: 16 MiB a guess."""
    pytest.importorskip("cryptography")
    monkeypatch.setattr("siren_ext.keys.encrypted_file.COST", 14)


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen networks run in float32, also on a CPU with a bfloat16 unit."""
    monkeypatch.setattr("siren_ext.devices.has_bf16_matrix_unit", lambda: False)
