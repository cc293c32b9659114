"""Checkpoints in subfolders, with and without suffix and hash."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.standin_a1111 import A1111Standin
from support.standins import running

from siren_ext.errors import ConfigError
from siren_ext.suspects.a1111_checkpoints import (
    checkpoints_of_answer,
    find_checkpoint,
    named_in_answer,
    title_parts,
)
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.open import open_suspect
from siren_ext.suspects.responses import SuspectError

PLAN = PromptPlan(prompts=("a cat",), count=1, seed=5, steps=2, guidance=7.0, size=16)
SHORT = "31e35c80fc"


def entry(path: str, digest: str = "", *, slash: str = "/", suffix: bool = True) -> dict[str, Any]:
    """As AUTOMATIC1111 and Forge list a file; ``suffix=False``: as SD.Next does."""
    plain = path.rpartition(".")[0]
    title = path if suffix else plain
    return {
        "title": (title + (f" [{digest[:10]}]" if digest else "")).replace("/", slash),
        "model_name": plain.replace("/", "_") if suffix else plain.replace("/", slash),
        "hash": digest[:10] or None,
        "sha256": digest or None,
        "filename": ("/models/" + path).replace("/", slash),
        "config": None,
    }


DEEP, TOP = "sd15/base.safetensors", "other.safetensors"


@pytest.fixture
def ui() -> Iterator[A1111Standin]:
    with running(A1111Standin()) as standin:
        yield standin


def draw(ui: A1111Standin, listed: list[dict[str, Any]], model: str, **said: Any) -> Any:
    ui.listed, ui.loaded, ui.said = listed, listed[0], said
    query = f"?model={model.replace(' ', '%20')}" if model else ""
    suspect = open_suspect(f"a1111://{ui.place}{query}")
    assert len(list(suspect.generate(PLAN))) == 1
    (asked,) = [body for _, path, body in ui.seen if path == "/sdapi/v1/txt2img"]
    return asked["override_settings"]["sd_model_checkpoint"]


NAMES = ("", "base", "base.safetensors", "sd15/base", "sd15/base.safetensors", "sd15\\base")


@pytest.mark.parametrize("digest", ["", SHORT + "0" * 54])
@pytest.mark.parametrize("slash", ["/", "\\"])
@pytest.mark.parametrize("model", [*NAMES, "sd15_base"])
def test_automatic1111(ui: A1111Standin, model: str, slash: str, digest: str) -> None:
    listed = [entry(DEEP, digest, slash=slash), entry(TOP, digest[::-1])]
    said = {"sd_model_name": "base", "sd_model_hash": digest[:10] or None}
    assert draw(ui, listed, model, **said) == listed[0]["title"]


@pytest.mark.parametrize("digest", ["", SHORT + "0" * 54])
@pytest.mark.parametrize("model", NAMES)
def test_sdnext(ui: A1111Standin, model: str, digest: str) -> None:
    # the name is in the infotext only, without the hash until it was calculated
    listed = [entry(DEEP, digest, suffix=False), entry(TOP, digest[::-1], suffix=False)]
    text = f"a cat, Model: none\nSteps: 2, Model: base, Model hash: {SHORT}, Version: abc"
    said = {"sd_model_hash": digest[:10], "infotexts": [text]}
    assert draw(ui, listed, model, **said) == listed[0]["title"]


def test_the_hash_is_calculated_at_the_first_use(ui: A1111Standin) -> None:
    listed = [entry(DEEP), entry(TOP, "f" * 64)]
    said = {"sd_model_name": "base", "sd_model_hash": SHORT}
    for model in ("base", f"sd15/base.safetensors [{SHORT}]", f"base [{SHORT}]"):
        assert draw(ui, listed, model, **said) == DEEP
        ui.seen.clear()
    with pytest.raises(SuspectError, match=r"with the checkpoint base, but base \[aaaaaa"):
        draw(ui, listed, f"base [{'a' * 10}]", **said)


@pytest.mark.parametrize(
    "said",
    [
        {"sd_model_name": "other", "sd_model_hash": None},
        {"sd_model_name": "base", "sd_model_hash": "f" * 10},
        {"sd_model_name": "unknown", "sd_model_hash": "e" * 10},
        {"sd_model_hash": "", "infotexts": ["a cat\nSteps: 2, Model: other"]},
    ],
)
def test_another_checkpoint_is_refused(ui: A1111Standin, said: dict[str, Any]) -> None:
    listed = [entry(DEEP), entry(TOP, "f" * 64)]
    with pytest.raises(
        SuspectError, match=r"was made with the checkpoint .* sd15/base.* was requested"
    ):
        draw(ui, listed, "base", **said)


@pytest.mark.parametrize("said", [{}, {"sd_model_hash": "", "infotexts": []}])
def test_an_answer_without_checkpoint_is_refused(ui: A1111Standin, said: dict[str, Any]) -> None:
    with pytest.raises(SuspectError, match="does not say which checkpoint it used"):
        draw(ui, [entry(DEEP)], "base", **said)


def test_one_name_in_two_folders(ui: A1111Standin) -> None:
    listed = [entry("xl/base.safetensors"), entry(DEEP)]
    said = {"sd_model_name": "base", "sd_model_hash": None}
    with pytest.raises(ConfigError, match=r"has 2 checkpoints 'base': xl/base.*, sd15/base"):
        draw(ui, listed, "base", **said)
    # the answers say "base" for both; the web UI's setting tells them apart
    assert draw(ui, listed, "sd15/base", **said) == DEEP
    ui.stuck = True
    with pytest.raises(SuspectError, match=r"but sd15/base.* was requested"):
        draw(ui, listed, "sd15/base", **said)


def test_one_file_in_two_folders(ui: A1111Standin) -> None:
    listed = [entry("copy/base.safetensors", SHORT), entry(DEEP, SHORT)]
    ui.stuck = True
    said = {"sd_model_name": "base", "sd_model_hash": SHORT}
    assert draw(ui, listed, "sd15/base", **said) == listed[1]["title"]


@pytest.mark.parametrize(
    ("wanted", "title"),
    [
        ("base", "base.safetensors"),
        ("sd15/base", DEEP),
        ("sd15_base", DEEP),
        ("base.ckpt", "old/base.ckpt"),
        ("model.v2", "model.v2.safetensors"),
        ("model.v2.safetensors", "model.v2.safetensors"),
        ("/models/old/base.ckpt", "old/base.ckpt"),
        ("[anime] mix", "[anime] mix.safetensors"),
        ("f" * 64, f"hashed.safetensors [{'f' * 10}]"),
        ("f" * 10, f"hashed.safetensors [{'f' * 10}]"),
        (f"hashed [{'f' * 10}]", f"hashed.safetensors [{'f' * 10}]"),
        ("F" * 10, f"hashed.safetensors [{'f' * 10}]"),  # as CivitAI writes it
        ("SD15\\Base.SafeTensors", DEEP),
        (f"fox [{'a' * 10}]", f"xl/fox.safetensors [{'a' * 10}]"),
    ],
)
def test_names(wanted: str, title: str) -> None:
    paths = (DEEP, "base.safetensors", "old/base.ckpt", "model.v2.safetensors")
    listed = [entry(path) for path in (*paths, "[anime] mix.safetensors")]
    listed.append(entry("hashed.safetensors", "f" * 64))
    listed += [entry("sd15/fox.safetensors"), entry("xl/fox.safetensors", "a" * 64)]
    assert find_checkpoint(listed, wanted, "here")["title"] == title


@pytest.mark.parametrize("wanted", ["", "ba", "sd15", f"hashed [{'e' * 10}]", "15/base", "None"])
def test_no_such_name(wanted: str) -> None:
    listed = [entry(DEEP) | {"model_name": None}, entry("hashed.safetensors", "f" * 64)]
    with pytest.raises(ConfigError, match=r"here has no checkpoint .* it has sd15/base"):
        find_checkpoint(listed, wanted, "here")


def test_what_an_answer_names() -> None:
    text = 'a "b"\nSteps: 2, Model: "a, b", VAE: x'
    assert named_in_answer({"infotexts": [text]}) == ("", "a, b")
    assert named_in_answer({"infotexts": ["Model: x\nSteps: 2"], "sd_model_hash": "AB"}) == (
        "ab",
        "",
    )
    assert named_in_answer([]) == ("", "")
    commas = [entry("a, b.safetensors")]
    said = {"infotexts": ["x\nModel: a b"]}
    assert checkpoints_of_answer(commas, said) == commas
    assert title_parts("x [anime].safetensors") == ("x [anime].safetensors", "")
