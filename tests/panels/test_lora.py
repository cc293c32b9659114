"""A LoRA is tested at equal settings, against a reference or without."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from support.noise_files import noise_folder

from siren_ext.errors import ConfigError
from siren_ext.panels.generation import ImageRequest
from siren_ext.panels.host import PanelHost
from siren_ext.panels.lora import (
    KEY_ALONE,
    NO_LORA,
    chosen_references,
    lora_panel,
    lora_step,
    prompt_lines,
    reference_remark,
)
from siren_ext.panels.verify import verdict_values
from siren_ext.progress import Progress
from siren_ext.verdict.models import models_of


class FakeGenerator:
    """Draws noise: darker with a LoRA than without."""

    def __init__(self) -> None:
        self.requests: list[ImageRequest] = []

    def checkpoints(self) -> list[str]:
        return ["tiny"]

    def loras(self) -> list[str]:
        return ["accused", "clean"]

    def generate(self, request: ImageRequest, out: Path, progress: Progress) -> dict[str, object]:
        self.requests.append(request)
        seed = request.seed + sum(len(name) for name, _ in request.loras)
        noise_folder(out, request.count, seed, 60 if request.loras else 255)
        return {"prompts": list(request.prompts), "steps": request.steps}


def request(**changes: object) -> ImageRequest:
    values = {
        "checkpoint": "tiny", "loras": (("accused", 1.0),), "prompts": ("a dog",), "count": 6,
        "seed": 5, "steps": 3, "guidance": 7.0, "size": 64,
    }  # fmt: skip
    return ImageRequest(**{**values, **changes})


def test_a_lora_is_tested_at_equal_settings(host: PanelHost) -> None:
    generator = FakeGenerator()
    coater = host.coaters.load("mine.safetensors")
    done = lora_step(generator, request(), [()], 7, coater, host.jobs.new("t"), alpha=1e-2)
    card, charts, report, low, high = verdict_values(done, reference_remark([()]))
    first, second = generator.requests
    assert (first.loras, second.loras) == ((("accused", 1.0),), ())
    assert (first.seed, first.steps, first.prompts) == (second.seed, second.steps, second.prompts)
    assert (first.count, second.count) == (6, 7)
    assert "6 against 7" in card
    assert "without a LoRA" in card
    assert "prompts are not recorded" not in card
    assert charts
    assert len(report) == 2
    assert low
    assert high


def test_a_clean_lora_as_the_reference(host: PanelHost) -> None:
    generator = FakeGenerator()
    coater, clean = host.coaters.load("mine.safetensors"), chosen_references(["clean"])
    done = lora_step(generator, request(), clean, 6, coater, host.jobs.new("t"), alpha=1e-2)
    assert generator.requests[1].loras == (("clean", 1.0),)
    assert [made.role for made in generator.requests] == ["suspicious model", "reference"]
    assert "without a LoRA" not in verdict_values(done, reference_remark(clean))[0]


@pytest.mark.parametrize(
    ("changes", "clean", "words"),
    [
        ({"loras": ()}, [()], "No suspicious LoRA"),
        ({}, [(("accused", 1.0),)], "the suspicious LoRA itself"),
        ({}, [(), (("clean", 1.0),), (("accused", 1.0),)], "the suspicious LoRA itself"),
    ],
)
def test_impossible_requests_are_refused(
    host: PanelHost, changes: dict, clean: list, words: str
) -> None:
    coater, generator = host.coaters.load("mine.safetensors"), FakeGenerator()
    with pytest.raises(ConfigError, match=words):
        lora_step(generator, request(**changes), clean, 6, coater, host.jobs.new("t"), alpha=1e-2)
    assert generator.requests == []


def test_several_references_are_compared_as_models(host: PanelHost) -> None:
    generator, coater = FakeGenerator(), host.coaters.load("mine.safetensors")
    clean = chosen_references([NO_LORA, "clean", "a third"], 0.5)
    assert clean == [(), (("clean", 0.5),), (("a third", 0.5),)]
    done = lora_step(generator, request(), clean, 7, coater, host.jobs.new("t"), alpha=1e-2)
    roles = ["suspicious model", "reference 1", "reference 2", "reference 3"]
    assert [made.role for made in generator.requests] == roles
    assert [made.loras for made in generator.requests[1:]] == clean
    assert [finding.test for finding in done.verdict.findings] == ["models", "ks"]
    assert [len(model) for model in models_of(done.reference)] == [7, 7, 7]
    card = verdict_values(done, reference_remark(clean))[0]
    assert "Comparison with several reference models (decides)" in card
    assert "One of the references is the checkpoint without a LoRA" in card


def test_the_key_alone_or_a_reference() -> None:
    assert chosen_references([KEY_ALONE]) == chosen_references([]) == chosen_references(None) == []
    with pytest.raises(ConfigError, match="together with a reference"):
        chosen_references([KEY_ALONE, "clean"])


def test_prompts_are_lines() -> None:
    assert prompt_lines(" a dog \n\n a cat\n") == ("a dog", "a cat")
    with pytest.raises(ConfigError, match="No prompt"):
        prompt_lines(" \n")
    assert NO_LORA.startswith("none")


@pytest.mark.parametrize(
    ("chosen", "titles", "expected"),
    [
        ("b.safetensors", ["a.safetensors", "b.safetensors"], "b.safetensors"),
        ("b.safetensors", ["a.safetensors", "b.safetensors [0a1b2c3d4e]"],
         "b.safetensors [0a1b2c3d4e]"),
        ("b.safetensors [0a1b2c3d4e]", ["a.safetensors", "b.safetensors"], "b.safetensors"),
        ("b [old].ckpt", ["b [new].ckpt", "b [old].ckpt [0a1b2c3d4e]"],
         "b [old].ckpt [0a1b2c3d4e]"),
        ("gone.safetensors [ffffffffff]", ["a.safetensors", "b.safetensors"], "a.safetensors"),
        (None, ["a.safetensors"], "a.safetensors"),
        ("b.safetensors", [], None),
    ],
)  # fmt: skip
def test_a_refresh_keeps_the_chosen_checkpoint(
    host: PanelHost, chosen: str | None, titles: list[str], expected: str | None
) -> None:
    """A web UI adds a hash to the title of a checkpoint that was used."""
    generator = FakeGenerator()
    gr = MagicMock(__version__="4.40.0", update=lambda **values: values)
    parts: dict[str, Any] = {}
    gr.Dropdown.side_effect = lambda *_, **options: parts.setdefault(
        options["elem_id"], MagicMock(**options)
    )
    lora_panel(gr, generator, host)
    (renew, inputs, outputs), _ = next(
        (call.args, call.kwargs)
        for call in gr.Button.return_value.click.call_args_list
        if call.args[0].__name__ == "renew"
    )
    assert inputs == [parts["siren_lora_checkpoint"]]
    generator.checkpoints = lambda: titles  # type: ignore[method-assign]
    generator.loras = lambda: ["accused", "new"]  # type: ignore[method-assign]
    checkpoint, suspect, reference = renew(chosen)
    assert checkpoint == {"choices": titles, "value": expected}
    assert suspect == {"choices": ["accused", "new"]}
    assert reference == {"choices": [NO_LORA, KEY_ALONE, "accused", "new"]}
    assert [part.elem_id for part in outputs] == [
        "siren_lora_checkpoint", "siren_lora_suspect", "siren_lora_reference",
    ]  # fmt: skip
