"""Redrawing of pictures: what each kind of suspect offers, and that strength means what it says."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.standin_a1111 import A1111Standin
from support.standin_comfyui import ComfyStandin
from support.standins import noise, running
from support.tiny_families import tiny_family
from support.tiny_models import need_models, shared_model

from siren_ext.errors import AdapterError, ConfigError
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.comfyui import ComfyUISuspect
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.suspects.hosted import HostedConfig, HostedSuspect
from siren_ext.suspects.open import open_suspect
from siren_ext.suspects.redraw import redrawer
from siren_ext.suspects.remote import RequestLimits
from siren_ext.suspects.responses import SuspectError
from siren_ext.suspects.trust import Trust

PLAN = PromptPlan(prompts=("a cat", "a dog"), count=2, seed=5, steps=4, guidance=2.0)
QUICK = RequestLimits(backoff=0.0, timeout=20, attempts=2)


def image(size: int = 32) -> torch.Tensor:
    return torch.rand(3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def ui() -> Iterator[A1111Standin]:
    with running(A1111Standin()) as standin:
        yield standin


def test_a_web_ui_is_sent_the_picture_and_the_strength(ui: A1111Standin) -> None:
    suspect = open_suspect(f"a1111://{ui.place}?lora=stolen", limits=QUICK)
    redraw, why = redrawer(suspect)
    assert redraw is not None
    assert why == ""
    assert redraw(image(), PLAN, 1, 0.3).shape == (3, 32, 32)
    (body,) = [body for _, path, body in ui.seen if path == "/sdapi/v1/img2img"]
    assert base64.b64decode(body["init_images"][0]).startswith(b"\x89PNG")
    assert (body["denoising_strength"], body["width"], body["height"]) == (0.3, 32, 32)
    assert (body["seed"], body["prompt"]) == (6, "a dog <lora:stolen:1>")


def test_answers_about_redrawn_pictures_are_checked_too(ui: A1111Standin) -> None:
    redraw, _ = redrawer(open_suspect(f"a1111://{ui.place}", limits=QUICK))
    assert redraw is not None
    ui.faults = ["wrong model"]
    with pytest.raises(SuspectError, match="The picture was made with the checkpoint"):
        redraw(image(), PLAN, 0, 0.5)
    limited = open_suspect(f"a1111://{ui.place}", limits=RequestLimits(requests=1))
    again, _ = redrawer(limited)
    assert again is not None
    again(image(), PLAN, 0, 0.5)
    with pytest.raises(SuspectError, match="The limit of 1 requests has been reached"):
        again(image(), PLAN, 0, 0.5)


def test_a_lora_without_effect_redraws_nothing(ui: A1111Standin) -> None:
    # web UIs leave a LoRA that does not fit out, and say so only in their consoles
    ui.draw = lambda facts: noise({**facts, "lora": ""})
    redraw, _ = redrawer(open_suspect(f"a1111://{ui.place}?lora=stolen", limits=QUICK))
    assert redraw is not None
    with pytest.raises(AdapterError, match="stolen at strength 1 changes nothing"):
        redraw(image(), PLAN, 0, 0.5)
    with running(ComfyStandin()) as server:
        again, _ = redrawer(open_suspect(f"comfyui://{server.place}?lora=dead.pt", limits=QUICK))
        assert again is not None
        with pytest.raises(AdapterError, match=r"dead\.pt at strength 1 changes nothing"):
            again(image(64), PLAN, 0, 0.5)


def test_a_comfyui_server_is_sent_the_picture_and_the_strength() -> None:
    with running(ComfyStandin()) as server:
        suspect = open_suspect(f"comfyui://{server.place}?lora=stolen", limits=QUICK)
        redraw, why = redrawer(suspect)
        assert redraw is not None
        assert why == ""
        assert redraw(image(64), PLAN, 1, 0.3).shape == (3, 64, 64)
        graphs = [body["prompt"] for _, path, body in server.seen if path == "/prompt"]
        (graph,) = [graph for graph in graphs if "image" in graph]
        assert graph["image"]["inputs"]["image"] == server.uploaded[0]
        sampler = graph["sampler"]["inputs"]
        assert (sampler["denoise"], sampler["seed"]) == (0.3, 6)
        assert graph[sampler["latent_image"][0]]["class_type"] == "VAEEncode"
        server.side = 32
        with pytest.raises(SuspectError, match="64"):
            redraw(image(64), PLAN, 0, 0.3)


def test_what_cannot_be_redrawn_is_said(tmp_path: Path) -> None:
    nodes = {"a": {"class_type": "X", "inputs": {"text": "%prompt%", "seed": "%seed%"}}}
    workflow = tmp_path / "own.json"
    workflow.write_text(json.dumps(nodes))
    api = HostedConfig(url="https://example.com", create="/", body='{"p": "%prompt%"}', image="x")
    for suspect, words in (
        (FolderSuspect(tmp_path), "only the pictures can be compared"),
        (ComfyUISuspect("http://127.0.0.1:9", workflow=workflow), "With a workflow of your own"),
        (HostedSuspect(api, trust=Trust(hosts=("example.com",))), "no way to redraw a picture"),
    ):
        found, why = redrawer(suspect)
        assert found is None
        assert words in why


@pytest.mark.models
def test_the_plan_names_the_sampler(tmp_path_factory: pytest.TempPathFactory) -> None:
    need_models()
    model = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    redraw, _ = redrawer(open_suspect(str(model), device="cpu"))
    assert redraw is not None
    usual, named, fresh, again = (
        redraw(image(), replace(PLAN, sampler=name), 0, 0.5)
        for name in ("", "ddim", "ddpm", "ddpm")
    )
    assert torch.equal(usual, named)
    assert torch.equal(fresh, again)
    assert not torch.equal(usual, fresh)
    with pytest.raises(ConfigError, match="'heun'; expected ddim, ddpm"):
        redraw(image(), replace(PLAN, sampler="heun"), 0, 0.5)


@pytest.mark.models
def test_a_model_on_this_machine_keeps_more_at_a_small_strength(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    need_models()
    root = tmp_path_factory.getbasetemp()
    redraw, _ = redrawer(open_suspect(str(shared_model(root, "kl", "epsilon")), device="cpu"))
    assert redraw is not None
    weak, strong = (redraw(image(), PLAN, 0, strength) for strength in (0.25, 1.0))
    assert weak.shape == strong.shape == (3, 32, 32)
    assert torch.equal(weak, redraw(image(), PLAN, 0, 0.25))
    other = redraw(1 - image(), PLAN, 0, 1.0)
    assert (other - strong).abs().mean() < (redraw(1 - image(), PLAN, 0, 0.25) - weak).abs().mean()
    found, why = redrawer(open_suspect(str(tiny_family(root, "xl")), device="cpu"))
    assert found is None
    assert "Stable Diffusion 1.x and 2.x only" in why
