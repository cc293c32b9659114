"""A detection study on paper: its settings, its models and seeds, and where everything lies."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
from msgspec import Meta

from siren_ext.config import Config
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.files import write_json
from siren_ext.stats.low_end import LOW_END
from siren_ext.training.prompts import class_prompt
from siren_ext.workflows.run_log import RunLog

if TYPE_CHECKING:
    from siren_ext.keys.coating_key import CoatingKey

FORMAT = "siren_ext.detection"
VERSION = 1
T = TypeVar("T")
Role = Literal["guilty", "innocent", "reference"]

# No two models share a training seed, and no two images a noise seed.
SEEDS_PER_STUDY = 1000
_JUDGING = ("seeds", "size", "against", "repeats", "alpha", "stage_images", "levels", "strength")
IMAGES_PER_MODEL = 1_000_000


@dataclasses.dataclass(frozen=True)
class DetectionConfig(Config):
    """How much a detection study makes and how it is judged.

    Attributes
    ----------
    seeds : int
        training seeds; each gives one guilty and one innocent model.
    mimicries : int
        images of each of them.
    reference : int
        images of the one reference model.
    size, against : int
        suspect and reference images of one test, drawn afresh for every repetition
        (methods of SIREN, §9.2); where ``against`` equals ``reference`` all of them are used.
    repeats : int
        tests per model.
    alpha : float
        of the single verdict on all images.
    low_end : float
        share of the reference in which the gap is sought, as in a verdict; 1 is the test
        of the paper, one-sided.
    prompts : tuple[str, ...]
        what all models are asked for, in turn; empty to choose by ``prompt_source``.
    prompt_source : str
        ``captions`` spreads ``prompt_count`` captions evenly over the set; where an
        image has none, or with ``class``, it is "an image of" the class word.
    sampling_steps, guidance : int
        of the generated images.
    strength : float
        factor on the coating.
    images : int
        use only so many images of the set; 0 for all.
    stage_images : int
        images in the search for where the signal is lost; 0 for all.
    levels : tuple[int, ...]
        noise steps of that search, of which those that a schedule has are taken.
    seed : int
        everything random follows from it. It begins at 1, as surrogates and rehearsals of
        coater training take theirs from 0.
    """

    seeds: Annotated[int, Meta(ge=1, le=400)] = 3
    mimicries: Annotated[int, Meta(ge=1, le=IMAGES_PER_MODEL)] = 150
    reference: Annotated[int, Meta(ge=1, le=IMAGES_PER_MODEL)] = 300
    size: Annotated[int, Meta(ge=1, le=IMAGES_PER_MODEL)] = 30
    against: Annotated[int, Meta(ge=1, le=IMAGES_PER_MODEL)] = 100
    repeats: Annotated[int, Meta(ge=1, le=10_000_000)] = 10_000
    alpha: Annotated[float, Meta(ge=1e-299, le=0.5)] = 1e-6
    low_end: Annotated[float, Meta(ge=0.01, le=1.0)] = LOW_END
    prompts: tuple[str, ...] = ()
    prompt_source: Literal["captions", "class"] = "captions"
    prompt_count: Annotated[int, Meta(ge=1, le=100_000)] = 10
    sampling_steps: Annotated[int, Meta(ge=1, le=1000)] = 20
    guidance: Annotated[float, Meta(ge=0, le=100)] = 3.0
    strength: Annotated[float, Meta(ge=0.01, le=10)] = 1.0
    images: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    stage_images: Annotated[int, Meta(ge=0, le=1_000_000)] = 100
    levels: tuple[Annotated[int, Meta(ge=0)], ...] = (50, 200, 400, 700)
    seed: Annotated[int, Meta(ge=1, le=1_000_000)] = 1

    def __post_init__(self) -> None:
        """Check the settings, so that a study does not fail after hours of training."""
        super().__post_init__()
        for part, pool in (("size", "mimicries"), ("against", "reference")):
            if getattr(self, part) > getattr(self, pool):
                raise ConfigError(
                    f"{part} is {getattr(self, part)} but there are only {getattr(self, pool)} "
                    f"images to draw from ({pool}); lower the one or raise the other."
                )

    def making(self) -> dict[str, Any]:
        """The settings that every model depends on; how it is judged may change between calls.

        Without ``strength``, of which innocent models know nothing.
        """
        judging = {
            "strength",
            "seeds",
            "size",
            "against",
            "repeats",
            "alpha",
            "low_end",
            "stage_images",
            "levels",
        }
        return {name: value for name, value in self.to_dict().items() if name not in judging}


@dataclasses.dataclass(frozen=True)
class Model:
    """One model of the study: ``number`` counts the training seeds from 0."""

    role: Role
    number: int
    training_seed: int
    noise_seed: int
    images: int

    @property
    def name(self) -> str:
        """Name of its files."""
        return self.role if self.role == "reference" else f"{self.role}_{self.number}"


def roster(config: DetectionConfig) -> tuple[Model, ...]:
    """The reference, then a guilty and an innocent model per training seed, none sharing a seed."""

    def model(role: Role, number: int, place: int, images: int) -> Model:
        seed = config.seed * SEEDS_PER_STUDY + place
        return Model(role, number, seed, seed * IMAGES_PER_MODEL, images)

    models = [model("reference", 0, 0, config.reference)]
    for number in range(config.seeds):
        models.append(model("guilty", number, 1 + 2 * number, config.mimicries))
        models.append(model("innocent", number, 2 + 2 * number, config.mimicries))
    return tuple(models)


def experiment_key(seed: int, bits: int) -> CoatingKey:
    """The key of an experiment with a keyed coater, to be had again when it is repeated.

    It follows from the experiment's seed, which the coater's training never knew; so it is as
    independent of the coater as a secret one, though it is none.
    """
    from siren_ext.keys.coating_key import CoatingKey

    signs = np.random.default_rng((seed, 7)).integers(0, 2, bits) * 2 - 1
    return CoatingKey(signs, hashlib.sha256(f"experiment {seed}".encode()).digest())


def open_set(data: str) -> ImageSet:
    """The set behind an option: ``samples`` is the bundled one, all else a folder or file."""
    from siren_ext.samples import sample_set

    return sample_set() if data == "samples" else ImageSet.open(data)


def study_prompts(data: ImageSet, class_word: str, config: DetectionConfig) -> tuple[str, ...]:
    """What every model is asked for: the same prompts for all, or the test means nothing."""
    if config.prompts:
        return config.prompts
    captions = list(dict.fromkeys(item.caption or "" for item in data.items))
    if config.prompt_source == "class" or "" in captions:
        return (class_prompt(class_word),)
    count = min(config.prompt_count, len(captions))
    return tuple(captions[index * len(captions) // count] for index in range(count))


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a study keeps what it makes.

    ``clean`` holds what does not depend on the coater (innocent and reference models with their
    images), so that studies of several coaters on one set can share it.
    """

    root: Path
    clean: Path

    @property
    def coated(self) -> Path:
        """The coated set."""
        return self.root / "coated"

    def home(self, model: Model) -> Path:
        """The folder under which a model's adapter and images lie."""
        return self.root if model.role == "guilty" else self.clean

    def adapter(self, model: Model) -> Path:
        """A model's LoRA."""
        return self.home(model) / "adapters" / f"{model.name}.safetensors"

    def mimicries(self, model: Model) -> Path:
        """A model's images."""
        return self.home(model) / "mimicries" / model.name

    def scores(self, model: Model) -> Path:
        """The scores of a model's images: these do depend on the coater."""
        return self.root / "scores" / f"{model.name}.json"


