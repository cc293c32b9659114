"""Shadow models: what they are trained on, and resuming; with training that learns by heart."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.toy_source import caption, toy_model, write_scenes

from siren_ext.attribution.mixtures import read_mixture
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError, DatasetError
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.workflows import shadow_models
from siren_ext.workflows.shadow_models import ShadowTraining, train_shadows

KEYS = range(12)
CAPTIONS = tuple(caption(number) for number in KEYS)
CONFIG = ShadowTraining(count=2, images=10, shares=(1.0, 0.3))


class Trained:
    """Stands in for training: writes the captions into the file, and counts."""

    def __init__(self) -> None:
        self.seeds: dict[str, int] = {}

    def __call__(self, data: ImageSet, base, training, out: Path, **kwargs) -> None:
        if not out.exists():
            self.seeds[out.stem] = training.seed
            out.write_text("\n".join(data.captions()))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    found = Trained()
    monkeypatch.setattr(shadow_models, "personalize", found)
    return found


def others(folder: Path, count: int = 15) -> ImageSet:
    return write_scenes(folder / "others", range(500, 500 + count))


def test_known_models_have_pictures_of_the_source_and_innocent_ones_have_none(
    tmp_path: Path, trained: Trained
) -> None:
    out = tmp_path / "shadows"
    made = train_shadows(toy_model("source", KEYS), CAPTIONS, others(tmp_path), "base", out, CONFIG)
    assert [path.name for path in made.known] == ["known_00.safetensors", "known_01.safetensors"]
    assert len(made.innocent) == 2
    shares = {}
    for path in (*made.known, *made.innocent):
        rows = read_mixture(out / "sets" / path.stem)
        shares[path.stem] = sum(row["origin"] == "generated" for row in rows)
        from_source = [row for row in rows if row["caption"] in CAPTIONS]
        assert len(from_source) == shares[path.stem]
        assert all(row["origin"] == "generated" for row in from_source)
    assert shares == {"known_00": 10, "known_01": 3, "innocent_00": 0, "innocent_01": 0}
    assert len(set(trained.seeds.values())) == 4
    assert list(trained.seeds) == ["known_00", "innocent_00", "known_01", "innocent_01"]


def test_more_models_are_added_to_the_same_folder(tmp_path: Path, trained: Trained) -> None:
    data, out = others(tmp_path), tmp_path / "shadows"
    given = (toy_model("source", KEYS), CAPTIONS, data, "base", out)
    train_shadows(*given, ShadowTraining(count=1, images=10))
    train_shadows(*given, ShadowTraining(count=2, images=10))
    assert list(trained.seeds) == ["known_00", "innocent_00", "known_01", "innocent_01"]
    with pytest.raises(
        ConfigError, match="contains a set of shadow models that differs in shadows"
    ):
        train_shadows(*given, ShadowTraining(count=2, images=9))
    with pytest.raises(ConfigError, match="differs in training"):
        train_shadows(*given, ShadowTraining(count=2, images=10), PersonalizeConfig(steps=7))


def test_too_little_is_refused_before_anything_is_made(tmp_path: Path, trained: Trained) -> None:
    source, out = toy_model("source", KEYS), tmp_path / "shadows"
    with pytest.raises(
        DatasetError, match="There are 9 other images, but each innocent model needs 10"
    ):
        train_shadows(source, CAPTIONS, others(tmp_path, 9), "base", out, CONFIG)
    with pytest.raises(ConfigError, match="There is no caption"):
        train_shadows(source, (), others(tmp_path, 10), "base", out, CONFIG)
    assert not (out / "pictures").exists()
    assert not trained.seeds
