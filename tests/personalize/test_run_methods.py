"""Every method: the loss falls, only what it trains moves, a stopped run resumes exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.short_runs import METHODS, StopAt, load, short, trained
from support.tiny_models import need_models

from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.load import POCKET
from siren_ext.errors import Cancelled
from siren_ext.personalize import loop, run
from siren_ext.personalize.run import personalize

need_models()
pytestmark = pytest.mark.models


def error_of(trainer: run.Trainer) -> float:
    batch = trainer.data.batch(0, trainer.config)
    total = 0.0
    with torch.no_grad():
        for seed in range(8):
            embeds = trainer._prompt_embeds(batch.texts)
            generator = torch.Generator().manual_seed(seed)
            loss = pipelines.denoising_loss(
                trainer.pipeline, batch.latents, embeds, generator=generator
            )
            total += float(loss.mean())
    return total


@pytest.mark.parametrize("method", METHODS)
def test_loss_falls(model: Path, data: ImageSet, method: str) -> None:
    # a new word changes little in a random model, so it is learnt by the pocket model
    word = method == "textual-inversion"
    config = short(method, steps=16, **({"learning_rate": 0.01} if word else {}))
    trainer = trained(Path(POCKET) if word else model, data, config, 0)
    before = error_of(trainer)
    for _ in range(16):
        trainer.advance()
    assert error_of(trainer) < 0.97 * before


def weights(pipeline: Any) -> dict[str, torch.Tensor]:
    """All weights of the networks as they are used, by path."""
    found: dict[str, torch.Tensor] = {}
    for part in ("unet", "vae", "text_encoder"):
        for path, module in getattr(pipeline, part).named_modules():
            for name in ("weight", "bias"):
                value = getattr(module, name, None)
                if isinstance(value, torch.Tensor):
                    found[f"{part}.{path}.{name}"] = value.detach().clone()
    return found


@pytest.mark.parametrize("method", METHODS[1:])
def test_only_what_a_method_trains_moves(model: Path, data: ImageSet, method: str) -> None:
    old = weights(load(model))
    new = weights(trained(model, data, short(method), 3).pipeline)
    table = next(name for name in old if name.endswith("token_embedding.weight"))
    moved = {name for name in old if not torch.equal(old[name], new[name][: len(old[name])])}
    unet = {name for name in old if name.startswith("unet.")}
    matrices = {name for name in unet if old[name].ndim > 1}
    crossed = {name for name in unet if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}
    assert set(old) == set(new)
    assert table not in moved
    expected = {
        "dreambooth": unet, "full": unet, "textual-inversion": set(), "svdiff": matrices,
        "custom-diffusion": crossed,
    }[method]  # fmt: skip
    assert moved <= expected
    assert len(moved) >= 0.9 * len(expected)


@pytest.mark.parametrize("error", [Cancelled, SystemError])
@pytest.mark.parametrize("method", METHODS[1:])
def test_resumed_run_equals_an_unbroken_one(
    model: Path,
    data: ImageSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    error: type[BaseException],
) -> None:
    config, end = short(method), ".safetensors" if method in ("textual-inversion", "svdiff") else ""
    whole = personalize(data, model, config, tmp_path / f"whole{end}", device="cpu")
    out = tmp_path / f"broken{end}"
    if error is SystemError:  # as a kill would: nothing is saved but the periodic state
        monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    with pytest.raises(error):
        personalize(data, model, config, out, device="cpu", progress=StopAt(3, error))
    assert not out.exists()
    watch = StopAt(10**9)
    resumed = personalize(data, model, config, out, device="cpu", progress=watch)
    assert watch.done == 3
    assert resumed.hash == whole.hash
    assert {path.name for path in tmp_path.iterdir()} == {f"whole{end}", f"broken{end}"}
    stamp = out.stat().st_mtime_ns
    assert personalize(data, model, config, out, device="cpu") == resumed
    assert out.stat().st_mtime_ns == stamp


def test_text_encoder_of_dreambooth(model: Path, data: ImageSet, tmp_path: Path) -> None:
    config = short("dreambooth", train_text_encoder=True, steps=2)
    out = tmp_path / "model"
    personalize(data, model, config, out, device="cpu")
    old, new = weights(load(model)), weights(load(out))
    moved = {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert moved == {"unet", "text_encoder"}
