"""The network that removes coatings: any size, tiles, its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from siren_ext.attacks.uncoat import Uncoater, read_facts, uncoat
from siren_ext.errors import ConfigError, ImageError, ModelError


def network(levels: int = 3) -> Uncoater:
    """A random network that changes pictures."""
    torch.manual_seed(4)
    net = Uncoater(2, levels)
    torch.nn.init.normal_(net.last.weight)
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.1)  # type: ignore[union-attr]
            layer.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return net.eval()


def pictures(*size: int) -> torch.Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))


def test_the_papers_network() -> None:
    with torch.device("meta"):
        net = Uncoater()
    assert [block[0].out_channels for block in net.down] == [64, 128, 256, 512]  # type: ignore[index]
    assert len(net.joined) == 3
    assert net.last.kernel_size == (1, 1)


def test_an_untrained_network_changes_nothing() -> None:
    images = pictures(18, 25)
    for net in (Uncoater(2, 1), Uncoater(2, 4)):
        assert torch.equal(net(images), images)


@pytest.mark.parametrize("size", [(16, 16), (13, 21), (1, 5)])
def test_any_size(size: tuple[int, int], tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    network().save(file, {})
    images = pictures(*size)
    found = uncoat(images, file=str(file))
    assert found.shape == images.shape
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert not torch.equal(found, images)


@torch.no_grad()
@pytest.mark.parametrize("levels", [1, 3, 4])
def test_tiles_give_the_whole_picture(levels: int) -> None:
    net, images = network(levels), pictures(205, 270)[:1]
    step = 1 << (levels - 1)
    padded = torch.nn.functional.pad(images, (0, -270 % step, 0, -205 % step), mode="replicate")
    whole = images + net._change(padded)[:, :, :205, :270]
    assert torch.allclose(net(images), whole, atol=1e-5)


def test_a_network_that_is_trained_again_is_another_one(tmp_path: Path) -> None:
    file, images = tmp_path / "net.safetensors", pictures(16, 16)
    network().save(file, {})
    first = uncoat(images, file=str(file))
    other = Uncoater(2, 1)
    other.save(file, {})
    assert not torch.equal(uncoat(images, file=str(file)), first)


def test_its_file(tmp_path: Path) -> None:
    file, net = tmp_path / "net.safetensors", network()
    net.save(file, {"loss": 1.5})
    assert read_facts(file)["training"] == '{"loss": 1.5}'
    again = Uncoater.load(file)
    with torch.no_grad():
        assert torch.equal(again(pictures(16, 16)), net(pictures(16, 16)))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"format": "other"}, "is marked 'other'; expected a file that 'siren-ext uncoat' wrote"),
        ({"width": "4"}, "is damaged: .*size mismatch"),
        ({"width": "100000"}, "found 100000 in its header, expected 1 to 128"),
        ({"levels": "two"}, "is damaged: invalid literal"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, told: dict[str, str], words: str) -> None:
    file = tmp_path / "net.safetensors"
    network().save(file, {})
    save_file(load_file(file), file, read_facts(file) | told)
    with pytest.raises(ModelError, match="(?s)" + words):
        Uncoater.load(file)


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    with pytest.raises(ModelError, match="can't be opened: No such file"):
        Uncoater.load(file)
    file.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        Uncoater.load(file)
    net = network()
    torch.nn.init.constant_(net.last.weight, float("nan"))
    net.save(file, {})
    with pytest.raises(ModelError, match="not finite"):
        Uncoater.load(file)
    with pytest.raises(ConfigError, match="--set file=FILE"):
        uncoat(pictures(16, 16))
    with pytest.raises(ImageError, match="expected a batch"):
        uncoat(pictures(16, 16)[0], file=str(file))
