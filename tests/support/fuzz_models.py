"""Readers of model files, and of what long runs keep to resume."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from support.fuzz_reader import Reader, Sample, of_file, sample_of
from support.published_pair import published_states, written

from siren_ext.adapters.read import read_adapter
from siren_ext.attacks.apply import RECORD, _refuse_others
from siren_ext.coater.official import load_official
from siren_ext.diffusion.single_file import read_settings, single_file_class
from siren_ext.errors import SirenError
from siren_ext.personalize import loop
from siren_ext.preference.parts import Parts
from siren_ext.suspects.open import is_checkpoint
from siren_ext.training.state import read_state, write_state
from siren_ext.workflows.demo_summary import DemoSummary
from siren_ext.workflows.run_log import RunLog

BEFORE = Path(__file__).resolve().parents[1] / "fixtures" / "before"


def model_readers(work: Path) -> list[Reader]:
    """All of them; their good files are made in ``work``."""
    return [
        _embeddings(work), _peft(work), _checkpoints(work), _published(work), *_states(work),
        *_logs(),
    ]  # fmt: skip


# -- models ---------------------------------------------------------------------------------


def _embeddings(work: Path) -> Reader:
    tensors = {
        "a1111": {"emb_params": torch.randn(2, 8)},
        "sdxl": {"clip_l": torch.randn(2, 8), "clip_g": torch.randn(2, 12)},
        "diffusers": {"<fox>": torch.randn(8)},
    }
    samples = []
    for name, content in tensors.items():
        save_file(content, work / f"{name}.safetensors")
        samples.append(sample_of(work / f"{name}.safetensors", "safetensors"))
    return Reader("embeddings", samples, of_file(lambda path: read_adapter(path).words))


def _peft(work: Path) -> Reader:
    place = "base_model.model.down_blocks.0.attentions.0.proj_in"
    tensors = {
        f"{place}.lora_A.weight": torch.randn(4, 8),
        f"{place}.lora_B.weight": torch.randn(8, 4),
    }
    save_file(tensors, work / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_rslora": False, "rank_pattern": {},
        "alpha_pattern": {"proj_in": 2}, "target_modules": ["proj_in"], "use_dora": False,
    }  # fmt: skip
    config = Sample("adapter_config.json", json.dumps(settings).encode(), "json")
    weights = sample_of(work / "adapter_model.safetensors", "safetensors")
    kept = {one.place: one.data for one in (config, weights)}
    return Reader(
        "folders of peft",
        [config, weights],
        lambda folder, place: read_adapter(folder, allow_partial=True).summary(),
        kept,
    )


def _checkpoints(work: Path) -> Reader:
    names = ("model.diffusion_model.input_blocks.0.0.weight", "cond_stage_model.x", "v_pred")
    meta = {"modelspec.prediction_type": "v"}
    save_file({name: torch.zeros(2, 4) for name in names}, work / "whole.safetensors", meta)
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
    }
    samples = [
        sample_of(work / "whole.safetensors", "safetensors"),
        Sample("whole/model_index.json", json.dumps(index).encode(), "json"),
    ]

    def read(folder: Path, place: str) -> object:
        if place.endswith(".json"):
            read_settings(folder / place)
        file = folder / "whole.safetensors"
        return is_checkpoint(file), single_file_class(file)

    return Reader("checkpoints", samples, read, {samples[0].place: samples[0].data})


def _published(work: Path) -> Reader:
    made, read = published_states()
    (work / "pair").mkdir()
    paths = written(work / "pair", _small(made), _small(read))
    samples = [sample_of(path, kind) for path in paths for kind in ("", "zip")]
    kept = {path.name: path.read_bytes() for path in paths}

    def load(folder: Path, place: str) -> object:
        return load_official(*(folder / path.name for path in paths))

    return Reader("published checkpoints", samples, load, kept)


def _small(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without most layers, for speed: what is left is read and then found incomplete."""
    return {name: value for name, value in state.items() if value.numel() < 5000}


# -- what runs keep -------------------------------------------------------------------------


def _states(work: Path) -> list[Reader]:
    write_state(work / "training.state", "a", {"step": 3, "weights": {"a": torch.ones(2)}})
    torch.save({"run": "a", "step": 3, "weights": torch.ones(4)}, work / "lora.state")
    parts = Parts(work / "done.partial", "a")
    parts.add([0, 1], np.ones((2, 4)), np.ones(2))
    parts.save()

    def resume(path: Path) -> object:
        return Parts(path, "a").done

    def restore(folder: Path, place: str) -> object:
        if place == "lora.state":
            return loop.read_state(folder / place, "a")
        return read_state(folder / place, "a", torch.device("cpu"))

    kinds: Sequence[tuple[str, str]] = (("training.state", "zip"), ("lora.state", "zip"))
    return [
        Reader("training states", [sample_of(work / name, kind) for name, kind in kinds], restore),
        Reader("measured parts", [sample_of(work / "done.partial", "safetensors")],
               of_file(resume)),
    ]  # fmt: skip


def _logs() -> list[Reader]:
    old = [sample_of(BEFORE / "demo" / name, "json") for name in ("demo.json", "summary.json")]
    kept = {one.place: one.data for one in old} | {"report.html": b""}
    settings = json.loads(old[0].data)["config"]
    record = {"steps": [{"name": "jpeg", "options": {"quality": 80}}], "seed": 3, "images": {}}

    def logs(folder: Path, place: str) -> object:
        if place == "summary.json":
            return DemoSummary.load(folder)
        return RunLog(folder / place, "demo", settings, key="config")

    def handled(folder: Path, place: str) -> object:
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        shutil.copy(folder / place, out / RECORD)
        _refuse_others(out, record)
        raise SirenError("the same record")

    return [
        Reader("logs of runs", old, logs, kept),
        Reader("records of handling", [Sample("a.json", json.dumps(record).encode(), "json")],
               handled),
    ]  # fmt: skip
