"""PyTorch's files: recognised, read as weights alone, and hostile ones refused."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from siren_ext.coater.coater import Coater
from siren_ext.coater.torch_files import SUFFIXES, is_torch_file, read_torch_file
from siren_ext.errors import CoaterError

CAP = 1_500_000
WEIGHTS = {"final_layer.weight": torch.arange(6.0).reshape(2, 3), "epoch": 3, "note": "x"}


def read(path: Path) -> Any:
    return read_torch_file(path, CAP)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.pth"
    torch.save(WEIGHTS, path)
    return path


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def packed(path: Path, content: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_weights_are_read(good: Path, tmp_path: Path) -> None:
    found = read(good)
    assert torch.equal(found["final_layer.weight"], WEIGHTS["final_layer.weight"])
    assert found["epoch"] == 3
    again = packed(tmp_path / "again.pth", entries(good), zipfile.ZIP_DEFLATED)
    assert torch.equal(read(again)["final_layer.weight"], WEIGHTS["final_layer.weight"])


@pytest.mark.parametrize("version", ["2.0.1", "2.1.2+cu121", "2.5.1", "1.13.1"])
def test_pytorch_that_runs_code_of_files_reads_none(
    good: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(CoaterError) as caught:
        read(good)
    assert "read only with PyTorch 2.6 or newer; this is PyTorch " + version in str(caught.value)
    assert "CVE-2025-32434" in str(caught.value)
    for safe in ("2.6.0", "2.13.0+cpu", "3.0"):
        monkeypatch.setattr(torch, "__version__", safe)
        assert read(good)["epoch"] == 3


def test_recognised_by_content_then_by_name(good: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.safetensors"
    assert is_torch_file(good.rename(plain))
    torch.save(WEIGHTS, plain, _use_new_zipfile_serialization=False)
    assert is_torch_file(plain)
    plain.write_bytes(struct.pack("<Q", 2) + b"{}")
    assert not is_torch_file(plain)
    for suffix in SUFFIXES:
        assert is_torch_file(tmp_path / f"gone{suffix.upper()}")
    assert not is_torch_file(tmp_path)


class Nasty:
    """Runs code when it is unpickled without care."""

    def __reduce__(self) -> Any:
        return (Path.write_text, (Path("pwned"), "x"))


def test_hostile_files(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "bad.pth"

    def refused(match: str) -> None:
        with pytest.raises(CoaterError, match=match) as caught:
            read(bad)
        assert str(bad) in str(caught.value)

    refused("can't be opened")
    bad.mkdir()
    refused("not a regular file; expected a .pth file")
    bad.rmdir()
    bad.write_bytes(b"")
    refused(r"was not written by torch\.save of PyTorch 1\.6 or newer")
    bad.write_bytes(good.read_bytes()[:-500])
    refused(r"was not written by torch\.save or is incomplete")
    bad.write_bytes(pickle.dumps(Nasty()))
    refused(r"was not written by torch\.save of PyTorch 1\.6 or newer")
    torch.save({"final_layer.weight": Nasty()}, bad)
    refused("more than weights")
    with bad.open("wb") as stream:
        stream.truncate(CAP + 1)
    refused("expected at most")
    packed(bad, {"archive/data/0": bytes(2 * CAP)}, zipfile.ZIP_DEFLATED)
    refused("unpacks to")
    packed(bad, {"archive/data.pkl": b"\x80\x02."})
    refused("damaged")
    packed(bad, {f"a/{i}": b"" for i in range(10_001)})
    refused("10001 entries")
    packed(bad, {"archive/data.pkl": b""}, zipfile.ZIP_BZIP2)
    refused("PyTorch never compresses in this way")
    content = good.read_bytes()
    bad.write_bytes(content.replace(b"final_layer.weight", b"final_layer.weighT", 1))
    refused("is incomplete: Bad CRC-32")
    assert not (tmp_path / "pwned").exists()


def test_what_ran_code_before_torch_2_6_never_reaches_torch(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[object] = []
    monkeypatch.setattr(torch, "load", lambda *args, **_: reached.append(args))
    bad = tmp_path / "bad.pth"
    torch.save(WEIGHTS, bad, _use_new_zipfile_serialization=False)
    with pytest.raises(CoaterError, match=r"before 1\.6.* load it and save it again with PyT"):
        read(bad)
    for name in ("archive/constants.pkl", "archive/Constants.PKL"):
        packed(bad, entries(good) | {name: b"\x80\x02)."})
        with pytest.raises(CoaterError, match="contains a TorchScript program"):
            read(bad)
    # Python finds an archive at the end of a file, PyTorch looks at the beginning
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    bad.write_bytes(tar.getvalue() + good.read_bytes())
    with pytest.raises(CoaterError, match=r"not written by torch\.save"):
        read(bad)
    assert not reached


def test_torch_sees_the_entries_that_were_checked(good: Path, tmp_path: Path) -> None:
    program = packed(tmp_path / "program.zip", {"archive/constants.pkl": b"x"})
    both = tmp_path / "both.pth"
    both.write_bytes(program.read_bytes() + good.read_bytes())
    assert read(both)["epoch"] == 3
    doubled = tmp_path / "doubled.pth"
    with zipfile.ZipFile(doubled, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("archive/data.pkl", b"\x80\x02}.")
    with pytest.raises(CoaterError, match=r"2 entries \(1 different"):
        read(doubled)


def test_damaged_weights_are_refused_with_words(good: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pth"
    content = entries(good)
    name = next(key for key in content if key.endswith("data.pkl"))
    generator = torch.Generator().manual_seed(0)
    whole, answers = content[name], set()
    for _ in range(400):
        broken = bytearray(whole)
        for _ in range(1 + int(torch.randint(3, (), generator=generator))):
            place = int(torch.randint(len(broken), (), generator=generator))
            broken[place] = int(torch.randint(256, (), generator=generator))
        packed(bad, content | {name: bytes(broken)})
        try:
            read(bad)
        except CoaterError as error:
            answers.add("damaged" in str(error))
    assert answers == {True}


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "A.CKPT", "a.safetensors"])
def test_given_as_a_coater(good: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(good.read_bytes())
    with pytest.raises(CoaterError, match="is a PyTorch checkpoint, not a coater") as caught:
        Coater.load(path)
    assert "siren-ext import-official GENERATOR EXTRACTOR --out" in str(caught.value)
    with path.open("r+b") as stream:
        stream.truncate(65 << 20)
    with pytest.raises(CoaterError, match="import-official"):
        Coater.load(path)
