"""LoRA files of a web UI: their names in addresses, prompts and answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from support.standin_a1111 import A1111Standin
from support.standins import running

from siren_ext.errors import ConfigError
from siren_ext.suspects.a1111_loras import find_lora, loras_of_answer, name_in_prompt
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


LISTED = [
    entry("/loras/styles/cat.safetensors", "Feline"),
    entry("new/dog.v1.5.safetensors") | {"path": "C:\\loras\\new\\dog.v1.5.safetensors"},
    entry("/loras/x-10.safetensors", "mine"),
    entry("/loras/x-20.safetensors", "mine"),
    entry("/loras/feline/x-30.pt", "dog.v1.5"),
]


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("cat", "cat"),
        ("styles/cat", "cat"),
        ("styles\\cat.safetensors", "cat"),
        ("/loras/styles/cat.safetensors", "cat"),
        ("CAT.SafeTensors", "cat"),
        ("Feline", "cat"),
        ("feline", "cat"),
        ("dog.v1.5", "dog.v1.5"),  # a name comes before an alias
        ("dog.v1.5.safetensors", "dog.v1.5"),
        ("new/dog.v1.5", "dog.v1.5"),
        ("x-10", "x-10"),
    ],
)
def test_names(wanted: str, name: str) -> None:
    found = find_lora(LISTED, wanted, "here")
    assert found["name"] == name_in_prompt(LISTED, found, "here") == name


@pytest.mark.parametrize("wanted", ["", "ca", "styles", "les/cat", "other/cat", "cat.pt", "a:1"])
def test_no_such_name(wanted: str) -> None:
    with pytest.raises(ConfigError, match=r"here has no LoRA .* it has cat, dog.v1.5, x-10"):
        find_lora(LISTED, wanted, "here")


def test_one_alias_of_two_files() -> None:
    files = r"x-10 \(/loras/x-10.safetensors\), x-20 \(/loras/x-20.safetensors\)"
    with pytest.raises(ConfigError, match=f"here has 2 LoRAs 'mine': {files}. Give the name"):
        find_lora(LISTED, "mine", "here")


def test_one_name_of_two_files(ui: A1111Standin) -> None:
    ui.loras = [entry("/loras/a/cat.safetensors"), entry("/loras/b/cat.safetensors")]
    with pytest.raises(ConfigError, match=r"has 2 LoRAs 'cat': cat \(/loras/a/.* can't tell them"):
        asked(ui, "cat")
    with pytest.raises(
        ConfigError, match=r"of the same name.* can't tell apart: cat \(/loras/b/cat"
    ):
        asked(ui, "b/cat")
    ui.loras[1]["alias"] = "tiger"
    assert asked(ui, "b/cat") == "lora:tiger:1>"
    ui.loras[0]["alias"] = "Tiger"  # the web UI reads neither of them then
    with pytest.raises(ConfigError, match="can't tell apart"):
        asked(ui, "b/cat")


def test_a_name_that_no_prompt_can_have(ui: A1111Standin) -> None:
    ui.loras = [entry("/loras/style: v1.safetensors"), entry("/loras/a=b.safetensors", "ab")]
    with pytest.raises(ConfigError, match=r"can't name the LoRA style: v1; .* without <, >, : and"):
        asked(ui, "style: v1")
    assert asked(ui, "a=b") == "lora:ab:1>"
