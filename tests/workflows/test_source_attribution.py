"""From models to a verdict about a source, with toy models and with a tiny one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.toy_source import SIDE, caption, scene, toy_model, write_scenes

from siren_ext.attribution.mixtures import build_mixture, read_mixture
from siren_ext.attribution.source_config import ShadowConfig, SourceConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import Picture, to_uint8, write_picture
from siren_ext.errors import Cancelled, ConfigError
from siren_ext.progress import Progress
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.suspects.responses import Refused
from siren_ext.workflows.source_attribution import SourceQuestion, attribute_source

KEYS = list(range(20))
CONFIG = SourceConfig(keys=20, repeats=2, pictures=2, resolution=SIDE)


def question(suspect, **changes) -> SourceQuestion:
    innocent = {f"i{number}": toy_model(f"innocent {number}", []) for number in range(3)}
    given = {
        "source": toy_model("source", KEYS),
        "suspect": suspect,
        "captions": tuple(caption(number) for number in KEYS),
        "innocent": innocent,
    }
    return SourceQuestion(**(given | changes))


def test_the_share_of_generated_training_images_shows(tmp_path: Path) -> None:
    """Models that know their training images by heart, trained on mixtures."""
    made = write_scenes(tmp_path / "made", KEYS)
    real = write_scenes(tmp_path / "real", range(500, 520))
    found = {}
    for share in (1.0, 0.5, 0.0):
        folder = tmp_path / f"mixture {share}"
        build_mixture(made, real, 20, share, folder)
        memory = {
            row["caption"]: scene(int(row["caption"].split()[1])) for row in read_mixture(folder)
        }
        suspect = toy_model(f"rho {share}", memory)
        found[share] = attribute_source(
            question(suspect, data=made), tmp_path / f"out {share}", CONFIG, cache=tmp_path / "c"
        ).verdict
    assert found[1.0].confidence > found[0.5].confidence > found[0.0].confidence
    assert [found[share].outcome for share in (1.0, 0.0)] == ["found", "open"]
    assert found[0.5].confidence == pytest.approx(0.5, abs=0.1)


def test_a_second_call_asks_nothing(tmp_path: Path) -> None:
    asked = question(toy_model("suspect", KEYS[:10]))
    first = attribute_source(asked, tmp_path / "out", CONFIG)

    def never(*given):
        raise AssertionError("a picture was made again")

    for model in asked.models().values():
        model.make = never  # type: ignore[attr-defined]
        model.redraw = never  # type: ignore[attr-defined]
    again = attribute_source(asked, tmp_path / "out", CONFIG)
    assert again.verdict.to_dict() == first.verdict.to_dict()
    kept = json.loads(again.report.json.read_text())
    assert kept["format"] == "siren_ext.source_attribution"
    assert kept["outcome"] == first.verdict.outcome == "found"
    assert len(kept["samples"]) == 20
    assert (tmp_path / "out.pictures").is_dir()


def test_a_stopped_run_resumes(tmp_path: Path) -> None:
    asked = question(toy_model("suspect", KEYS))
    count = 0

    def soon() -> bool:
        nonlocal count
        count += 1
        return count > 60

    with pytest.raises(Cancelled):
        attribute_source(asked, tmp_path / "out", CONFIG, progress=Progress(cancelled=soon))
    assert not (tmp_path / "out").exists()
    made = len(list((tmp_path / "out.pictures").rglob("*.png")))
    assert made > 0
    assert attribute_source(asked, tmp_path / "out", CONFIG).verdict.outcome == "found"


def test_a_model_that_cannot_redraw_is_asked_by_captions(tmp_path: Path) -> None:
    asked = question(toy_model("suspect", KEYS, redraws=False))
    found = attribute_source(asked, tmp_path / "out", CONFIG)
    assert found.verdict.outcome == "found"
    assert any("can't redraw pictures" in note for note in found.verdict.notes)
    assert json.loads(found.report.json.read_text())["query"] == "t2i"


def test_a_folder_of_pictures_is_compared_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in KEYS:
        write_picture(Picture(to_uint8(scene(number))), folder / f"{number}.png")
    found = attribute_source(question(FolderSuspect(folder)), tmp_path / "out", CONFIG)
    assert found.verdict.outcome == "found"
    assert any("only pictures are at hand" in note for note in found.verdict.notes)
    with pytest.raises(ConfigError, match="The source is a folder of pictures"):
        attribute_source(
            question(toy_model("s", []), source=FolderSuspect(folder)), tmp_path / "x", CONFIG
        )


def test_known_models_choose_the_threshold_and_serve_as_shadows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def colours(config: SourceConfig):
        return lambda pictures: pictures.mean((2, 3)).double().numpy()

    monkeypatch.setattr("siren_ext.workflows.source_attribution.embedding", colours)
    known = {f"k{n}": toy_model(f"known {n}", KEYS[n:]) for n in range(5)}
    innocent = {f"i{n}": toy_model(f"innocent {n}", []) for n in range(5)}
    asked = question(toy_model("suspect", KEYS), known=known, innocent=innocent)
    found = attribute_source(asked, tmp_path / "out", CONFIG, ShadowConfig(folds=2))
    assert found.verdict.threshold.origin == "known"
    assert found.verdict.outcome == "found"
    shadow = found.verdict.shadow
    assert shadow is not None
    assert shadow.above
    assert shadow.auc >= 0.9
    assert "Among shadow models" in found.report.html.read_text()


def test_models_that_answer_nothing_are_no_shadow_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def colours(config: SourceConfig):
        return lambda pictures: pictures.mean((2, 3)).double().numpy()

    def refuse(*given):
        raise Refused("not this one")

    monkeypatch.setattr("siren_ext.workflows.source_attribution.embedding", colours)
    mute = toy_model("mute", [])
    mute.redraw = refuse
    known = {f"k{n}": toy_model(f"known {n}", KEYS[n:]) for n in range(3)}
    innocent = {f"i{n}": toy_model(f"innocent {n}", []) for n in range(4)}
    asked = question(toy_model("s", KEYS), known=known, innocent={"mute": mute, **innocent})
    found = attribute_source(asked, tmp_path / "out", CONFIG, ShadowConfig(folds=2)).verdict
    assert found.outcome == "found"
    assert found.models["mute"] == (0, 0)
    assert found.shadow is not None
    assert len(found.shadow.innocent) == 4


def test_questions_without_an_answer_are_refused(tmp_path: Path) -> None:
    suspect = toy_model("suspect", KEYS)
    with pytest.raises(ConfigError, match="Key samples need training images"):
        attribute_source(question(suspect, captions=()), tmp_path / "out", CONFIG)
    with pytest.raises(ConfigError, match="Key samples need training images"):
        attribute_source(question(suspect), tmp_path / "out", replace(CONFIG, strategy="detection"))
    bare = write_scenes(tmp_path / "bare", range(3))
    bare = replace(bare, items=tuple(replace(item, caption=None) for item in bare.items))
    with pytest.raises(ConfigError, match="Key samples need training images"):
        attribute_source(
            question(suspect, captions=(), data=bare),
            tmp_path / "out",
            replace(CONFIG, strategy="generation"),
        )
    with pytest.raises(ConfigError, match="suspicious model and the innocent model i are the same"):
        attribute_source(question(suspect, innocent={"i": suspect}), tmp_path / "out", CONFIG)


@pytest.mark.models
def test_a_tiny_diffusion_model_redraws(tmp_path: Path, tmp_path_factory) -> None:
    from support.tiny_attribution import adapted, tiny_lora
    from support.tiny_models import draw_images, need_models, shared_model

    from siren_ext.suspects.local import LocalSuspect

    need_models()
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    source = adapted(base, tmp_path / "source.safetensors")
    other = tiny_lora(tmp_path / "other.safetensors", source.pipeline, seed=1)
    suspect = LocalSuspect(base, other, device="cpu", dtype=source.dtype)
    data = ImageSet.open(draw_images(tmp_path / "photos", 4))
    config = SourceConfig(keys=4, repeats=2, steps=2)
    asked = SourceQuestion(source, suspect, data=data)
    found = attribute_source(asked, tmp_path / "out", config)
    assert found.verdict.total == 4
    assert np.isfinite(found.verdict.distances).all()
    assert found.verdict.outcome == "open"
    assert json.loads(found.report.json.read_text())["resolution"] == 32
    assert "_loaded" not in vars(suspect)
