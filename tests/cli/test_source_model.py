"""The source's captions and images, and models as they are typed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from siren_ext.cli.source_model import captions_of, opener, training_images
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError


def photos(folder: Path, captions: list[str]) -> Path:
    folder.mkdir()
    for number, text in enumerate(captions):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
        if text:
            (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return folder


def test_captions_come_from_a_file_or_from_the_images_each_once(tmp_path: Path) -> None:
    images = training_images(photos(tmp_path / "photos", ["a cat", "", "a dog", "a cat"]))
    assert images is not None
    assert captions_of(None, images) == ("a cat", "an image", "a dog")
    file = tmp_path / "captions.txt"
    file.write_bytes("\ufeffa café\r\n\n  a bird \na café\n".encode())
    assert captions_of(file, images) == captions_of(file) == ("a café", "a bird")
    assert captions_of(None) == ()
    assert training_images(None) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\n \n", "has no captions in it; expected one per line"), (b"caf\xe9", "is not UTF-8")],
)
def test_files_without_captions_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "captions.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        captions_of(tmp_path / "captions.txt")
    with pytest.raises(ConfigError, match=r"gone\.txt"):
        captions_of(tmp_path / "gone.txt")


def test_notices_about_images_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photos(tmp_path / "photos", ["a cat"])
    plain = ImageSet.open

    def noticed(path: Any) -> Any:
        return dataclasses.replace(plain(path), notices=("two captions were found",))

    monkeypatch.setattr(ImageSet, "open", noticed)
    assert training_images(folder) is not None
    assert "two captions were found" in capsys.readouterr().err


def test_the_base_is_for_lora_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from siren_ext.suspects import open as opening

    given: list[tuple[str, Any, bool]] = []

    def remember(text: str, *, base: Any, allow_partial: bool, **_: Any) -> Any:
        given.append((text, base, allow_partial))
        return object()

    monkeypatch.setattr(opening, "open_suspect", remember)
    monkeypatch.setattr(opening, "needs_base", lambda text: text.endswith("lora.safetensors"))
    opened = opener("pocket", 1.0, True, None, None, "cpu")
    for text in ("lora.safetensors", "model.safetensors", "https://host/lora.safetensors"):
        opened(text)
    assert given == [
        ("lora.safetensors", "pocket", True),
        ("model.safetensors", None, False),
        ("https://host/lora.safetensors", None, False),
    ]
