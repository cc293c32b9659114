"""Train Coater in the real ComfyUI server: models, files, messages, interrupts."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from support.comfy_server import Server, events
from support.comfy_workflows import (
    COATER,
    ICONS,
    example,
    loaded,
    node,
    nodes_of,
    small_training,
    to_api,
)

from siren_ext.coater.coater import Coater

pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(1200)]


def test_training_example(server: Server, info: Any) -> None:
    graph = to_api(example("train_a_coater"), info)
    assert nodes_of(graph, "SirenTrainCoater")[0]["preset"] == "keyed"
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", events(entry).get("execution_error")
    path = server.base / "models" / "siren" / "my coater.safetensors"
    made = Coater.load(path)
    assert (made.keyed, made.provenance["steps"]) == (True, 0)
    key = nodes_of(graph, "SirenNewKey")[0]["save_as"]
    assert list(path.parent.glob(f"{key}*"))
    assert not path.with_name(path.name + ".state").exists()
    listed = server.get("object_info/SirenLoadCoater")["SirenLoadCoater"]["input"]["required"]
    assert "my coater.safetensors" in json.dumps(listed)
    # never overwritten
    nodes_of(graph, "SirenTrainCoater")[0]["seed"] = 5
    entry = server.run(graph)
    assert (
        "my coater.safetensors already exists"
        in events(entry)["execution_error"]["exception_message"]
    )


def graph_model(server: Server) -> dict[str, Any]:
    """A tiny checkpoint behind a LoRA, as ``checkpoint`` (clip, vae) and ``lora`` (model)."""
    path = server.base / "models" / "loras" / "tiny.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = torch.Generator().manual_seed(1)
        name = "lora_unet_middle_block_1_proj_in"
        weights = {
            f"{name}.lora_up.weight": torch.randn(64, 2, 1, 1, generator=rng),
            f"{name}.lora_down.weight": torch.randn(2, 64, 1, 1, generator=rng),
        }
        save_file(weights, path)
    return {
        "checkpoint": node("TestTinyCheckpoint"),
        "lora": node(
            "LoraLoaderModelOnly",
            model=["checkpoint", 0],
            lora_name="tiny.safetensors",
            strength_model=1.0,
        ),
    }


def sampled(server: Server, model: list[Any]) -> bytes:
    """One picture of the tiny checkpoint by the server's own sampler."""
    text = {"clip": ["checkpoint", 1]}
    graph = graph_model(server) | {
        "yes": node("CLIPTextEncode", text="an icon", **text),
        "no": node("CLIPTextEncode", text="", **text),
        "noise": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "draw": node(
            "KSampler",
            model=model,
            positive=["yes", 0],
            negative=["no", 0],
            latent_image=["noise", 0],
            seed=1,
            steps=2,
            cfg=2.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        "show": node("VAEDecode", samples=["draw", 0], vae=["checkpoint", 2]),
        "save": node("SaveImage", images=["show", 0], filename_prefix="sampled"),
    }
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", events(entry).get("execution_error")
    with Image.open(io.BytesIO(server.view(entry["outputs"]["save"]["images"][0]))) as seen:
        return seen.tobytes()


def test_training_on_the_graphs_model(server: Server) -> None:
    plain, patched = sampled(server, ["checkpoint", 0]), sampled(server, ["lora", 0])
    assert plain != patched
    graph = graph_model(server) | {
        "train": small_training(
            "from graph",
            steps=4,
            model=["lora", 0],
            clip=["checkpoint", 1],
            vae=["checkpoint", 2],
        ),
        "picture": node("LoadImage", image=ICONS[0]),
        "coat": node("SirenCoatImage", coater=["train", 0], image=["picture", 0], strength=1.0),
        "save": node("SaveImage", images=["coat", 0], filename_prefix="own"),
    }
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", events(entry).get("execution_error")
    made = Coater.load(server.base / "models" / "siren" / "from graph.safetensors")
    assert made.config.working_size == 32
    assert made.provenance["prompt"] == "a photo of icon"
    assert "learn" in made.provenance["figures"]
    # the model of the graph is as it was
    assert sampled(server, ["lora", 0]) == patched
    assert sampled(server, ["checkpoint", 0]) == plain
    graph["train"]["inputs"].pop("vae")
    graph["train"]["inputs"]["save_as"] = "half wired"
    message = events(server.run(graph))["execution_error"]["exception_message"]
    assert message.startswith("Only some of model, clip and vae are connected")


def test_a_keyed_coater_is_fitted_to_the_graphs_model(server: Server) -> None:
    parts = {"model": ["checkpoint", 0], "clip": ["checkpoint", 1], "vae": ["checkpoint", 2]}
    graph = graph_model(server) | {
        "train": small_training("for a key", preset="keyed", **parts),
        "show": node("PreviewAny", source=["train", 1]),
    }
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", events(entry).get("execution_error")
    made = Coater.load(server.base / "models" / "siren" / "for a key.safetensors")
    assert made.keyed
    assert made.config.message_bits == 48
    assert made.provenance["steps"] == 0
    # another coater can't be its start
    graph["other"] = node("SirenLoadCoater", name=COATER)
    graph["train"]["inputs"] |= {"start": ["other", 0], "save_as": "for another key"}
    message = events(server.run(graph))["execution_error"]["exception_message"]
    assert "Disconnect start" in message


def test_interrupt_stops_within_a_step_and_keeps_the_state(server: Server) -> None:
    graph = {"train": small_training("stopped", steps=100_000)}
    answer = server.queue(graph)
    time.sleep(6)
    assert not server.get(f"history/{answer['prompt_id']}")
    begun = time.monotonic()
    server.post("interrupt", {})
    entry = server.wait(answer["prompt_id"], 60)
    took = time.monotonic() - begun
    assert "execution_interrupted" in events(entry)
    assert took < 15
    state = server.base / "models" / "siren" / "stopped.safetensors.state"
    assert state.is_file()
    # the server is fine, and the flag is reset
    assert (
        server.run(
            loaded(ICONS[0])
            | {
                "coat": node(
                    "SirenCoatImage", coater=["coater", 0], image=["picture", 0], strength=0.5
                ),
                "save": node("SaveImage", images=["coat", 0], filename_prefix="after"),
            }
        )["status"]["status_str"]
        == "success"
    )
