"""Rotations of OFT and BOFT; ``test_merge_writers.py`` compares with the libraries themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from siren_ext.adapters.orthogonal import (
    cayley,
    peft_rotations,
    rotated,
    rotation_misfit,
    trained_rotations,
)
from siren_ext.adapters.read import read_adapter
from siren_ext.errors import AdapterError

K = "lora_unet_mid_block_to_k"


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_rotations_keep_lengths_and_angles() -> None:
    weight = normal(16, 5)
    for blocks in (normal(4, 4, 4), normal(2, 4, 4, 4)):
        rotation = trained_rotations({"oft_blocks": blocks})
        assert isinstance(rotation, torch.Tensor)
        new = rotated(weight, rotation, None, on_input=False)
        assert torch.allclose(new.T @ new, weight.T @ weight, atol=1e-4)
        assert not torch.allclose(new, weight, atol=0.1)
    still = trained_rotations({"oft_blocks": torch.zeros(4, 4, 4)})
    assert isinstance(still, torch.Tensor)
    assert torch.equal(rotated(weight, still, None, on_input=False), weight)


def test_two_by_two_by_hand() -> None:
    # Q = [[0, a], [-a, 0]] turns by twice the arc tangent of a
    blocks = torch.tensor([[[0.0, 0.5], [0.0, 0.0]]])
    rotation = trained_rotations({"oft_blocks": blocks})
    assert isinstance(rotation, torch.Tensor)
    expected = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    assert torch.allclose(rotation[0], expected, atol=1e-6)


def test_alpha_limits_the_norm() -> None:
    blocks = normal(3, 4, 4)
    skew = blocks - blocks.transpose(1, 2)
    limited = trained_rotations({"oft_blocks": blocks, "alpha": torch.tensor(0.05)})
    assert isinstance(limited, torch.Tensor)
    expected = cayley(skew * 0.05 * 12 / torch.linalg.vector_norm(skew)).transpose(1, 2)
    assert torch.allclose(limited, expected, atol=1e-6)
    for alpha in (0, 100):
        free = trained_rotations({"oft_blocks": blocks, "alpha": torch.tensor(alpha)})
        assert isinstance(free, torch.Tensor)
        assert torch.allclose(free, cayley(skew).transpose(1, 2))


def test_old_files_of_lycoris_have_the_rotations() -> None:
    rotation = cayley(normal(3, 4, 4) - normal(3, 4, 4).transpose(1, 2))
    found = trained_rotations({"oft_diag": rotation})
    assert isinstance(found, torch.Tensor)
    assert torch.equal(found, rotation.transpose(1, 2))


def test_peft_turns_the_input() -> None:
    rotation = peft_rotations(torch.tensor([[0.5]]), 0)
    assert isinstance(rotation, torch.Tensor)
    assert torch.allclose(rotation[0], torch.tensor([[0.6, -0.8], [0.8, 0.6]]), atol=1e-6)
    weight = normal(3, 6)
    new = rotated(weight, rotation, None, on_input=True)  # one block for all pairs
    assert torch.allclose(new[:, 2:4], weight[:, 2:4] @ rotation[0].T, atol=1e-6)
    small = 0.01 * normal(2, 6)
    exact, series = peft_rotations(-small, 0), peft_rotations(small, 5)
    assert isinstance(exact, torch.Tensor)
    assert isinstance(series, torch.Tensor)
    assert torch.allclose(exact, series, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "rescale", "channels", "misfit"),
    [
        ((3, 4, 4), None, 12, False),
        ((1, 4, 4), None, 12, False),
        ((1, 5, 5), None, 12, True),
        ((2, 4, 4), None, 12, True),
        ((3, 4, 4), 12, 12, False),
        ((3, 4, 4), 11, 12, True),
        ((2, 3, 4, 4), None, 12, True),
        ((3, 4, 4, 4), None, 16, False),
        ((4, 4, 4, 4), None, 16, True),
    ],
)
def test_misfits(shape: tuple[int, ...], rescale: int | None, channels: int, misfit: bool) -> None:
    factor = None if rescale is None else torch.ones(rescale)
    assert rotation_misfit(torch.zeros(shape), factor, channels) is misfit


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"oft_blocks": torch.ones(2, 2)}, "oft_blocks 2x2; expected blocks of equal sides"),
        ({"oft_blocks": torch.ones(2, 3, 4)}, "oft_blocks 2x3x4; expected blocks"),
        ({"oft_diag": torch.ones(1, 2, 3, 3)}, "oft_diag 1x2x3x3; expected blocks"),
        ({"oft_blocks": torch.ones(2, 3, 3), "alpha": torch.ones(2)}, "alpha is not one number"),
        ({"oft_blocks": torch.ones(2, 3, 3), "alpha": -torch.ones(1)}, "alpha is negative"),
        ({"rescale": torch.ones(4)}, "with rescale: no complete set of factors"),
        ({"oft_R.weight": torch.ones(2, 6)}, "rotations of peft without its settings"),
        ({"oft_blocks.0": torch.ones(2, 3, 3)}, "OFT of another form"),
    ],
)
def test_broken_files_are_named(
    tmp_path: Path, tensors: dict[str, torch.Tensor], words: str
) -> None:
    path = tmp_path / "a.safetensors"
    save_file({f"{K}.{name}": value for name, value in tensors.items()}, path)
    with pytest.raises(AdapterError) as error:
        read_adapter(path)
    assert words in str(error.value)
    assert K in str(error.value)


def test_kohyas_prefix(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    blocks = {"oft_unet_mid_block_to_k.oft_blocks": normal(3, 4, 4)}
    save_file(blocks | {"oft_unet_mid_block_to_k.alpha": torch.tensor(1.0)}, path)
    (change,) = read_adapter(path).changes
    assert (str(change.place), change.name) == (K, "oft")
