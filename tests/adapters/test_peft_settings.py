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
    with pytest.raises(AdapterError, match="without adapter_config"):
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
