"""Shape, size and batching of the extractor."""

from __future__ import annotations

import pytest
import torch

from siren_ext.coater.nets.extractor import Extractor


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_published_size_and_layers() -> None:
    net = Extractor()
    assert sum(p.numel() for p in net.parameters()) == 291_456
    names = [type(layer).__name__ for layer in net.layers]
    assert names == ["ConvBlock"] * 9 + ["AdaptiveAvgPool2d"]
    assert net.layers[8].layers[0].weight.shape == (48, 64, 3, 3)
    assert net.linear is not None
    assert net.linear.weight.shape == (48, 48)


def test_paper_variant_ends_at_the_pool() -> None:
    net = Extractor(8, 2, 5, use_linear=False)
    image = noise(2, 3, 32, 32)
    torch.testing.assert_close(net(image), net.layers(image).mean((2, 3)))
    assert not any("linear" in name for name in net.state_dict())


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (1, 4)])
@pytest.mark.parametrize("outputs", [5, 1])
def test_any_size_and_head(height: int, width: int, outputs: int) -> None:
    net = Extractor(8, 2, 5, outputs)
    assert net(noise(3, 3, height, width)).shape == (3, outputs)


def test_other_images_in_the_batch_do_not_matter() -> None:
    net = Extractor(8, 3, 5, 5)
    images = noise(4, 3, 32, 32)
    whole = net(images)
    single = torch.cat([net(image[None]) for image in images])
    torch.testing.assert_close(whole, single, rtol=0, atol=1e-5)
    torch.testing.assert_close(net(images[[2, 0]]), whole[[2, 0]], rtol=0, atol=1e-5)
