"""The node that attacks a coating, on the stand-in host."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from support.fake_host import FakeHost, Interrupt, nodes_of_pack
from support.keyed_coating import SHAPE, key
from support.owned_sets import owned_sets

from siren_ext.coater.coater import Coater
from siren_ext.errors import SirenError

INPUTS: dict[str, Any] = {
    "folder": "sets/p",
    "count": 8,
    "side": 64,
    "strength": 1.0,
    "attacks": "jpeg, palette",
    "save_as": "siren/robustness",
}


@pytest.fixture
def node(host: FakeHost) -> Any:
    owned_sets(host.base / "input" / "sets", 8, others=1)
    return nodes_of_pack()["SirenRobustness"]


def test_the_page_is_written_and_the_lines_are_shown(
    host: FakeHost, node: Any, coater: Coater
) -> None:
    with torch.inference_mode():
        found = node.execute(coater=coater, **INPUTS)
    page, text = found.args
    assert page == "siren/robustness_00001/robustness.html"
    folder = (host.base / "output" / page).parent
    stored = json.loads((folder / "robustness.json").read_text())
    assert [row["attack"] for row in stored["rows"]] == ["none", "jpeg", "palette"]
    assert "\njpeg (saving at low quality): " in text
    assert "Note: This measures the coating in pictures." in text
    (card,) = found.ui["siren"]
    assert card["link"]["filename"] == "robustness.html"
    assert node.execute(coater=coater, **INPUTS).args[0].startswith("siren/robustness_00002/")


def test_a_key_can_be_given(node: Any) -> None:
    keyed = Coater(SHAPE, seed=1)
    for given in (key(), None):
        assert "of bits right" in node.execute(coater=keyed, **INPUTS, key=given).args[1]
    other = Coater(dataclasses.replace(SHAPE, message_bits=8), seed=1)
    with pytest.raises(SirenError, match="The key has 16 bits; this coater takes keys of 8"):
        node.execute(coater=other, **INPUTS, key=key())


def test_inputs_are_checked_before_a_run(node: Any) -> None:
    names = ("folder", "save_as", "attacks")

    def check(**changes: Any) -> Any:
        return node.validate_inputs(**{name: INPUTS[name] for name in names} | changes)

    assert check() is True
    assert check(attacks="") is True
    assert check(folder=None) is True  # connected to another node
    assert "no attack 'smear'" in str(check(attacks="jpeg, smear"))
    assert "no folder 'gone'" in str(check(folder="gone"))
    assert "can't be used as a name" in str(check(save_as="../x"))


def test_an_interrupt_stops_it_and_the_next_run_resumes(
    host: FakeHost, node: Any, coater: Coater
) -> None:
    host.interrupted = True
    with pytest.raises(Interrupt):
        node.execute(coater=coater, **INPUTS)
    host.interrupted = False
    assert node.execute(coater=coater, **INPUTS).args[0].startswith("siren/robustness_00001/")


def test_the_help_page_lists_the_attacks(node: Any) -> None:
    from support.comfy_server import PACK

    from siren_ext.attacks.apply import PICTURES
    from siren_ext.attacks.registry import quick_attacks
    from siren_ext.workflows.robustness_result import NOT_HERE

    for name in ("SirenRobustness.md", "SirenRobustness/ja.md", "SirenRobustness/zh.md"):
        text = " ".join((PACK / "web" / "docs" / name).read_text(encoding="utf-8").split())
        listed = text.replace("、", ", ")
        assert ", ".join(quick_attacks()) in listed
        assert [one for one in PICTURES if one not in text and one not in NOT_HERE] == []
