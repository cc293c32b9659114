"""Models are loaded without a hub, whole, and frozen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.original_format import original_format
from support.tiny_models import SIZE, need_models, shared_model, tiny_pipeline

from siren_ext.diffusion import pipelines
from siren_ext.diffusion.load import (
    BUNDLED,
    POCKET,
    SMALL,
    load_pipeline,
    model_fingerprint,
    model_name,
)
from siren_ext.diffusion.pipelines import encode_latents, encode_prompts
from siren_ext.errors import ModelError
from siren_ext.files import sha256_file

need_models()
pytestmark = pytest.mark.models


def test_loading_freezes_everything(pipeline: Any) -> None:
    for network in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert not network.training
        assert not any(p.requires_grad for p in network.parameters())
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert pipelines.native_size(pipeline) == SIZE
    assert pipelines.latent_factor(pipeline) == 8


def test_loading_takes_the_asked_format(root: Path) -> None:
    folder = shared_model(root, "tiny", "epsilon")
    loaded = pipelines.load_pipeline(folder, device="cpu", dtype=torch.bfloat16)
    assert {p.dtype for p in loaded.unet.parameters()} == {torch.bfloat16}
    images = pipelines.decode_latents(loaded, torch.zeros(1, 4, 4, 4))
    assert images.dtype == torch.float32


def test_wrong_models_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"There is no model at .*absent; expected 'pocket'"):
        pipelines.load_pipeline(tmp_path / "absent")
    pickled = tmp_path / "model.ckpt"
    pickled.write_bytes(b"x")
    with pytest.raises(ModelError, match="safetensors"):
        pipelines.load_pipeline(pickled)
    broken = tmp_path / "model.safetensors"
    broken.write_bytes(b"x" * 64)
    with pytest.raises(ModelError, match=r"model\.safetensors is not a readable"):
        pipelines.load_pipeline(broken)
    shutil.copytree(shared_model(root, "tiny", "epsilon"), tmp_path / "model")
    with pytest.raises(ModelError, match=r"model\.safetensors can't be loaded"):
        pipelines.load_pipeline(broken)
    for name, change, words in (
        ("kind", {"_class_name": "FluxPipeline"}, "FluxPipeline"),
        ("part", {"unet": ["os", "system"]}, "system from os"),
    ):
        copy = Path(shutil.copytree(shared_model(root, "tiny", "epsilon"), tmp_path / name))
        index = json.loads((copy / "model_index.json").read_text())
        (copy / "model_index.json").write_text(json.dumps(index | change))
        with pytest.raises(ModelError, match=words):
            pipelines.load_pipeline(copy)


def test_other_predictions_are_refused(tmp_path: Path) -> None:
    pipeline = tiny_pipeline(tmp_path)
    pipeline.scheduler.register_to_config(prediction_type="sample")
    with pytest.raises(ModelError, match="'sample'"):
        pipelines.prediction_type(pipeline)


def test_missing_weights_are_not_made_up(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(shared_model(root, "tiny", "epsilon"), tmp_path / "copy"))
    for part, file in (("text_encoder", "model"), ("unet", "diffusion_pytorch_model")):
        path = copy / part / f"{file}.safetensors"
        whole = load_file(path)
        victim = sorted(key for key in whole if key.endswith("weight"))[0]
        save_file({k: v for k, v in whole.items() if k != victim}, path, {"format": "pt"})
        # older diffusers refuse by themselves
        with pytest.raises(ModelError, match=r"don't fit its settings|keys are missing"):
            pipelines.load_pipeline(copy, device="cpu")
        save_file(whole, path, {"format": "pt"})


def test_single_file_checkpoint_equals_its_folder(root: Path, tmp_path: Path) -> None:
    folder = shared_model(root, "kl", "epsilon")
    whole = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
    path = tmp_path / "original.safetensors"
    save_file(original_format(whole), path)
    shutil.copytree(folder, path.with_suffix(""), ignore=shutil.ignore_patterns("*.safetensors"))
    single = pipelines.load_pipeline(path, device="cpu", dtype=torch.float32)
    for name in ("unet", "vae", "text_encoder"):
        ours, theirs = getattr(single, name).state_dict(), getattr(whole, name).state_dict()
        assert set(ours) == set(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert pipelines.model_fingerprint(path) != pipelines.model_fingerprint(folder)
    assert single.tokenizer("a red cat").input_ids == whole.tokenizer("a red cat").input_ids


def test_settings_beside_a_single_file_are_in_its_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    path.write_bytes(b"weights")
    beside = tmp_path / "own"

    def put(name: str, text: str) -> str:
        (beside / name).parent.mkdir(parents=True, exist_ok=True)
        (beside / name).write_text(text, encoding="utf-8")
        return model_fingerprint(path)

    plain = sha256_file(path)
    assert model_fingerprint(path) == plain
    assert put("tokenizer/vocab.json", "{}") == plain  # CLIP's, as from everywhere
    schedule = "scheduler/scheduler_config.json"
    seen = [plain, put(schedule, '{"prediction_type": "epsilon"}')]
    seen.append(put(schedule, '{"prediction_type": "v_prediction"}'))
    seen.append(put("model_index.json", '{"scheduler": ["diffusers", "DDIMScheduler"], "vae": 1}'))
    seen.append(put("vae/config.json", '{"scaling_factor": 0.1}'))
    assert put("vae/weights.safetensors", "not used") == seen[-1]
    assert len(set(seen)) == len(seen)
    for file in (path, beside):
        file.rename(file.with_name(file.name.replace("own", "renamed")))
    assert model_fingerprint(tmp_path / "renamed.safetensors") == seen[-1]


def test_bundled_models_are_two_different_base_models() -> None:
    found = {name: load_pipeline(name, device="cpu", dtype=torch.float32) for name in BUNDLED}
    scheduled = {name: one.scheduler.config.prediction_type for name, one in found.items()}
    assert scheduled == {POCKET: "v_prediction", SMALL: "epsilon"}
    counts = {name: sum(p.numel() for p in one.unet.parameters()) for name, one in found.items()}
    assert counts[SMALL] < counts[POCKET] / 3
    assert len({model_fingerprint(name) for name in BUNDLED}) == 2
    assert [model_name(name) for name in BUNDLED] == [POCKET, SMALL]
    # LoRAs of one do not fit the other, but prompts are read alike
    words = [tuple(one.tokenizer("a photo of a red apple").input_ids) for one in found.values()]
    assert words[0] == words[1]


def test_small_bundled_model_removes_noise() -> None:
    """Of little noise, most is removed; a network with random weights would remove none."""
    pipeline = load_pipeline(SMALL, device="cpu", dtype=torch.float32)
    draw = torch.Generator().manual_seed(0)
    pixels = torch.rand(1, 3, 8, 8, generator=draw)
    pixels = torch.nn.functional.interpolate(pixels, size=(128, 128), mode="bicubic").clamp(0, 1)
    latents = encode_latents(pipeline, pixels)
    kept = pipeline.scheduler.alphas_cumprod[300]
    noise = torch.randn(latents.shape, generator=draw)
    noisy = kept.sqrt() * latents + (1 - kept).sqrt() * noise
    with torch.no_grad():
        text = encode_prompts(pipeline, [""])
        guess = pipeline.unet(noisy, torch.tensor([300]), text).sample
    assert (guess - noise).square().mean() < 0.4 * noise.square().mean()
