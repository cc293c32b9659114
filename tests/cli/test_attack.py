"""The command ``attack``: chains, settings, captions, broken files, resuming."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.noise_files import files

from siren_ext.attacks.apply import RECORD
from siren_ext.attacks.codecs import jpeg
from siren_ext.data.images import read_picture, to_tensor
from siren_ext.errors import Cancelled


def test_the_list_has_all_attacks_with_their_ranges(call) -> None:
    from siren_ext.attacks.registry import ATTACKS

    code, out, _ = call("attack", "--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[::2]] == list(ATTACKS)
    assert "sigma 0.05 (0 to 1); takes strength" in out


def test_a_chain_with_settings(call, photos: Path, tmp_path: Path) -> None:
    line = ["attack", photos, "--with", "text, jpeg", "--out", tmp_path / "out"]
    line += ["--set", "jpeg.quality=30", "--set", "text.text=10 pence", "--set", "strength=0.5"]
    code, out, err = call(*line)
    assert code == 0, err
    assert out.startswith("4 images written (text, then jpeg): ")
    assert (tmp_path / "out" / "0.txt").read_text() == "a fox"
    steps = json.loads((tmp_path / "out" / RECORD).read_text())["steps"]
    assert steps[0]["settings"] == {"text": "10 pence", "height": 0.05}
    assert steps[1]["settings"] == {"quality": 30, "chroma": "4:2:0"}
    before = files(tmp_path / "out")
    assert call(*line)[0] == 0
    assert files(tmp_path / "out") == before
    code, _, err = call(*line, "--seed", "1")
    assert code == 2
    assert "was made with other settings: seed" in err


def test_pixels_are_those_of_the_function(call, photos: Path, tmp_path: Path) -> None:
    for settings, quality in (((), 50), (("--set", "quality=20"), 20)):
        out = tmp_path / str(quality)
        assert call("attack", photos, "--with", "jpeg", "--out", out, *settings)[0] == 0
        before, after = (to_tensor(read_picture(one / "1.png").rgb) for one in (photos, out))
        assert torch.equal(after, jpeg(before, quality=quality))


def test_strength_zero_changes_nothing(call, photos: Path, tmp_path: Path) -> None:
    line = ["attack", photos, "--with", "noise", "--out", tmp_path / "out"]
    code, out, _ = call(*line, "--set", "strength=0")
    assert (code, out[:26]) == (0, "4 images written (unchange")
    for name in ("0.png", "3.png"):
        pixels = [read_picture(one / name).rgb for one in (photos, tmp_path / "out")]
        assert (pixels[0] == pixels[1]).all()


def test_broken_files_are_listed(call, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").write_bytes((photos / "1.png").read_bytes()[:50])
    code, out, err = call("attack", photos, "--with", "palette", "--out", tmp_path / "out",
                          "--set", "dither=no")  # fmt: skip
    assert code == 3
    assert "4 images written" in out
    assert "bad.png" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--with", "smear"], "There is no attack 'smear'"),
        (["--with", ","], "No attack was named"),
        (["--with", "jpeg", "--set", "quality"], "expected NAME=VALUE"),
        (["--with", "jpeg", "--set", "quality=x"], "quality is 'x'; expected a whole number"),
        (["--with", "jpeg", "--set", "blur.sigma=1"], "jpeg has no setting 'blur.sigma'"),
        (["--with", "evade", "--set", "coater=none"], "none"),
        (["--with", "int8"], "photos has no .safetensors files; expected the folder of a model"),
    ],
)
def test_mistakes_exit_2_and_write_nothing(
    call, photos: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    code, _, err = call("attack", photos, "--out", tmp_path / "out", *words)
    assert code == 2
    assert err.splitlines()[-1].startswith("Error: ")
    assert message in err
    assert not (tmp_path / "out").exists()


def test_a_stopped_run_says_how_to_resume(
    call, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise Cancelled

    monkeypatch.setattr("siren_ext.attacks.apply.handle_folder", stopped)
    code, _, err = call("attack", photos, "--with", "jpeg", "--out", tmp_path / "out")
    assert code == 130
    assert "run the same command again to resume" in err


def test_a_lora_is_rounded(call, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path, out = tmp_path / "lora.safetensors", tmp_path / "out.safetensors"
    down = torch.rand(4, 6)
    save_file({"lora_unet_x.lora_down.weight": down, "lora_unet_x.alpha": torch.ones(())}, path)
    code, told, err = call("attack", path, "--with", "half", "--out", out)
    assert (code, told) == (0, f"1 tensor changed (half): {out}\n"), err
    assert torch.equal(load_file(out)["lora_unet_x.lora_down.weight"], down.half())
    code, _, err = call("attack", path, "--with", "half", "--out", out)
    assert code == 2
    assert "already exists and was not overwritten" in err


def test_a_model_folder_is_rounded(call, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    (tmp_path / "model").mkdir()
    save_file({"x": torch.rand(4, 6)}, tmp_path / "model" / "net.safetensors")
    out = tmp_path / "out"
    code, told, err = call("attack", tmp_path / "model", "--with", "int8", "--out", out)
    assert (code, told) == (0, f"1 tensor changed (int8): {out}\n"), err
    assert (out / "net.safetensors").is_file()
