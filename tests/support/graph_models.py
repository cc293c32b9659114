"""MODELs of a stand-in ComfyUI, and how it writes them to a checkpoint file."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from siren_ext.diffusion import checkpoint_settings, families
from siren_ext.diffusion.checkpoint_settings import FIRST_LAYER

WORDS = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
_VOCABULARY = 4


class EPS:
    """Predicts noise."""

    zsnr = False


class V_PREDICTION(EPS):  # noqa: N801 - the host's name
    """Predicts v."""

    zsnr = True


class EDM(V_PREDICTION):
    """Predicts something else."""


class X0(EPS):
    """Predicts latents."""


class Model:
    """A MODEL whose weights are all one number."""

    def __init__(
        self,
        value: float = 0.0,
        *,
        family: str = "SD15",
        dtype: torch.dtype = torch.float16,
        sampling: type = EPS,
    ) -> None:
        network = torch.nn.Conv2d(4, 320, 3)
        torch.nn.init.constant_(network.weight, value)
        network.to(dtype)
        config = type(family, (), {})()
        self.model = types.SimpleNamespace(model_config=config, diffusion_model=network)
        self.objects = {"model_sampling": sampling()}

    def get_model_object(self, name: str) -> Any:
        return self.objects[name]


def install_saving(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[Path]:
    """Let the stand-in save checkpoints; returns the paths that it was given.

    The files have only the layers by which Stable Diffusion 1.x is recognised, with few words, so
    loading one gives an empty object.
    """
    saved: list[Path] = []

    def save(path: str, model: Any, clip: Any, vae: Any, *, metadata: Any, extra_keys: Any) -> None:
        assert None not in (clip, vae)
        weights = {
            FIRST_LAYER: model.model.diffusion_model.weight.detach(),
            WORDS: torch.zeros(_VOCABULARY, 768),
        }
        save_file(weights | extra_keys, path, metadata=metadata)
        saved.append(Path(path))

    vocabulary = folder / "sd1_tokenizer"
    vocabulary.mkdir(parents=True)
    for name in ("vocab.json", "merges.txt"):
        (vocabulary / name).write_text(name, encoding="utf-8")
    kinds = {kind.__name__: kind for kind in (EPS, V_PREDICTION, EDM, X0)}
    modules: dict[str, dict[str, Any]] = {
        "model_sampling": kinds,
        "sd": {"save_checkpoint": save},
        "sd1_clip": {"__file__": str(folder / "sd1_clip.py")},
    }
    for name, values in modules.items():
        module = types.ModuleType(f"comfy.{name}")
        module.__dict__.update(values)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        setattr(sys.modules["comfy"], name, module)
    monkeypatch.setattr(families, "load_any_pipeline", lambda *_, **__: object())
    text = checkpoint_settings.SD1["text_encoder"]
    monkeypatch.setitem(text, "vocab_size", _VOCABULARY)
    return saved
