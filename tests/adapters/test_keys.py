"""Keys of adapter files, and files whose keys have peft's name of the adapter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.toy_adapters import normal, same, states, toy, write
from torch import Tensor

from siren_ext.adapters.keys import adapter_names, parse_key
from siren_ext.adapters.merge import load_adapter
from siren_ext.adapters.read import read_adapter
from siren_ext.errors import AdapterError

PATH = "unet.down_blocks.0.to_k"
FACTORS = {
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora_B.bias": "up_bias",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
    ".hada_w1_a": "hada_w1_a",
    ".lokr_w2": "lokr_w2",
    ".ia3_l": "ia3_l",
    ".oft_R.weight": "oft_R",
}


def named(ending: str, name: str) -> str:
    """A key with an adapter's name, as in the state of a whole model."""
    factor, dot, last = ending[1:].partition(".")
    return f"{PATH}.{factor}.{name}{dot}{last}"


@pytest.mark.parametrize("name", ["default", "style-2", "0", "weights"])
@pytest.mark.parametrize("ending", FACTORS)
def test_a_name_of_the_adapter_is_left_out(ending: str, name: str) -> None:
    plain, key = parse_key(PATH + ending), parse_key(named(ending, name))
    assert plain is not None
    assert key is not None
    assert (plain.field, plain.adapter, key.adapter) == (FACTORS[ending], "", name)
    assert key._replace(adapter="") == plain


def test_names_of_adapters() -> None:
    keys = [f"{PATH}{ending}" for ending in FACTORS]
    assert adapter_names(keys) == []
    keys += [named(ending, "b") for ending in FACTORS]
    assert adapter_names([*keys, named(".lora_A.weight", "a"), "x.lora_up.0", "x"]) == ["a", "b"]


def factors(name: str = "") -> dict[str, Tensor]:
    """A DoRA for one module of the toy network."""
    values = {
        ".lora_A.weight": normal(2, 6),
        ".lora_B.weight": normal(4, 2),
        ".lora_magnitude_vector": torch.rand(4) + 0.5,
    }
    return {named(end, name) if name else PATH + end: v for end, v in values.items()}


@pytest.mark.parametrize("prefix", ["unet.", "", "diffusion_model."])
def test_files_with_the_name_are_merged_as_those_without(tmp_path: Path, prefix: str) -> None:
    tensors = factors("default")
    plain = dict(zip(factors(), tensors.values(), strict=True))
    one, two = toy(), toy()
    load_adapter(one, write(tmp_path, plain))
    tensors = {prefix + key.removeprefix("unet."): value for key, value in tensors.items()}
    load_adapter(two, write(tmp_path, tensors))
    assert same(states(one), states(two))
    assert not same(states(one), states(toy()))


def test_several_adapters_in_one_file_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, factors("default") | factors("style"))
    for partial in (False, True):
        with pytest.raises(AdapterError, match="contains 2 adapters: default, style; expected one"):
            read_adapter(path, allow_partial=partial)
