"""Networks on parts of a batch and on tiles give what they give on whole images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from siren_ext.coater.nets import tiles
from siren_ext.coater.nets.extractor import Extractor
from siren_ext.coater.nets.generator import Generator
from siren_ext.coater.nets.keyed import KeyedGenerator


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def running(network: nn.Module) -> nn.Module:
    """A network in use, with running averages as after some training."""
    generator = torch.Generator().manual_seed(1)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.2, 0.2, generator=generator)
            part.running_var.uniform_(0.3, 2, generator=generator)
    return network.eval()


@pytest.mark.parametrize("kind", ["generator", "extractor"])
@pytest.mark.parametrize("size", [(40, 40), (33, 70)])
def test_tiles_give_the_whole_image(
    kind: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = running(
        Generator(8, 3, 5, "running")
        if kind == "generator"
        else Extractor(8, 4, 6, 6, norm="running")
    )
    images, shapes = noise(2, 3, *size), []
    with torch.no_grad():
        whole = network(images)
        monkeypatch.setattr(tiles, "_TILE", 16)
        first = network.conv_bns[0] if kind == "generator" else network.layers[0]
        first.register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape[2:])))
        torch.testing.assert_close(network(images), whole, rtol=0, atol=1e-6)
    halo = 4 if kind == "generator" else 5
    assert len(shapes) > 4
    assert max(max(shape) for shape in shapes) == 16 + 2 * halo


@pytest.mark.parametrize("norm", ["image", "running"])
def test_only_averages_that_are_known_before_allow_tiles(
    norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "_TILE", 16)
    network, images = Extractor(8, 2, 6, 6, norm=norm).eval(), noise(1, 3, 40, 40)
    assert tiles.tile_side(network, images) == 0, "gradients"
    with torch.no_grad():
        assert tiles.tile_side(network, images) == (16 if norm == "running" else 0)
        assert tiles.tile_side(network, noise(1, 3, 16, 16)) == 0
        assert tiles.tile_side(network.train(), images) == 0


def test_a_batch_is_passed_in_parts_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise(5, 3, 16, 16)
    assert [len(part) for part in tiles.passes(images, 8)] == [5], "gradients"
    monkeypatch.setattr(tiles, "_CACHED", 2 * 8 * 256)
    with torch.no_grad():
        assert [len(part) for part in tiles.passes(images, 8)] == [2, 2, 1]
        assert [len(part) for part in tiles.passes(images, 800)] == [1] * 5
        for network in (Generator(8, 2, 5), Extractor(8, 2, 6, 6)):
            parts = torch.cat([network(image[None]) for image in images])
            torch.testing.assert_close(network(images), parts, rtol=0, atol=1e-6)


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("size", [(2, 2), (3, 5), (16, 9)])
def test_constant_channels_are_added_as_a_convolution_adds_them(
    gradients: bool, size: tuple[int, int]
) -> None:
    network, images = Generator(8, 2, 5), noise(2, 3, *size)
    network.draw_message(torch.Generator().manual_seed(3))
    with torch.set_grad_enabled(gradients):
        message = (2 * network.msg - 1).view(1, 5, 1, 1).expand(2, -1, *size)
        whole = torch.cat((message, network.conv_bns(images), images), 1)
        expected = torch.tanh(network.final_layer(network.after_concat_layer(whole)))
        torch.testing.assert_close(network(images), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("gradients", [True, False])
def test_a_message_mixes_weights_as_it_mixes_maps(gradients: bool) -> None:
    network, images = KeyedGenerator(8, 2, 7, coarse=False), noise(3, 3, 12, 20)
    message = noise(3, 7, seed=5).sign()
    with torch.set_grad_enabled(gradients):
        view = torch.nn.functional.avg_pool2d(images, 2)

        def drawn(seen: Tensor) -> Tensor:
            maps = network.maps(network.trunk(seen)).view(3, 7, 3, 6, 10)
            return torch.einsum("bk,bkchw->bchw", message / 7**0.5, maps)

        mean = (drawn(view) + drawn(view.flip(3)).flip(3)) / 2
        large = torch.nn.functional.interpolate(mean, (12, 20), mode="bilinear")
        torch.testing.assert_close(network(images, message), torch.tanh(large), rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [(64, 64), (65, 90), (300, 33)])
def test_a_photo_is_enlarged_by_strips(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = noise(2, 3, 16, 16)
    with torch.no_grad():
        expected = torch.nn.functional.interpolate(maps, size, mode="bilinear")
        assert torch.equal(tiles.enlarge(maps, size), expected)
        monkeypatch.setattr(tiles, "_PHOTO", 1)
        monkeypatch.setattr(tiles, "_CACHED", 7 * 3 * size[1])
        # torch places pixels in float32, which is less exact
        torch.testing.assert_close(tiles.enlarge(maps, size), expected, rtol=0, atol=1e-5)
