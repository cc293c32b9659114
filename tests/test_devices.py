"""Devices by name: those of this machine, and one message for others."""

from __future__ import annotations

import pytest
import torch

from siren_ext.devices import pick_device
from siren_ext.errors import ConfigError


def test_devices_of_this_machine() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device().type in {"cpu", "cuda", "mps"}


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x"])
def test_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="not known to torch; expected auto, cpu"):
        pick_device(name)


def test_device_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'cuda:99' can't be used here \(.+\); use auto"):
        pick_device("cuda:99")
