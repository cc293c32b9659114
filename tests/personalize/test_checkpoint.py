"""Whole models as one file: the original names, read back here and by diffusers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.original_format import original_format
from support.short_runs import load, short
from support.tiny_models import need_models, shared_model

from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion import checkpoint_settings
from siren_ext.diffusion.load import Pipeline
from siren_ext.diffusion.single_file import tokenizer_files
from siren_ext.errors import ConfigError, ModelError
from siren_ext.personalize.checkpoint import check_single, original_weights
from siren_ext.personalize.run import personalize

need_models()
pytestmark = pytest.mark.models

MERGES = "#version: 0.2\nt h\nth e</w>\nc a\n"
PARTS = ("unet", "vae", "text_encoder")


@pytest.fixture
def base(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model, whose sizes count as those of Stable Diffusion 1.x."""
    folder = shared_model(root, "kl", "epsilon")
    for part in PARTS:
        settings = json.loads((folder / part / "config.json").read_text())
        known = {name: settings[name] for name in checkpoint_settings.SD1[part] if name in settings}
        monkeypatch.setitem(checkpoint_settings.SD1, part, checkpoint_settings.SD1[part] | known)
    return folder


def with_tokenizer(file: Path) -> Path:
    """The file, with a tokenizer where it is looked for."""
    folder = file.with_suffix("") / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(("vocab.json", "merges.txt"), tokenizer_files(MERGES), strict=True):
        (folder / name).write_text(text, encoding="utf-8")
    return file


def equal(one: Any, two: Any) -> bool:
    """Whether all weights of two pipelines are the same."""
    pairs = [(getattr(one, part).state_dict(), getattr(two, part).state_dict()) for part in PARTS]
    return all(
        set(ours) == set(theirs) and all(torch.equal(ours[key], theirs[key]) for key in ours)
        for ours, theirs in pairs
    )


def test_names_are_the_original_ones(base: Path) -> None:
    pipeline = load(base)
    check_single(pipeline)
    found, expected = original_weights(pipeline), original_format(pipeline)
    assert set(found) == {key for key in expected if not key.endswith("position_ids")}
    assert all(torch.equal(value, expected[key]) for key, value in found.items())


@pytest.mark.parametrize("method", ["full", "dreambooth"])
def test_a_run_writes_a_file_that_reads_back(
    base: Path, data: ImageSet, tmp_path: Path, method: str
) -> None:
    from diffusers import StableDiffusionPipeline

    config = short(method, steps=2, train_text_encoder=method == "full")
    file, folder = with_tokenizer(tmp_path / "model.safetensors"), tmp_path / "folder"
    summary = personalize(data, base, config, file, device="cpu")
    assert summary.style == "checkpoint"
    assert summary.metadata["modelspec.prediction_type"] == "epsilon"
    personalize(data, base, config, folder, device="cpu")
    trained, ours = load(folder), load(file)
    assert equal(trained, ours)
    assert not equal(trained, load(base))
    theirs = StableDiffusionPipeline.from_single_file(
        str(file), config=str(base), local_files_only=True, safety_checker=None
    )
    assert equal(trained, theirs)
    before = file.stat().st_mtime_ns
    again = personalize(data, base, config, file, device="cpu")
    assert (again.hash, again.parameters) == (summary.hash, summary.parameters)
    assert file.stat().st_mtime_ns == before


def test_half_precision(base: Path, data: ImageSet, tmp_path: Path) -> None:
    config = short("full", steps=1, save_precision="float16")
    personalize(data, base, config, tmp_path / "a.safetensors", device="cpu")
    tensors = load_file(tmp_path / "a.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.float16}


def test_velocity_and_schedules_from_noise_are_marked(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    pipeline = load(base)
    changes = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **changes)
    check_single(pipeline)
    file = with_tokenizer(tmp_path / "v.safetensors")
    tensors = {key: value.contiguous() for key, value in original_weights(pipeline).items()}
    assert {"v_pred", "ztsnr"} < set(tensors)
    save_file(tensors, file)
    read = load(file)
    assert read.scheduler.config.prediction_type == "v_prediction"
    assert read.scheduler.config.rescale_betas_zero_snr
    assert equal(read, pipeline)


def refused(pipeline: Pipeline) -> str:
    """Why a model is refused."""
    with pytest.raises(ModelError) as error:
        check_single(pipeline)
    return str(error.value)


def test_other_models_are_refused_before_training(
    model: Path, base: Path, data: ImageSet, tmp_path: Path
) -> None:
    tiny = load(model)
    assert "its vae is AutoencoderTiny; expected AutoencoderKL" in refused(tiny)
    pipeline = load(base)
    pipeline.text_encoder.config.hidden_act = "gelu"
    assert "its text_encoder.hidden_act is gelu; expected quick_gelu" in refused(pipeline)
    pipeline = load(base)
    pipeline.scheduler.register_to_config(beta_schedule="linear")
    assert "its scheduler.beta_schedule is linear; expected scaled_linear" in refused(pipeline)
    out = tmp_path / "a.safetensors"
    with pytest.raises(ModelError, match="Give a folder"):
        personalize(data, model, short("full"), out, device="cpu")
    out.mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        personalize(data, base, short("full"), out, device="cpu")
    assert not list(out.iterdir())


def test_names_at_the_size_of_stable_diffusion() -> None:
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    known = checkpoint_settings.SD1
    with torch.device("meta"):
        pipeline = SimpleNamespace(
            unet=diffusers.UNet2DConditionModel.from_config(known["unet"]),
            vae=diffusers.AutoencoderKL.from_config(known["vae"]),
            text_encoder=CLIPTextModel(CLIPTextConfig(**known["text_encoder"])),
            scheduler=diffusers.DDIMScheduler.from_config(known["scheduler"]),
        )
    check_single(pipeline)
    found = original_weights(pipeline)
    # as many as in the published v1-5-pruned-emaonly.safetensors, without position_ids
    starts = [key.split(".")[0] for key in found]
    counts = {start: starts.count(start) for start in set(starts)}
    assert counts == {"model": 686, "first_stage_model": 248, "cond_stage_model": 196}
    start = "model.diffusion_model."
    assert found[f"{start}output_blocks.2.1.conv.weight"].shape == (1280, 1280, 3, 3)
    assert found[f"{start}output_blocks.5.2.conv.weight"].shape == (1280, 1280, 3, 3)
    assert found[f"{start}output_blocks.8.2.conv.bias"].shape == (640,)
    assert found[f"{start}middle_block.1.proj_in.weight"].shape == (1280, 1280, 1, 1)
    assert found["first_stage_model.decoder.up.0.block.0.nin_shortcut.bias"].shape == (128,)
    assert found["first_stage_model.encoder.mid.attn_1.q.weight"].shape == (512, 512, 1, 1)
