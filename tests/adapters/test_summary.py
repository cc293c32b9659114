"""What a file claims about itself is a hint, and harmless to print."""

from __future__ import annotations

from pathlib import Path

from support.toy_adapters import claiming

from siren_ext.adapters.read import read_summary


def test_claims_are_read_as_hints(tmp_path: Path) -> None:
    path = claiming(
        tmp_path,
        ss_sd_model_name="v1-5.safetensors",
        ss_resolution="(512, 512)",
        ss_epoch="8",
        ss_dataset_dirs={"4_siren": {"n_repeats": 4, "img_count": 6}, "x": 3},
        ss_tag_frequency={"4_siren": {"a cat": 2, "red": 5}, "b": {"red": 1}},
    )
    claims = read_summary(path).claims()
    assert claims["base model"] == "v1-5.safetensors"
    assert (claims["resolution"], claims["epochs"]) == ("(512, 512)", "8")
    assert claims["folders"] == {"4_siren": 6}
    assert claims["tags"] == {"red": 6, "a cat": 2}
    odd = claiming(
        tmp_path,
        ss_sd_model_name="\x1b[2J" + "x" * 1000,
        ss_tag_frequency="[" * 100_000,
        ss_dataset_dirs="[]",
    )
    claims = read_summary(odd).claims()
    assert "\x1b" not in claims["base model"]
    assert len(claims["base model"]) == 200
    assert "tags" not in claims
    assert "folders" not in claims
