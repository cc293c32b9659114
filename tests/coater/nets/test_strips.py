"""Strips give the same as whole layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from siren_ext.coater.nets import strips
from siren_ext.coater.nets.extractor import Extractor
from siren_ext.coater.nets.generator import Generator
from siren_ext.coater.nets.strips import add_border, by_strips, layers_of, strips_help


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def varied(net: torch.nn.Module) -> torch.nn.Module:
    """Scale and shift of every norm, and the message, away from where they start."""
    with torch.no_grad():
        for number, value in enumerate([*net.parameters(), *net.buffers()]):
            if value.ndim < 3 and value.is_floating_point():
                value.add_(0.5 * noise(*value.shape, seed=number))
    return net


@pytest.mark.parametrize("rows", [1, 5, 8, 64])
@pytest.mark.parametrize("kind", ["photo", "flat"])
@torch.no_grad()
def test_networks_give_the_same_by_strips(
    rows: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = noise(1, 3, 37, 41) if kind == "photo" else torch.full((1, 3, 37, 41), 0.7)
    image = image + 5
    nets = [varied(Generator(8, 3, 4)), varied(Generator(8, 1, 0)), varied(Extractor(8, 3, 12))]
    whole = [net(image) for net in nets]
    monkeypatch.setattr(strips, "_SMALLEST", 1)
    monkeypatch.setattr(strips, "_STRIP", rows * 12 * 41)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    used, convolved = [], strips._convolved

    def counted(*args: Any) -> Any:
        used.append(args)
        return convolved(*args)

    monkeypatch.setattr(strips, "_convolved", counted)
    # Little varies in a flat image, and normalising enlarges rounding along with it.
    atol = 1e-5 if kind == "photo" else 1e-4
    for net, expected in zip(nets, whole, strict=True):
        torch.testing.assert_close(net(image), expected, rtol=0, atol=atol)
    assert len(used) == 4 + 2 + 4


@torch.no_grad()
def test_rows_come_in_order_and_cover_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = layers_of(Extractor(8, 2, 6).layers[:-1])
    assert layers is not None
    monkeypatch.setattr(strips, "_STRIP", 10 * 8 * 20)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    found = list(by_strips(layers, noise(1, 3, 25, 20)))
    assert [(rows.start, rows.stop) for rows, _ in found] == [(0, 10), (10, 20), (20, 25)]
    assert [tuple(part.shape) for _, part in found] == [(1, 6, n, 20) for n in (10, 10, 5)]


def test_strips_are_for_single_large_images_without_gradient() -> None:
    image = torch.zeros(1, 3, 512, 512)
    assert not strips_help(image, 64)
    with torch.no_grad():
        assert strips_help(image, 64)
        assert not strips_help(image, 2)
        assert not strips_help(image.expand(2, -1, -1, -1), 64)
        assert not strips_help(image.double(), 64)


def test_running_norms_are_left_to_tiles() -> None:
    assert layers_of(Extractor(4, 2, 6, norm="running").layers[:-1]) is None


@torch.no_grad()
def test_border_differs_in_the_first_and_last_row_only_where_these_are() -> None:
    border = torch.arange(9.0).view(1, 1, 3, 3)
    whole, parts = torch.zeros(1, 1, 6, 4), torch.zeros(1, 1, 6, 4)
    add_border(whole, border)
    add_border(parts[:, :, :2], border, last=False)
    add_border(parts[:, :, 2:5], border, first=False, last=False)
    add_border(parts[:, :, 5:], border, first=False)
    assert torch.equal(whole, parts)
    assert whole[0, 0, :, 0].tolist() == [0, 3, 3, 3, 3, 6]
    assert whole[0, 0, 0].tolist() == [0, 1, 1, 2]
