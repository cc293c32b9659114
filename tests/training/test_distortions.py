"""The distortion layer: how often, which, differentiable, gentle at the start of its ramp."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from siren_ext.data.images import to_tensor, to_uint8
from siren_ext.training import distortions
from siren_ext.training.distortions import (
    GEOMETRIC,
    OFFICIAL,
    PHOTOMETRIC,
    add_noise,
    blur,
    crop,
    desaturate,
    distort,
    flip,
    jpeg,
    photometric,
    soft_jpeg,
    subtract_noise,
)

RAMPED = (add_noise, subtract_noise, photometric, jpeg, desaturate, crop)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(height: int = 32, width: int = 48, seed: int = 0) -> Tensor:
    """A soft picture away from the limits of [0,1]."""
    small = 0.2 + 0.6 * torch.rand(1, 3, 4, 6, generator=seeded(seed))
    return F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)


def test_one_in_five_is_left_alone_and_the_others_meet_two_kinds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    met: list[int] = []

    def marker(number: int):
        def mark(image: Tensor, ramp: float, generator: torch.Generator) -> Tensor:
            met.append(number)
            return image + 10**number

        return mark

    monkeypatch.setattr(distortions, "PHOTOMETRIC", tuple(marker(i) for i in range(6)))
    count = 2000
    out = distort(torch.zeros(count, 3, 1, 1), 1.0, seeded(1))
    sums = out[:, 0, 0, 0]
    assert (sums == 0).float().mean().item() == pytest.approx(0.2, abs=0.03)
    pairs = {float(value) for value in sums if value}
    expected = {float(10**i + 10**j) for i in range(6) for j in range(i)}
    assert pairs == expected  # two distinct ones, every pair occurs
    shares = np.bincount(met, minlength=6) / len(met)
    assert abs(shares - 1 / 6).max() < 0.03


def test_identity_share_of_the_real_layer() -> None:
    images = smooth().expand(400, -1, -1, -1)
    same = (distort(images, 1.0, seeded(2)) == images).flatten(1).all(1)
    assert same.float().mean().item() == pytest.approx(0.2, abs=0.05)


def test_images_are_treated_independently() -> None:
    images = smooth().expand(12, -1, -1, -1)
    out = distort(images, 1.0, seeded(3))
    assert len({image.numpy().tobytes() for image in out}) > 6
    torch.testing.assert_close(out, distort(images, 1.0, seeded(3)))


@pytest.mark.parametrize("kind", PHOTOMETRIC + GEOMETRIC + OFFICIAL)
def test_differentiable_and_in_range(kind: distortions.Distortion) -> None:
    for seed in range(4):
        image = smooth(seed=seed).requires_grad_(True)
        out = kind(image, 1.0, seeded(seed))
        assert out.shape == image.shape
        assert 0 <= out.min() <= out.max() <= 1
        (slope,) = torch.autograd.grad(out.sum(), image)
        assert torch.isfinite(slope).all()
        assert slope.abs().sum() > 0


@pytest.mark.parametrize("kind", RAMPED)
@pytest.mark.parametrize("ramp", [0.0, 1e-4])
def test_gentle_at_the_start_of_the_ramp(kind: distortions.Distortion, ramp: float) -> None:
    image = smooth()
    if kind is jpeg:  # chroma subsampling stays at any quality: no chroma detail here
        image = image.mean(1, keepdim=True) + torch.tensor([0.1, 0.0, -0.1]).view(1, 3, 1, 1)
    for seed in range(5):
        out = kind(image, ramp, seeded(seed))
        assert (out - image).abs().max() < 2e-3


def test_full_ramp_is_visible() -> None:
    image = smooth()
    for kind in RAMPED:
        changes = [(kind(image, 1.0, seeded(s)) - image).abs().max().item() for s in range(8)]
        assert max(changes) > 0.01, kind.__name__


def test_noise_signs_and_size() -> None:
    image = torch.full((1, 3, 64, 64), 0.5)
    plus, minus = add_noise(image, 1.0, seeded(4)), subtract_noise(image, 1.0, seeded(4))
    torch.testing.assert_close(plus - image, image - minus)
    deviations = [(add_noise(image, 1.0, seeded(s)) - image).std().item() for s in range(40)]
    assert 0.017 < max(deviations) < 0.0205
    assert min(deviations) < 0.003


def test_blur_is_half_the_time_nothing_and_keeps_flat_areas() -> None:
    image, flat = smooth(), torch.full((1, 3, 32, 32), 0.3)
    untouched = [torch.equal(blur(image, 1.0, seeded(s)), image) for s in range(200)]
    assert 0.4 < np.mean(untouched) < 0.6
    for seed in range(20):
        torch.testing.assert_close(blur(flat, 1.0, seeded(seed)), flat)


def test_desaturation_keeps_the_luminance() -> None:
    """The published code takes a third of it, which also darkens."""
    image = smooth()
    weights = torch.tensor((0.3, 0.6, 0.1)).view(1, 3, 1, 1)
    for seed in range(5):
        out = desaturate(image, 1.0, seeded(seed))
        torch.testing.assert_close((out * weights).sum(1), (image * weights).sum(1))
    spread = min(
        float(desaturate(image, 1.0, seeded(s)).std(1).mean() / image.std(1).mean())
        for s in range(20)
    )
    assert spread < 0.2


def test_jpeg_of_odd_sizes_and_extreme_quality() -> None:
    for height, width in ((17, 33), (8, 8), (47, 16)):
        image = smooth(height, width).requires_grad_(True)
        for quality in (100.0, 75.0, 50.0, 10.0):
            out = soft_jpeg(image, quality)
            assert out.shape == image.shape
            assert torch.isfinite(out).all()
            (slope,) = torch.autograd.grad(out.sum(), image)
            assert torch.isfinite(slope).all()


@pytest.mark.parametrize("quality", [95, 75, 50])
def test_jpeg_resembles_the_real_one(quality: int) -> None:
    image = smooth(64, 64, seed=5) + 0.02 * torch.randn(1, 3, 64, 64, generator=seeded(6))
    image = to_tensor(to_uint8(image))
    stream = io.BytesIO()
    Image.fromarray(to_uint8(image)).save(stream, "JPEG", quality=quality, subsampling=2)
    real = to_tensor(np.array(Image.open(stream).convert("RGB")))
    ours = soft_jpeg(image, quality)
    assert (ours - real).square().mean() < 0.5 * (image - real).square().mean()


def test_lower_quality_loses_more() -> None:
    image = smooth() + 0.05 * torch.randn(1, 3, 32, 48, generator=seeded(7))
    losses = [
        float((soft_jpeg(image, q) - image.clamp(0, 1)).square().mean()) for q in (95, 70, 50)
    ]
    assert losses[0] < losses[1] < losses[2]


def test_geometry_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    image = smooth()
    torch.testing.assert_close(flip(flip(image, 1.0, seeded(0)), 1.0, seeded(0)), image)
    pools = []
    monkeypatch.setattr(
        torch, "randperm", lambda n, generator: pools.append(n) or torch.arange(n).flip(0)
    )
    for geometric in (False, True):
        distort(image.expand(20, -1, -1, -1), 0.5, seeded(8), geometric=geometric)
    assert set(pools) == {6, 8}


# -- the slips of SIREN's code --------------------------------------------------------------

# jpeg_compress_decompress(waves(), quality=75) of lib/util.py in SIREN's public code: every 11th
# row and 13th column of R, G and B
OFFICIAL_JPEG = (
    0.61444, 0.28532, 0.15929, 0.30266, 0.45597, 0.63105, 1.0, 0.44567, 0.62837, 0.37902, 0.11909,
    0.29648, 0.49287, 0.25311, 0.8585, 0.10576, 0.26414, 0.54052, 0.64067, 0.27488, 0.2284, 0.58926,
    0.56385, 0.18375, 0.63521, 0.80466, 0.58372, 0.61267, 0.68487, 0.50374, 0.66788, 0.45491, 0.0,
    0.38905, 0.10275, 0.15368,
)  # fmt: skip
# random_blur_kernel of the same file: a line at theta = 0.4 with sigma = 0.6, extent 3.05
OFFICIAL_LINE = (
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (0.0, 0.0, 0.00012, 0.00112, 0.00663, 0.0, 0.0),
    (0.0, 0.00225, 0.01145, 0.03829, 0.084, 0.12094, 0.0),
    (0.01869, 0.05356, 0.10076, 0.12438, 0.10076, 0.05356, 0.01869),
    (0.0, 0.12094, 0.084, 0.03829, 0.01145, 0.00225, 0.0),
    (0.0, 0.0, 0.00663, 0.00112, 0.00012, 0.0, 0.0),
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
)  # fmt: skip


def waves() -> Tensor:
    """A picture given by formulas, with detail along both axes."""
    y, x = torch.arange(32.0).view(32, 1), torch.arange(48.0).view(1, 48)
    red = 0.5 + 0.4 * torch.sin(0.3 * y + 0.9 * x)
    green = 0.5 + 0.4 * torch.sin(1.1 * y - 0.2 * x)
    return torch.stack([red, green, 0.5 + 0.3 * torch.cos(0.7 * y + 0.5 * x)])[None]


def dot() -> Tensor:
    """One bright pixel, which a blur turns into its kernel."""
    image = torch.zeros(1, 3, 15, 15)
    image[..., 7, 7] = 1
    return image


def test_official_jpeg_is_that_of_the_code() -> None:
    """Equal to the published code's but for the rounded constants of its colour conversion."""

    def found(official: bool) -> Tensor:
        return soft_jpeg(waves(), 75.0, official=official)[0, :, ::11, ::13].flatten()

    expected = torch.tensor(OFFICIAL_JPEG)
    torch.testing.assert_close(found(official=True), expected, rtol=0, atol=4e-4)
    assert (found(official=False) - expected).abs().max() > 2e-3
    grey = waves().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    turned = soft_jpeg(grey.mT, 75.0, official=True).mT
    torch.testing.assert_close(turned, soft_jpeg(grey, 75.0), rtol=0, atol=1e-5)


