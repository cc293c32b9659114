"""LoRA files of a web UI: their names in answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from support.standin_a1111 import A1111Standin
from support.standins import running

from siren_ext.suspects.a1111_loras import loras_of_answer
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.open import open_suspect
from siren_ext.suspects.responses import SuspectError

PLAN = PromptPlan(prompts=("a cat",), count=1, seed=5, steps=2, guidance=7.0, size=16)


def entry(path: str, alias: str = "") -> dict[str, Any]:
    """As AUTOMATIC1111 and Forge list a file."""
    name = path.rpartition("/")[2].rpartition(".")[0]
    return {"name": name, "alias": alias or name, "path": path, "metadata": {}}


@pytest.fixture
def ui() -> Iterator[A1111Standin]:
    with running(A1111Standin()) as standin:
        yield standin


def asked(ui: A1111Standin, lora: str) -> str:
    """What the prompt has after its words, when a picture is made with a LoRA."""
    suspect = open_suspect(f"a1111://{ui.place}?lora={quote(lora)}")
    assert len(list(suspect.generate(PLAN))) == 1
    prompts = [body["prompt"] for _, path, body in ui.seen if path == "/sdapi/v1/txt2img"]
    return str(prompts[-1]).partition("<")[2]


@pytest.mark.parametrize("name", ["style, v1", 'quo"te', "back\\slash", "Ünï 猫", " dot.v1 "])
def test_a_lora_of_any_name_is_known_in_the_answers(ui: A1111Standin, name: str) -> None:
    ui.loras = [entry(f"/loras/{name}.safetensors")]
    assert asked(ui, name) == f"lora:{name}:1>"


def test_a_lora_with_a_colon_is_known_in_the_answers(ui: A1111Standin) -> None:
    ui.loras = [entry("/loras/cat.safetensors", "style: v1")]
    ui.said = {"sd_model_name": "base", "infotexts": ['x\nLora hashes: "style v1: 01"']}
    assert asked(ui, "cat") == "lora:cat:1>"
    ui.said["infotexts"] = ['x\nLora hashes: "style v2: 01"']
    with pytest.raises(SuspectError, match="used the LoRA style v2 but not cat"):
        asked(ui, "cat")


def test_names_in_an_answer() -> None:
    text = json.dumps('a "b" c: 0123, back\\slash: 4567')
    facts = {"infotexts": [f"a cat\nSteps: 2, Lora hashes: {text}, Version: 1"]}
    assert loras_of_answer(facts) == {'a "b" c', "back/slash"}
    assert loras_of_answer({"infotexts": ["a cat\nSteps: 2"]}) is None
    assert loras_of_answer([]) is None
