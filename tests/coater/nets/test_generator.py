"""Shape, size, range and constant message of the generator."""

from __future__ import annotations

import pytest
import torch

from siren_ext.coater.nets.generator import Generator


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def parameters(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_published_size_and_layers() -> None:
    net = Generator()
    assert parameters(net) == 179_715
    assert len(net.conv_bns) == 4
    assert net.after_concat_layer.layers[0].weight.shape == (64, 48 + 64 + 3, 3, 3)
    assert net.final_layer.weight.shape == (3, 64, 1, 1)
    assert net.msg.shape == (1, 48)
    assert "msg" in net.state_dict()
    assert "msg" not in dict(net.named_parameters())


def test_paper_variant_has_no_message() -> None:
    net = Generator(bits=0)
    assert net.after_concat_layer.layers[0].weight.shape[1] == 67
    assert parameters(net) == 179_715 - 48 * 64 * 9
    assert net(noise(1, 3, 32, 32)).shape == (1, 3, 32, 32)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (64, 35)])
def test_any_size_in_range(height: int, width: int) -> None:
    net = Generator(8, 2, 4)
    out = net(3 * noise(2, 3, height, width))
    assert out.shape == (2, 3, height, width)
    assert -1 <= out.min() < out.max() <= 1


def test_message_map_comes_first_as_plus_and_minus_one() -> None:
    torch.manual_seed(0)  # with a few random weights rounding comes close to 1e-6
    net = Generator(4, 1, 3)
    net.msg.copy_(torch.tensor([[1.0, 0.0, 1.0]]))
    image = noise(2, 3, 6, 5)
    message = torch.tensor([1.0, -1.0, 1.0]).view(1, 3, 1, 1).expand(2, 3, 6, 5)
    features = net.conv_bns(image)
    assert features.shape == (2, 4, 6, 5)
    seen = torch.cat((message, features, image), 1)
    found = net(image)
    expected = torch.tanh(net.final_layer(net.after_concat_layer(seen)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    wrong = torch.cat((features, image, message), 1)
    other = torch.tanh(net.final_layer(net.after_concat_layer(wrong)))
    assert (found - other).abs().max() > 1e-3


def test_message_is_drawn_from_the_given_generator() -> None:
    nets = [Generator(4, 1, 64) for _ in range(3)]
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        net.draw_message(torch.Generator().manual_seed(seed))
    assert torch.equal(nets[0].msg, nets[1].msg)
    assert not torch.equal(nets[0].msg, nets[2].msg)
    assert set(nets[0].msg.unique().tolist()) == {0.0, 1.0}


def test_other_images_in_the_batch_do_not_matter() -> None:
    net = Generator(8, 2, 4)
    images = noise(3, 3, 32, 32)
    whole = net(images)
    single = torch.cat([net(image[None]) for image in images])
    torch.testing.assert_close(whole, single, rtol=0, atol=1e-5)
