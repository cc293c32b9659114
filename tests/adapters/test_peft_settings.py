"""peft's settings: what would be ignored is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.hostile_files import check_reader

from siren_ext.adapters.read import read_adapter
from siren_ext.errors import AdapterError


def test_settings_of_peft_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    key = "base_model.model.conv_in.lora_"
    tensors = {f"{key}A.weight": torch.ones(1, 4, 3, 3), f"{key}B.weight": torch.ones(32, 1, 1, 1)}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match="the adapter_config"):
        read_adapter(tmp_path / "adapter_model.safetensors")
    good = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["conv_in"]}
    for change, words in [
        ({"peft_type": "BOFT"}, "BOFT"),
        ({"peft_type": "OFT", "coft": True}, "coft = True"),
        ({"use_cayley_neumann": True}, "num_cayley_neumann_terms = None"),
        ({"use_cayley_neumann": True, "num_cayley_neumann_terms": 10**9}, "from 1 to 100"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"modules_to_save": ["conv_out"]}, "modules_to_save"),
        ({"a_future_setting": 1}, "a_future_setting"),
        ({"alpha_pattern": {"(a+)+$": 3}}, "patterns in alpha_pattern"),
        ({"lora_alpha": None}, "no rank or alpha"),
        ({"lora_alpha": "1"}, "expected a number"),
    ]:
        (tmp_path / "adapter_config.json").write_text(json.dumps(good | change))
        with pytest.raises(AdapterError, match=words.replace("(", r"\(")):
            read_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(good))
    assert read_adapter(tmp_path).changes[0].scale == 1.0
    check_reader(
        tmp_path / "adapter_config.json",
        lambda path: read_adapter(path.parent).changes[0].scale,
        AdapterError,
    )


def test_settings_are_a_part_of_the_record(tmp_path: Path) -> None:
    names = [f"base_model.model.conv_in.lora_{part}.weight" for part in "AB"]
    save_file({name: torch.ones(2, 2) for name in names}, tmp_path / "adapter_model.safetensors")
    good = {"peft_type": "LORA", "r": 2, "lora_alpha": 2}

    def record(**changes: object) -> dict[str, object]:
        (tmp_path / "adapter_config.json").write_text(json.dumps(good | changes))
        return read_adapter(tmp_path).summary().to_dict()

    first = record()
    assert record(base_model_name_or_path="elsewhere") == first
    other = record(lora_alpha=4)  # the file of the weights is the same, the adapter is not
    assert other["hash"] == first["hash"]
    assert other["settings"] != first["settings"]
    assert record(use_rslora=True) != first
    alone = {f"lora_unet_x.lora_{part}.weight": torch.ones(2, 2) for part in ("down", "up")}
    save_file(alone, tmp_path / "alone.safetensors")
    assert "settings" not in read_adapter(tmp_path / "alone.safetensors").summary().to_dict()
