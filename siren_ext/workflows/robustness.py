"""How robust is my coating? Coats a sample of pictures, attacks it, and scores what is left."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.attacks.apply import PICTURES, steps_of
from siren_ext.attacks.evade import hidden_from
from siren_ext.attacks.registry import ATTACKS, attack_named, quick_attacks
from siren_ext.attacks.separation import cut_off, separation
from siren_ext.coating.apply import coat_images
from siren_ext.config import Config
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import quantise, read_picture, resize, square_view, to_tensor
from siren_ext.documents import read_json
from siren_ext.errors import (
    CoaterError,
    ConfigError,
    DatasetError,
    ImageError,
    MissingExtraError,
    ModelError,
    SirenError,
)
from siren_ext.files import is_file, is_folder, is_present, one_at_a_time, sibling, write_json
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.metrics.quality import psnr
from siren_ext.progress import NULL, Progress
from siren_ext.schema import convert, to_plain
from siren_ext.stats.keyed import contributions, keyed_test
from siren_ext.stats.shares import exact_interval
from siren_ext.workflows.robustness_result import NONE, NOT_HERE, AttackResult, Robustness

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater

Floats = NDArray[np.float64]
Pictures = list[Tensor]

_FEWEST = 8
EVADE = "evade"
"""The attack that is made with the coater that is measured."""


@dataclass(frozen=True)
class RobustnessConfig(Config):
    """What is measured.

    Attributes
    ----------
    images : int
        Largest number of pictures in the sample.
    side : int
        Longest side in pixels; larger pictures are shrunk first, as before publishing.
    strength : float
        Strength of the coating; 1 is as trained.
    attacks : tuple[str, ...]
        Names of attacks; none for the quick ones.
    false_alarm : float
        Share of untouched uncoated pictures that may score below the cut-off.
    seed : int
        Seed for choosing the sample and for all random numbers.
    """

    images: Annotated[int, Meta(ge=_FEWEST, le=500)] = 48
    side: Annotated[int, Meta(ge=64, le=4096)] = 512
    strength: Annotated[float, Meta(gt=0, le=10)] = 1.0
    attacks: tuple[str, ...] = ()
    false_alarm: Annotated[float, Meta(gt=0, le=0.5)] = 0.05
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.attacks:
            attack_named(name)
            if name not in PICTURES:
                raise ConfigError(
                    f"{name} does not change pictures; expected one of {', '.join(PICTURES)}."
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The attacks, each once."""
        return tuple(dict.fromkeys(self.attacks)) or quick_attacks()


@one_at_a_time
def measure_robustness(
    data: ImageSet,
    coater: Coater,
    out: Path,
    config: RobustnessConfig | None = None,
    *,
    key: CoatingKey | None = None,
    replace_old: bool = False,
    progress: Progress = NULL,
) -> Robustness:
    """Measure what attacks leave of a coating, and write a table and a page.

    Each picture of a sample is coated; the coated and the uncoated copy get the same attack with
    the same draws, are rounded to 8 bits as a file would be, and are scored.

    Parameters
    ----------
    data : ImageSet
        The pictures that will be published, at least 8.
    coater : Coater
        The coater.
    out : Path
        Folder for ``robustness.json``, ``.csv`` and ``.html``, new or empty. Until they are
        written, ``<out>.partial.json`` beside it keeps finished attacks, and the same call resumes.
    config : RobustnessConfig | None
        What is measured; None for the defaults.
    key : CoatingKey | None
        The key of a keyed coater; without one, a message is drawn for this test only.
    replace_old : bool
        Write into a folder that has files; an earlier measurement in it is replaced.
    progress : Progress
        Counts pictures; may cancel.

    Returns
    -------
    Robustness
        The figures. An attack that needs something that is not installed is a row without figures.

    Raises
    ------
    CoaterError
        A key was given for a coater that takes none, or of another length.
    DatasetError
        Fewer than 8 pictures can be read, or ``out`` has other files.
    Cancelled
        The user stopped.

    Notes
    -----
    The figures are about the coating in pictures. What a model learns from coated pictures is
    another question, for which a model has to be trained.
    """
    config, out = config or RobustnessConfig(), Path(out)
    key, origin = _key(coater, key, config.seed)
    _refuse_others(out, replace_old)
    partial = sibling(out, ".partial.json")
    bench = _Bench(coater, key, config, progress)
    clean, problems = _sample(data, config, progress)
    coated = bench.coat(clean)
    likeness = float(np.mean([_psnr(a, b) for a, b in zip(coated, clean, strict=True)]))
    below = cut_off(bench.read(clean)[0], config.false_alarm)
    names = (NONE, *config.names)
    rows = _rows(bench, names, list(zip(coated, clean, strict=True)), below, partial)
    result = Robustness(
        coater=coater.fingerprint,
        key=origin,
        images=len(clean),
        side=config.side,
        seed=config.seed,
        false_alarm=config.false_alarm,
        psnr_db=likeness,
        cut_off=below,
        rows=rows,
        problems=problems,
    )
    result.write(out)
    partial.unlink(missing_ok=True)
    return result


