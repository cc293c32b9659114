"""Files in kohya's format: hashes, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.toy_adapters import K, normal

from siren_ext.adapters.files import adapter_hash
from siren_ext.adapters.read import read_summary
from siren_ext.adapters.write import save_kohya, save_plain
from siren_ext.errors import AdapterError


def test_hashes_are_those_of_kohya(tmp_path: Path) -> None:
    import hashlib

    from safetensors.torch import save

    path = tmp_path / "a.safetensors"
    modules = {K: (normal(3, 6), normal(4, 3), 1.5)}
    written = save_kohya(path, modules, {"ss_seed": "1", "other": "x"})
    tensors = load_file(path)
    raw = save(tensors, {"ss_seed": "1"})
    body = raw[int.from_bytes(raw[:8], "little") + 8 :]
    assert tensors[f"{K}.alpha"].shape == ()
    summary = read_summary(path)
    assert written == summary
    assert summary.hash == hashlib.sha256(body).hexdigest()
    assert summary.metadata["sshs_model_hash"] == summary.hash
    assert len(summary.metadata["sshs_legacy_hash"]) == 8
    assert summary.claims()["hash"] == "matches"
    save_file(tensors, tmp_path / "edited.safetensors", {"sshs_model_hash": "0" * 64})
    assert adapter_hash(tmp_path / "edited.safetensors") == summary.hash
    assert "differs" in read_summary(tmp_path / "edited.safetensors").claims()["hash"]


def test_writing_refuses_nothing_and_nonsense(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no module"):
        save_kohya(tmp_path / "a.safetensors", {}, {})
    endless = {K: (normal(3, 6) * float("inf"), normal(4, 3), 1.0)}
    with pytest.raises(AdapterError, match="diverged"):
        save_kohya(tmp_path / "a.safetensors", endless, {})
    assert not list(tmp_path.iterdir())


def test_values_beyond_the_format_are_told_from_divergence(tmp_path: Path) -> None:
    path, large = tmp_path / "x.safetensors", {"a": torch.tensor([70000.0])}
    with pytest.raises(AdapterError, match=r"too large for torch\.float16; choose another"):
        save_plain(path, large, {}, dtype=torch.float16)
    assert not path.exists()
    save_plain(path, large, {}, dtype=torch.bfloat16)
    with pytest.raises(AdapterError, match="diverged"):
        save_plain(path, {"a": torch.tensor([torch.inf])}, {}, dtype=torch.float32)
