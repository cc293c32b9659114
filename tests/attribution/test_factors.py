"""Gradients of a LoRA: against autograd, layer by layer, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.tiny_attribution import adapted
from support.tiny_models import need_models, shared_model
from torch import nn

from siren_ext.adapters.read import read_adapter
from siren_ext.adapters.write import save_kohya
from siren_ext.attribution.factors import Factor, Recorder, find_factors
from siren_ext.errors import AdapterError

need_models()
pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")


def added(recorder: Recorder, outputs: torch.Tensor) -> torch.Tensor:
    """The gradients of a pass alone."""
    sums = torch.zeros(len(outputs), recorder.size)
    recorder.add(outputs, sums)
    return sums


def test_gradients_of_every_image_are_those_of_autograd(base: Path, tmp_path: Path) -> None:
    """Directly: the unmerged weights plus ``s up down``, differentiated image by image."""
    suspect = adapted(base, tmp_path / "lora.safetensors", weight=0.7)
    plain = adapted(base, tmp_path / "lora.safetensors").__class__(
        base, device="cpu", dtype=torch.float32
    )
    adapter = read_adapter(tmp_path / "lora.safetensors")
    unet = suspect.pipeline.unet
    factors, notes = find_factors(suspect.pipeline, adapter, weight=0.7)
    assert notes == ()
    kinds = {type(factor.module).__name__ for factor in factors}
    assert kinds == {"Linear", "Conv2d"}
    assert any("conv2" in factor.name for factor in factors)
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(3, 4, 4, 4, generator=generator)
    text = torch.randn(3, 5, 32, generator=generator)
    with Recorder(factors) as recorder:
        out = unet(noisy, 400, text, return_dict=False)[0]
        found = added(recorder, out.flatten(1).square().sum(1))
    assert not any(module._forward_hooks for module in unet.modules())
    weights = dict(plain.pipeline.unet.named_parameters())
    for row in range(3):
        given = {f.name: (f.up.clone(), f.down.clone()) for f in factors}
        for pair in given.values():
            for matrix in pair:
                matrix.requires_grad_(True)
        changed = {
            f"{f.name}.weight": weights[f"{f.name}.weight"]
            + f.scale * (given[f.name][0] @ given[f.name][1]).view(f.module.weight.shape)
            for f in factors
        }
        one = torch.func.functional_call(
            plain.pipeline.unet,
            {**weights, **changed},
            (noisy[row : row + 1], 400, text[row : row + 1]),
            {"return_dict": False},
        )[0]
        flat = [matrix for pair in given.values() for matrix in pair]
        slopes = torch.autograd.grad(one.square().sum(), flat)
        direct = torch.cat([slope.flatten() for slope in slopes])
        assert torch.allclose(found[row], direct, rtol=1e-3, atol=1e-3 * float(direct.abs().max()))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(6, 5),
        nn.Conv2d(6, 5, 1),
        nn.Conv2d(6, 5, 3, stride=2, padding=1),
        nn.Conv2d(6, 5, 3, padding=2, dilation=2),
        nn.Conv2d(6, 5, (3, 2), padding=(0, 1)),
        nn.Conv2d(6, 5, 3, padding="valid"),
        nn.Conv2d(6, 5, 1, padding=1),
    ],
    ids=str,
)
def test_every_kind_of_layer(layer: nn.Module) -> None:
    generator = torch.Generator().manual_seed(2)
    kernel = layer.weight[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1
    down = torch.randn(2, 6 * kernel, generator=generator, requires_grad=True)
    up = torch.randn(5, 2, generator=generator, requires_grad=True)
    shape = (2, 6, 8, 8) if isinstance(layer, nn.Conv2d) else (2, 7, 6)
    given = torch.randn(*shape, generator=generator)
    weight = layer.weight + 0.5 * (up @ down).view(layer.weight.shape)
    factor = Factor("layer", layer, down.detach(), up.detach(), 0.5)
    with Recorder([factor]) as recorder:
        found = added(recorder, layer(given).flatten(1).pow(3).sum(1))
    # the layer itself has its own weight here, so the output is made linear in the change
    for row in range(2):
        out = torch.func.functional_call(layer, {"weight": weight}, (given[row : row + 1],))
        slope = layer(given[row : row + 1]).detach().square() * 3
        direct = torch.autograd.grad((out * slope).sum(), (up, down), retain_graph=True)
        joined = torch.cat([part.flatten() for part in direct])
        assert torch.allclose(found[row], joined, rtol=1e-4, atol=1e-3)


def test_consecutive_images_are_added_up() -> None:
    layer = nn.Conv2d(3, 4, 3, padding=1)
    factor = Factor("layer", layer, torch.randn(2, 27), torch.randn(4, 2), 0.5)
    given = torch.randn(6, 3, 5, 7).contiguous(memory_format=torch.channels_last)
    with Recorder([factor]) as recorder:
        outputs = layer(given).flatten(1).pow(3).sum(1)
        each = added(recorder, outputs)
        sums = torch.ones(2, recorder.size)
        recorder.add(layer(given).flatten(1).pow(3).sum(1), sums)
    expected = 1 + each.view(2, 3, -1).sum(1)
    assert torch.allclose(sums, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(sums[0], sums[1], atol=1e-2)


def test_a_layer_that_is_used_twice_adds_up_and_an_unused_one_is_zero() -> None:
    layer, other = nn.Linear(3, 3), nn.Linear(3, 3)
    down, up = torch.randn(1, 3), torch.randn(3, 1)
    factors = [Factor(name, m, down, up, 1.0) for name, m in (("a", layer), ("b", other))]
    given = torch.randn(2, 4, 3)
    with Recorder(factors) as recorder:
        twice = added(recorder, layer(given).sum((1, 2)) + layer(2 * given).sum((1, 2)))
        once = added(recorder, layer(given).sum((1, 2)))
    assert torch.allclose(twice, 3 * once, atol=1e-5)
    assert not twice[:, 6:].any()
    assert once[:, :6].any()


def test_layers_of_text_encoders_are_left_out_with_a_note(base: Path, tmp_path: Path) -> None:
    suspect = adapted(base, tmp_path / "text.safetensors", text=True)
    factors, notes = find_factors(suspect.pipeline, read_adapter(tmp_path / "text.safetensors"))
    assert len(factors) > 3
    assert notes == ("1 layers of text encoders are left out of the gradients.",)


def test_what_is_no_lora_of_the_denoiser_is_refused(base: Path, tmp_path: Path) -> None:
    suspect = adapted(base, tmp_path / "lora.safetensors")
    name = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    only = tmp_path / "only.safetensors"
    save_kohya(only, {name: (torch.ones(1, 32), torch.ones(32, 1), 1.0)}, {})
    with pytest.raises(AdapterError, match="no layer of the network that removes noise"):
        find_factors(suspect.pipeline, read_adapter(only))
    from safetensors.torch import save_file

    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    weight = dict(suspect.pipeline.unet.named_modules())[
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    ].weight
    save_file({f"{key}.diff": torch.zeros_like(weight)}, tmp_path / "full.safetensors")
    with pytest.raises(AdapterError, match=r"\(full\); expected a plain LoRA"):
        find_factors(suspect.pipeline, read_adapter(tmp_path / "full.safetensors"))
