"""Training in the panel: names of coaters, settings of every kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from siren_ext.errors import ConfigError
from siren_ext.panels.host import PanelHost
from siren_ext.panels.train import coater_file as coater_path
from siren_ext.progress import NULL


@pytest.mark.parametrize("title", ["", "../x", "a/b", "-", "x" * 65, "a\nb"])
def test_names_of_new_coaters(tmp_path: Path, title: str) -> None:
    from siren_ext.errors import CoaterError

    with pytest.raises(CoaterError):
        coater_path(title, tmp_path)


def test_a_coater_is_never_overwritten(tmp_path: Path) -> None:
    from siren_ext.errors import CoaterError

    path = coater_path("mine", tmp_path)
    assert path == tmp_path / "mine.safetensors"
    path.write_bytes(b"x")
    with pytest.raises(CoaterError, match="already"):
        coater_path("mine.safetensors", tmp_path)


@pytest.mark.parametrize("owner", [True, False])
def test_a_path_of_a_model_is_used_for_the_machines_owner_alone(
    host: PanelHost, pictures: Path, monkeypatch: pytest.MonkeyPatch, owner: bool
) -> None:
    from siren_ext.panels import train

    host = replace(host, limits=replace(host.limits, folders=owner))
    uploads = [str(path) for path in sorted(pictures.glob("*.png"))]
    base, kind, method = str(pictures), next(iter(train.KINDS)), next(iter(train.METHODS))
    form = (uploads, "", "fox", base, 10, "new", kind, method, 0)
    train._checker(host)(*form)
    used: list[str] = []

    def stand_in(images: Path, base: str, *_: Any, **__: Any) -> tuple[str, str]:
        used.append(base)
        return "done", "a file"

    monkeypatch.setattr(train, "train_step", stand_in)
    gr = SimpleNamespace(Progress=lambda: lambda *_, **__: None, update=dict)
    assert train._runner(gr, host)(*form, "", gr.Progress())[0] == "done"
    assert used == [base if owner else "pocket"]


@pytest.mark.parametrize("preset", ["default", "coarse", "keyed"])
def test_training_of_every_kind(
    preset: str, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import siren_ext.training.recipes as owner
    from siren_ext.panels.train import KINDS, train_step

    assert preset in KINDS.values()
    seen: dict[str, Any] = {}

    def stand_in(data: Any, base: Any, word: str, out: Path, config: Any, **rest: Any) -> None:
        seen.update(rest, config=config, images=len(data))

    monkeypatch.setattr(owner, "train_for_base", stand_in)
    out = tmp_path / "mine.safetensors"
    text, path = train_step(pictures, "pocket", "fox", 30, out, NULL, preset=preset)
    fitted = preset != "default"
    assert path == str(out)
    assert ("Make a key" in text) == (preset == "keyed")
    assert ("was fitted" in text) == fitted
    assert seen["surrogate"].steps == 30
    assert seen["config"].steps == (0 if fitted else 30)
    assert (seen["start"] is None) == (seen["coater"] is not None) == fitted
    if fitted:
        assert seen["coater"].coarse
        assert bool(seen["coater"].message_bits) == (preset == "keyed")
    with pytest.raises(ConfigError, match="no model"):
        train_step(pictures, "nowhere", "fox", 30, out, NULL, preset=preset)


def test_the_copy_is_trained_as_chosen(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import siren_ext.training.recipes as owner
    from siren_ext.panels.train import METHODS, copy_settings, train_step
    from siren_ext.personalize.config import RATES
    from siren_ext.training.stand_in import stand_in_settings

    seen: list[Any] = []
    monkeypatch.setattr(owner, "train_for_base", lambda *_, surrogate, **__: seen.append(surrogate))
    for method in METHODS.values():
        chosen = copy_settings(method, 30.0, 0)
        train_step(
            pictures, "pocket", "fox", 30, tmp_path / "a.safetensors", NULL, surrogate=chosen
        )
        assert seen[-1] is chosen
        assert (chosen.method, chosen.steps) == (method, 30)
        assert chosen.learning_rate == RATES[method]
        stand_in_settings(chosen, "fox")  # all of them can be a stand-in
    assert copy_settings("full", 30.0, 0.01).learning_rate == 0.01
    assert copy_settings("lora", 30.0, None).learning_rate == RATES["lora"]
    with pytest.raises(ConfigError, match="learning_rate"):
        copy_settings("full", 30.0, -1.0)
