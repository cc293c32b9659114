"""The record beside generated pictures: damaged ones are refused, whoever reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.hostile_files import check_reader, wrong_values

from siren_ext.errors import ConfigError
from siren_ext.suspects.base import PromptPlan, generate_images, read_missed
from siren_ext.suspects.provenance import PictureRecord, Provenance

PLAN = PromptPlan(count=1)


def whole() -> Provenance:
    return Provenance(
        kind="generated",
        suspect={"kind": "flat", "sizes": (1, 2)},
        plan=PLAN.to_dict(),
        missed={"00001.png": "refused"},
        requests=3,
        images={"00000.png": PictureRecord("a dog", 7, "0" * 64)},
    )


class Nobody:
    """A suspect that must not be asked."""

    def describe(self) -> dict[str, Any]:
        return {"kind": "flat"}

    def generate(self, plan: PromptPlan, **_: Any) -> Any:
        pytest.fail("pictures were asked for")


def test_parts_that_do_not_apply_are_not_written(tmp_path: Path) -> None:
    record = whole()
    record.save(tmp_path)
    stored = json.loads((tmp_path / "provenance.json").read_text())
    assert list(stored) == ["kind", "suspect", "plan", "missed", "requests", "images"]
    record.missed, record.requests = {}, None
    record.save(tmp_path)
    stored = json.loads((tmp_path / "provenance.json").read_text())
    assert list(stored) == ["kind", "suspect", "plan", "images"]
    assert Provenance.load(tmp_path / "nowhere") is None


def test_damaged_records_are_refused(tmp_path: Path) -> None:
    whole().save(tmp_path)
    path = tmp_path / "provenance.json"
    check_reader(path, lambda path: Provenance.load(path.parent), ConfigError)
    for what, data in wrong_values(json.loads(path.read_text())):
        if what in ("no missed", "no requests", "requests = None") or what.endswith(
            ("suspect = {}", "plan = {}", "missed = {}", "images = {}", "= {'a': 1}")
        ):
            continue
        path.write_text(json.dumps(data))
        for read in (read_missed, lambda out: generate_images(Nobody(), PLAN, out)):
            with pytest.raises(ConfigError, match=r"provenance\.json.*Delete the folder"):
                pytest.fail(f"{what}: {read(tmp_path)}")


def test_a_plan_of_another_version_is_another_plan(tmp_path: Path) -> None:
    record = whole()
    record.suspect = Nobody().describe()
    record.plan["mood"] = "dark"
    record.save(tmp_path)
    with pytest.raises(ConfigError, match="another model, adapter or plan"):
        generate_images(Nobody(), PLAN, tmp_path)
