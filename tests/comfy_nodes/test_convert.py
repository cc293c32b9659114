"""Shapes of ComfyUI's images and masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.fake_host import FakeHost, nodes_of_pack, run

from siren_ext.coater.coater import Coater
from siren_ext.errors import ImageError

COUNT, HEIGHT, WIDTH = 2, 24, 20


@pytest.fixture
def images() -> torch.Tensor:
    levels = torch.randint(0, 256, (COUNT, HEIGHT, WIDTH, 3), generator=torch.Generator())
    return levels / 255


def coat(coater: Coater, image: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
    node = nodes_of_pack()["SirenCoatImage"]
    result: torch.Tensor = run(node, coater=coater, image=image, strength=1.0, keep=keep).args[0]
    return result


@pytest.mark.parametrize(
    "shape",
    [
        (HEIGHT, WIDTH),
        (1, HEIGHT, WIDTH),
        (COUNT, HEIGHT, WIDTH),
        (1, 1, HEIGHT, WIDTH),
        (COUNT, 1, HEIGHT, WIDTH),
        (1, HEIGHT, WIDTH, 1),
        (COUNT, HEIGHT, WIDTH, 1),
    ],
)
def test_masks_of_every_rank(
    host: FakeHost, coater: Coater, images: torch.Tensor, shape: tuple[int, ...]
) -> None:
    left = torch.zeros(HEIGHT, WIDTH)
    left[:, :10] = 1
    view = left[..., None] if shape[-1] == 1 else left
    coated = coat(coater, images, view.expand(shape))
    assert torch.equal(coated, coat(coater, images, left))
    assert torch.equal(coated[:, :, :10], images[:, :, :10])
    assert not torch.equal(coated[:, :, 10:], images[:, :, 10:])


def test_one_mask_for_each_image(host: FakeHost, coater: Coater, images: torch.Tensor) -> None:
    second = torch.zeros(COUNT, 1, HEIGHT, WIDTH)
    second[1] = 1
    for mask in (second, second[:, 0], second.movedim(1, -1)):
        coated = coat(coater, images, mask)
        assert torch.equal(coated[1], images[1])
        assert not torch.equal(coated[0], images[0])


@pytest.mark.parametrize("side", [1, 16])
def test_an_image_of_one_column(host: FakeHost, coater: Coater, side: int) -> None:
    # (B, 1, H, W) and (B, H, W, 1) look alike only if a side is 1
    from comfy_nodes.convert import to_keep

    image = torch.zeros(3, side, 1, 3)
    for shape in ((3, 1, side, 1), (3, side, 1, 1), (3, side, 1), (side, 1)):
        kept = to_keep(torch.ones(shape), image)
        assert kept is not None
        assert tuple(kept.shape) == (1 if len(shape) == 2 else 3, 1, side, 1)


@pytest.mark.parametrize(
    "shape",
    [
        (WIDTH, HEIGHT),
        (3, HEIGHT, WIDTH),
        (COUNT, 3, HEIGHT, WIDTH),
        (COUNT, HEIGHT, WIDTH, 3),
        (1, COUNT, 1, HEIGHT, WIDTH),
        (WIDTH,),
        (),
        (0, HEIGHT, WIDTH),
    ],
)
def test_other_masks_are_refused(
    host: FakeHost, coater: Coater, images: torch.Tensor, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ImageError, match=r"The mask has shape .* one for each"):
        coat(coater, images, torch.ones(shape))


def test_a_mask_that_is_not_finite(host: FakeHost, coater: Coater, images: torch.Tensor) -> None:
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[3, 3] = float("nan")
    with pytest.raises(ImageError, match=r"not finite numbers in mask 0 of 1 \(counted from 0"):
        coat(coater, images, mask)
    with pytest.raises(ImageError, match=r"not finite numbers in mask 1 of 2 \(counted from 0"):
        coat(coater, images[:2], torch.stack((torch.zeros(HEIGHT, WIDTH), mask)))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_bad_images_are_named_by_number(host: FakeHost, coater: Coater, value: str) -> None:
    batch = torch.zeros(12, HEIGHT, WIDTH, 4)
    batch[1, 3, 3, 0] = float(value)
    with pytest.raises(ImageError, match=r"not finite numbers in image 1 of 12 \(counted from 0"):
        coat(coater, batch)
    batch[5:, 0, 0, 2] = float(value)
    with pytest.raises(ImageError, match=r"in image 1, 5, 6, 7, 8, 9, 10, 11 of 12"):
        coat(coater, batch)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_are_refused(
    host: FakeHost, coater: Coater, images: torch.Tensor, dtype: torch.dtype
) -> None:
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(
        ImageError, match=f"Found images made of {kind} numbers; .* from 0 to 255, divide them by"
    ):
        coat(coater, (images * 255).to(dtype))


def test_other_ranges_are_refused_by_number(
    host: FakeHost, coater: Coater, images: torch.Tensor
) -> None:
    images[:, 0, 0] = torch.tensor([0.0, 0.5, 1.0])
    for low, high in ((0, 255), (-1, 1), (0, 65535)):
        one = torch.stack((images[0], images[1] * (high - low) + low))
        with pytest.raises(ImageError, match=f"from {low} to {high} in image 1 of 2 .*from 0 to 1"):
            coat(coater, one)
    # as filters leave them; and transparency may be anything
    coat(coater, torch.cat((images * 1.5 - 0.25, images[..., :1] * 255), dim=-1))


def test_save_coated_image_refuses_the_same(
    host: FakeHost, coater: Coater, images: torch.Tensor
) -> None:
    nodes = nodes_of_pack()
    made = run(nodes["SirenCoatImage"], coater=coater, image=images, strength=1.0).args
    for bad, words in ((made[0] * 255, "in image 0, 1 of 2"), (made[0].byte(), "uint8 numbers")):
        with pytest.raises(ImageError, match=words):
            run(nodes["SirenSaveCoatedImage"], images=bad, record=made[2], save_as="fox")


def test_numbers_with_gradient(host: FakeHost, coater: Coater, images: torch.Tensor) -> None:
    nodes, mask = nodes_of_pack(), torch.zeros(HEIGHT, WIDTH)
    with_gradient = images.clone().requires_grad_()
    made = run(
        nodes["SirenCoatImage"], coater=coater, image=with_gradient, strength=1.0,
        keep=mask.clone().requires_grad_(),
    ).args  # fmt: skip
    assert torch.equal(made[0], coat(coater, images, mask))
    assert not made[0].requires_grad
    run(
        nodes["SirenSaveCoatedImage"], images=made[0].clone().requires_grad_(), record=made[2],
        save_as="fox",
    )  # fmt: skip
    run(nodes["SirenScoreCoating"], coater=[coater], image=[with_gradient])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([torch.zeros(1, 4, 4, 3)] * 2, "a list of 2; .* one tensor. Join them into one batch"),
        ({"samples": torch.zeros(1, 4, 4, 4)}, "a LATENT; .* Decode it with VAE Decode"),
        ({"x": 1}, "an object of type dict; .* Check the node"),
        (None, "nothing; expected"),
        (np.zeros((1, 4, 4, 3)), "an object of type ndarray"),
    ],
)
def test_what_is_not_a_tensor(
    host: FakeHost, coater: Coater, images: torch.Tensor, given: Any, words: str
) -> None:
    nodes = nodes_of_pack()
    record = run(nodes["SirenCoatImage"], coater=coater, image=images, strength=1.0).args[2]
    with pytest.raises(ImageError, match=f"Found {words}"):
        coat(coater, given)
    with pytest.raises(ImageError, match=f"Found {words}"):
        run(nodes["SirenScoreCoating"], coater=[coater], image=[given])
    with pytest.raises(ImageError, match=f"Found {words}"):
        run(nodes["SirenSaveCoatedImage"], images=given, record=record, save_as="fox")
    if given is not None:
        with pytest.raises(ImageError, match=f"Found {words}".replace("IMAGE", "MASK")):
            coat(coater, images, given)


def test_empty_batches_are_refused(host: FakeHost, coater: Coater, images: torch.Tensor) -> None:
    with pytest.raises(ImageError, match="Found an empty batch of images; expected at least one"):
        coat(coater, images[:0])
    with pytest.raises(ImageError, match="Found images of 0 x 24 pixels"):
        coat(coater, images[:, :, :0])
    score = nodes_of_pack()["SirenScoreCoating"]
    with pytest.raises(ImageError, match="empty batch"):
        run(score, coater=[coater], image=[images[:0]])