def test_official_line_is_that_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter([0.3, -0.4, 0.6, 3.05])
    monkeypatch.setattr(distortions, "_uniform", lambda generator, low, high: next(draws))
    found = blur(dot(), 1.0, seeded(0), official=True)[0, 0, 4:11, 4:11]
    torch.testing.assert_close(found.flip(0, 1), torch.tensor(OFFICIAL_LINE), rtol=0, atol=1e-5)


def test_official_lines_are_cut_by_a_diamond() -> None:
    offset = torch.arange(-7, 8)
    outside = (offset.view(-1, 1).abs() + offset.abs()) > 3
    beyond = {False: 0, True: 0}
    for seed in range(60):
        if 0.25 <= float(torch.rand((), generator=seeded(seed))) < 0.5:
            for official in beyond:
                kernel = blur(dot(), 1.0, seeded(seed), official=official)[0, 0]
                beyond[official] += int(kernel[outside].count_nonzero())
    assert beyond[False] > 0
    assert beyond[True] == 0


def test_official_blur_darkens_the_border() -> None:
    flat, darker = torch.full((1, 3, 32, 32), 0.3), 0
    for seed in range(40):
        out = blur(flat, 1.0, seeded(seed), official=True)
        torch.testing.assert_close(out[..., 3:-3, 3:-3], flat[..., 3:-3, 3:-3])
        assert out.max() < 0.3 + 1e-6
        darker += int(out[..., 0, :].max() < 0.29)
    assert 10 < darker < 30  # the rest is left alone


def test_official_desaturation_darkens() -> None:
    image = smooth()
    weights = torch.tensor((0.3, 0.6, 0.1)).view(1, 3, 1, 1)
    luma = (image * weights).sum(1, keepdim=True)
    for seed in range(5):
        share = torch.rand((), generator=seeded(seed))
        expected = image * (1 - share) + share * luma / 3
        found = desaturate(image, 1.0, seeded(seed), official=True)
        torch.testing.assert_close(found, expected)


def test_official_list_on_request() -> None:
    """The same kinds in the same places, drawn alike; only blur, JPEG and desaturation differ."""
    image, differ = smooth(), 0
    for seed in range(40):
        usual, official = (distort(image, 1.0, seeded(seed), official=on) for on in (False, True))
        generator = seeded(seed)
        if float(torch.rand((), generator=generator)) >= distortions.CALL_PROBABILITY:
            assert torch.equal(official, image)
            continue
        result = image
        for index in torch.randperm(6, generator=generator)[:2].tolist():
            result = OFFICIAL[index](result, 1.0, generator)
        assert torch.equal(official, result)
        differ += not torch.equal(official, usual)
    assert differ > 10
