"""Refusals of Train Coater on a stand-in host."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fake_host import FakeHost, nodes_of_pack, run

from siren_ext.coater.coater import Coater
from siren_ext.errors import CoaterError, ModelError


def test_trained_coaters_are_not_replaced_and_parts_come_together(
    host: FakeHost, coater: Coater, pictures: Path
) -> None:
    node = nodes_of_pack()["SirenTrainCoater"]
    inputs = {"folder": "pictures", "class_word": "cat", "steps": 1, "batch_size": 1, "seed": 0}
    inputs |= {"resolution": 64, "rehearse": False}
    coater.save(host.base / "models" / "siren" / "mine.safetensors")
    with pytest.raises(CoaterError, match=r"mine\.safetensors exists already"):
        run(node, save_as="mine", **inputs)
    with pytest.raises(ModelError, match="Only some of model, clip and vae are connected"):
        run(node, save_as="new", model=object(), **inputs)
    assert "class word is empty" in str(node.validate_inputs(class_word=" "))
