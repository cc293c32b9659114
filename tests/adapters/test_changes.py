"""The arithmetic of adapters' changes, on a toy network."""

from __future__ import annotations

import pytest
import torch
from support.toy_adapters import normal

from siren_ext.adapters.changes import LOHA, LOKR, LORA, OFT, SPECTRAL, WHOLE, Change, lora_delta
from siren_ext.adapters.keys import Place


def test_convolution_delta_equals_the_convolutions() -> None:
    down, up, x = normal(4, 5, 3, 3), normal(6, 4, 1, 1), normal(2, 5, 8, 8)
    conv = torch.nn.functional.conv2d
    through = conv(conv(x, down, padding=1), up) * (2.0 / 4)
    ours = conv(x, lora_delta(down, up, 2.0), padding=1)
    torch.testing.assert_close(ours, through, atol=1e-4, rtol=1e-4)
    point, mid = normal(4, 5, 1, 1), normal(3, 4, 3, 3)
    last = normal(6, 3, 1, 1)
    through = conv(conv(conv(x, point), mid, padding=1), last) * (2.0 / 4)
    ours = conv(x, lora_delta(point, last, 2.0, mid), padding=1)
    torch.testing.assert_close(ours, through, atol=1e-4, rtol=1e-4)


def test_shifts_of_singular_values() -> None:
    place = Place("unet", "a")
    for shape, count in (((6, 4), 4), ((3, 5, 2, 2), 3), ((7,), 1)):
        weight = normal(*shape)
        shift = torch.full((count,), -0.25)
        change = Change(place, SPECTRAL, {"delta": shift})
        assert change.misfit(weight, None) is None
        moved, bias = change.delta(weight, None)
        assert moved is not None
        assert bias is None
        flat = (weight + moved).reshape(1, -1) if weight.ndim == 1 else (weight + moved).flatten(1)
        old = weight.reshape(1, -1) if weight.ndim == 1 else weight.flatten(1)
        wanted = (torch.linalg.svdvals(old) - 0.25).clamp(min=0).sort(descending=True).values
        torch.testing.assert_close(torch.linalg.svdvals(flat), wanted, atol=1e-5, rtol=1e-5)
    wrong = Change(place, SPECTRAL, {"delta": torch.zeros(5)})
    assert wrong.misfit(normal(6, 4), None) == "5 shifts, the model has 4"


def test_whole_weights() -> None:
    place, weight, bias = Place("unet", "a"), normal(6, 4), normal(6)
    parts = {"whole": weight + 1, "whole_b": bias - 2}
    moved, shift = Change(place, WHOLE, parts).delta(weight, bias)
    assert moved is not None
    assert shift is not None
    torch.testing.assert_close(moved, torch.ones(6, 4))
    torch.testing.assert_close(shift, torch.full((6,), -2.0))
    assert Change(place, WHOLE, parts).misfit(weight, bias) is None
    assert "bias 6" in str(Change(place, WHOLE, parts).misfit(weight, None))
    assert "weight 6x5" in str(Change(place, WHOLE, parts).misfit(normal(6, 5), bias))


@pytest.mark.parametrize("lost", ["down", "hada_w1_b", "lokr_w2_b"])
def test_a_factor_of_a_single_number_fits_no_weight(lost: str) -> None:
    kinds = {
        LORA: ("down", "up"),
        LOHA: ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),
        LOKR: ("lokr_w1", "lokr_w2_a", "lokr_w2_b"),
    }
    kind = next(kind for kind, names in kinds.items() if lost in names)
    parts = {name: normal(2, 2) if name != lost else torch.tensor(1.0) for name in kinds[kind]}
    change = Change(Place("unet", "a"), kind, parts)
    assert change.rank is None
    assert f"{lost} a single number" in str(change.misfit(normal(2, 2), None))


@pytest.mark.parametrize(
    ("kind", "shapes", "weight"),
    [
        (LOKR, {"lokr_w1": (), "lokr_w2": (2, 2)}, (4, 4)),
        (LOKR, {"lokr_w1": (2, 2), "lokr_w2": ()}, (4, 4)),
        # a product of matrices would be made for each of the rows, and reshaped
        (LOKR, {"lokr_w1_a": (2, 2), "lokr_w1_b": (2, 2, 1), "lokr_w2": (2, 2)}, (4, 4)),
        (LOKR, {"lokr_w1_a": (1, 2), "lokr_w1_b": (2, 4, 1), "lokr_w2": (2, 2)}, (2, 8)),
        (
            LOKR,
            {"lokr_w1": (1, 1), "lokr_w2_a": (2, 4), "lokr_w2_b": (2, 4, 1, 1),
             "lokr_t2": (2, 2, 3, 3)},
            (4, 4, 3, 3),
        ),
        (
            LOHA,
            {"hada_w1_a": (2, 2), "hada_w1_b": (2, 2, 2), "hada_w2_a": (2, 2),
             "hada_w2_b": (2, 4)},
            (2, 4),
        ),
        (LOKR, {"lokr_w1": (2, 1), "lokr_w2": (2, 1), "dora": (4, 2)}, (4,)),
        (OFT, {"rotation": (1, 2, 1, 1)}, (2, 4)),
    ],
)  # fmt: skip
def test_factors_of_other_shapes_fit_no_weight(
    kind: str, shapes: dict[str, tuple[int, ...]], weight: tuple[int, ...]
) -> None:
    parts = {name: torch.ones(shape) for name, shape in shapes.items()}
    change = Change(Place("unet", "a"), kind, parts)
    assert "weight" in str(change.misfit(normal(*weight), None))
