from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from siren_ext.baselines.yu import Decoder, Encoder, Yu, YuTraining, train_yu
from siren_ext.errors import Cancelled, ConfigError, ImageError, ModelError
from siren_ext.progress import Progress


@pytest.mark.parametrize("size", [32, 64, 128])
def test_shapes(size: int) -> None:
    images, bits = torch.rand(2, 3, size, size), torch.zeros(2, 32)
    marked = Encoder(size)(images, bits)
    assert marked.shape == images.shape
    assert marked.min() >= 0
    assert marked.max() <= 1
    decoder = Decoder(size)
    assert decoder(marked).shape == (2, 32)
    assert decoder[15].in_features == 128 * size**2 // 1024


def test_weight_of_the_image_rises_as_published() -> None:
    weights = YuTraining().weight
    assert [weights(step) for step in (0, 1000, 2500, 4000, 9000)] == [0, 0, 5, 10, 10]


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 32"):
        Encoder(48)


def test_a_few_steps_lower_the_loss_and_are_repeatable() -> None:
    images = torch.rand(8, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    notes: list[list[float]] = [[], []]

    class Watch(Progress):
        def advance(self, units: int = 1, note: str = "") -> None:
            notes[-1].append(float(note.split()[-1]))

    settings = YuTraining(size=32, steps=12, batch=4, rate=5e-4)
    first = train_yu(images, settings, Watch())
    second = train_yu(images, settings)
    assert notes[-1][-1] < notes[-1][0] - 0.01
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.encoder.parameters(), second.encoder.parameters(), strict=True)
    )


@pytest.mark.slow
def test_bits_are_learnt_on_a_toy_set() -> None:
    images = torch.rand(64, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(images, (32, 32), mode="bilinear")
    yu = train_yu(images, YuTraining(size=32, steps=450, batch=16, rate=3e-4))
    read = yu.evidence(yu.protect(images).images)
    assert (read == yu.string).mean() > 0.95
    assert yu.p_value(read) < 1e-20


def test_a_pair_is_saved_and_read_back(tmp_path: Path) -> None:
    yu = Yu(Encoder(32), Decoder(32))
    yu.save(tmp_path / "pair.safetensors")
    back = Yu.load(tmp_path / "pair.safetensors", seed=4)
    images = torch.rand(3, 3, 48, 64)
    marked = yu.protect(images)
    assert marked.images.shape == images.shape
    assert (back.evidence(marked.images) == yu.evidence(marked.images)).all()
    assert (back.string != yu.string).any()


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no weights")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", {"size": "32"})
    # a small file that names a giant network takes no memory for it
    save_file({"a": torch.zeros(1)}, tmp_path / "giant.safetensors", {"size": "4096"})
    save_file({"a": torch.zeros(1)}, tmp_path / "beyond.safetensors", {"size": str(2**41)})
    for name in ("text", "other.safetensors", "giant.safetensors", "beyond.safetensors", "missing"):
        with pytest.raises(ModelError, match="Train it again"):
            Yu.load(tmp_path / name)


def test_small_images_are_refused() -> None:
    yu = Yu(Encoder(64), Decoder(64))
    with pytest.raises(ImageError, match="at least 64"):
        yu.protect(torch.zeros(1, 3, 32, 32))


def test_training_can_be_stopped() -> None:
    with pytest.raises(Cancelled):
        train_yu(
            torch.rand(2, 3, 32, 32), YuTraining(size=32, steps=3, batch=2), Progress(lambda: True)
        )