class StudyLog(RunLog):
    """Binds a folder to one study, and logs time and memory across interruptions.

    Parameters
    ----------
    root : Path
        the study's folder.
    identity : Mapping[str, Any]
        plain values that everything in the folder depends on.

    Raises
    ------
    ConfigError
        the folder holds another study, or something else.
    """

    def __init__(self, root: Path, identity: Mapping[str, Any]) -> None:
        path = root / "study.json"
        identity = json.loads(json.dumps(identity))  # as it comes back: tuples as lists
        kept: dict[str, Any] = {}
        if path.exists():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
                before = dict(kept["identity"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ConfigError(
                    f"{path} can't be read as the record of a study ({error}); name another folder."
                ) from error
            changed = [name for name in identity if before.get(name) != identity[name]]
            if changed:
                raise ConfigError(
                    f"{root} holds a study with another {', '.join(changed)} (see "
                    f"{path.name}); name another folder, or delete this one."
                )
        elif root.is_dir() and any(not p.name.startswith(".") for p in root.iterdir()):
            raise ConfigError(
                f"{root} holds files that are not of a study; name a new or empty folder."
            )
        super().__init__(path, {"identity": identity}, kept)
        self.write()

    def costs(self) -> dict[str, Any]:
        """Seconds per step, and the largest memory in GB."""
        return {"seconds": self._data["seconds"], "peak_memory_gb": self._data["peak_memory_gb"]}


def kept(path: Path, key: Any, make: Callable[[], Any]) -> Any:
    """The plain value that ``make`` gives, from ``path`` where it was kept under the same key."""
    mark = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["key"] == mark:
            return stored["value"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent or damaged: made anew
    value = make()
    write_json(path, {"key": mark, "value": value})
    return value


def spread_evenly(items: Sequence[T], wanted: int) -> list[T]:
    """``wanted`` of the items, spread evenly over them; all of them when ``wanted`` is 0."""
    count = min(wanted or len(items), len(items))
    last = len(items) - 1
    return [items[round(place * last / max(1, count - 1))] for place in range(count)]