@dataclass(frozen=True)
class _Message:
    """Share of its bits that are right, and p of the test of all pictures together."""

    bits_right: float | None = None
    key_p: float | None = None


@dataclass(frozen=True)
class _Bench:
    """Attacks pictures and scores them."""

    coater: Coater
    key: CoatingKey | None
    config: RobustnessConfig
    progress: Progress

    def coat(self, pictures: Pictures) -> Pictures:
        """Coated copies."""
        self.progress.stage("Coating", len(pictures))
        coated = []
        for picture in pictures:
            one = coat_images(
                _floats(picture), self.coater, strength=self.config.strength, key=self.key
            )
            coated.append(_bytes(one))
            self.progress.advance()
        return coated

    def row(self, name: str, pairs: Sequence[tuple[Tensor, Tensor]], below: float) -> AttackResult:
        """The figures of one attack on pairs of a coated and an uncoated picture."""
        steps = [] if name == NONE else steps_of([name], {})
        settings = dict(steps[0].settings) if steps else {}
        if name == EVADE:  # who knows the coater is the one to fear
            settings["coater"] = "the one that is tested"
        if name in NOT_HERE:
            return AttackResult(name, settings, problem=NOT_HERE[name])
        self.progress.stage(f"Attack: {name}", len(pairs))
        attacked: tuple[Pictures, Pictures] = ([], [])
        likeness = []
        try:
            for index, pair in enumerate(pairs):
                for picture, into in zip(pair, attacked, strict=True):
                    into.append(self._attacked(name, settings, picture, index))
                likeness.append(_psnr(attacked[0][-1], pair[0]))
                self.progress.advance()
        except (ConfigError, MissingExtraError, ModelError, ImageError) as error:
            return AttackResult(name, settings, problem=str(error))
        (coated, written), (clean, chance) = map(self.read, attacked)
        apart = separation(coated, clean)
        found, false = int((coated < below).sum()), int((clean < below).sum())
        found_range, false_range = (exact_interval(n, len(pairs)) for n in (found, false))
        changed = [value for value in likeness if np.isfinite(value)]
        return AttackResult(
            attack=name,
            settings=settings,
            psnr_db=float(np.mean(changed)) if changed else None,
            area=apart.area,
            area_low=apart.low,
            area_high=apart.high,
            found=found,
            found_low=found_range[0],
            found_high=found_range[1],
            false_alarms=false,
            false_low=false_range[0],
            false_high=false_range[1],
            bits_right=written.bits_right,
            key_p=written.key_p,
            uncoated_bits_right=chance.bits_right,
            uncoated_key_p=chance.key_p,
        )

    def _attacked(self, name: str, settings: dict[str, Any], picture: Tensor, index: int) -> Tensor:
        """A picture after an attack; both copies of a picture get the same draws."""
        if name == NONE:
            return picture
        digest = hashlib.sha256(f"{self.config.seed}\n{name}\n{index}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        images = _floats(picture).to(self.coater.device)
        if name == EVADE:
            given = {"radius": settings["radius"], "steps": settings["steps"]}
            return _bytes(hidden_from(images, self.coater, **given))
        return _bytes(ATTACKS[name].function(images, generator, **settings))

    @torch.no_grad()
    def read(self, pictures: Pictures) -> tuple[Floats, _Message]:
        """A score per picture, small if it looks coated, and what is read of the message."""
        size = self.coater.config.working_size
        views = [square_view(_floats(picture), size) for picture in pictures]
        rows = [self.coater.features(part.to(self.coater.center)) for part in _batches(views)]
        features = torch.cat(rows)
        if self.key is None:
            return self.coater.distance(features).double().cpu().numpy(), _Message()
        values, signs = features.double().cpu().numpy(), self.key.signs().astype(np.float64)
        right = float((values * signs > 0).mean())
        found = keyed_test(values, signs).p_value
        return -(contributions(values) @ signs) / len(signs), _Message(right, found)


def _key(coater: Coater, key: CoatingKey | None, seed: int) -> tuple[CoatingKey | None, str]:
    """The key to coat with, and where it comes from."""
    bits = coater.config.message_bits
    if key is None:
        if not bits:
            return None, NONE
        # by the seed, so that a stopped call resumes; the message hides nothing here
        signs = np.random.default_rng(seed).integers(0, 2, bits) * 2 - 1
        return CoatingKey(signs, bytes(32)), "drawn for this test"
    if not bits:
        raise CoaterError("A key was given, but this coater is not keyed; leave the key out.")
    if key.bits != bits:
        raise CoaterError(f"The key has {key.bits} bits; this coater takes keys of {bits}.")
    return key, "given"


def _refuse_others(out: Path, replace_old: bool) -> None:
    """Raise unless the output folder is new or empty, or may be written into."""
    if not is_present(out) or (is_folder(out) and (replace_old or not any(out.iterdir()))):
        return
    raise DatasetError(
        f"{out} is a file, or a folder that already has files in it, and nothing was overwritten. "
        "Choose a new folder."
    )


def _sample(
    data: ImageSet, config: RobustnessConfig, progress: Progress
) -> tuple[Pictures, dict[str, str]]:
    """The pictures as bytes, and what was left out."""
    order = np.random.default_rng(config.seed).permutation(len(data))
    problems: dict[str, str] = {}
    pictures: Pictures = []
    progress.stage("Reading", min(len(data), config.images))
    for index in order:
        if len(pictures) == config.images:
            break
        item = data.items[int(index)]
        try:
            picture = to_tensor(read_picture(item.path).rgb)
        except (ImageError, OSError) as error:
            problems[item.name] = str(error)
            continue
        height, width = picture.shape[2:]
        scale = config.side / max(height, width)
        if scale < 1:
            sides = (max(16, round(side * scale)) for side in (height, width))
            picture = resize(picture, *sides)
        if min(picture.shape[2:]) < 16:
            problems[item.name] = "It is smaller than 16 pixels, which is too small for a coating."
            continue
        pictures.append(_bytes(picture))
        progress.advance(1, item.name)
    if len(pictures) < _FEWEST:
        reasons = "".join(f" {name}: {why}" for name, why in list(problems.items())[:3])
        raise DatasetError(
            f"{data.root} has {len(pictures)} usable pictures; expected at least {_FEWEST}."
            f"{reasons}"
        )
    return pictures, problems


def _identity(pictures: Pictures, bench: _Bench) -> str:
    """A hash of everything that decides a row."""
    digest = hashlib.sha256(bench.coater.fingerprint.encode())
    digest.update(b"" if bench.key is None else bench.key.fingerprint().encode())
    digest.update(repr(replace(bench.config, attacks=())).encode())
    for picture in pictures:
        digest.update(repr(tuple(picture.shape)).encode() + picture.numpy().tobytes())
    return digest.hexdigest()


def _rows(
    bench: _Bench,
    names: Sequence[str],
    pairs: Sequence[tuple[Tensor, Tensor]],
    below: float,
    partial: Path,
) -> tuple[AttackResult, ...]:
    """The figures of all attacks, with those that a stopped call left in ``partial``."""
    rows = _finished(partial, identity := _identity([clean for _, clean in pairs], bench))
    for name in names:
        if name not in rows:
            rows[name] = bench.row(name, pairs, below)
            plain = [to_plain(row) for row in rows.values()]
            write_json(partial, {"identity": identity, "rows": plain})
    return tuple(rows[name] for name in names)


def _finished(partial: Path, identity: str) -> dict[str, AttackResult]:
    """Rows of a stopped call, by the name of the attack."""
    if not is_file(partial):
        return {}
    try:
        kept = read_json(partial, error=DatasetError)
        if not isinstance(kept, dict) or kept.get("identity") != identity:
            return {}
        rows = convert(kept["rows"], list[AttackResult], name=partial.name, error=DatasetError)
    except (SirenError, KeyError):
        return {}  # damaged, so measured again
    return {row.attack: row for row in rows if not row.problem}


def _batches(views: Pictures, size: int = 16) -> Iterator[Tensor]:
    """Views of equal size in batches."""
    for start in range(0, len(views), size):
        yield torch.cat(views[start : start + size])


def _bytes(images: Tensor) -> Tensor:
    """A picture as the values of a file, which take a quarter of the memory."""
    return (quantise(images.float().cpu()) * 255).round().to(torch.uint8)


def _floats(picture: Tensor) -> Tensor:
    """A picture in [0,1]."""
    return picture.float() / 255


def _psnr(changed: Tensor, before: Tensor) -> float:
    """Likeness in dB, infinite for equal pictures; another size is brought back first."""
    first, second = _floats(changed), _floats(before)
    return float(psnr(resize(first, *second.shape[2:]), second))
