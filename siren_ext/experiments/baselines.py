"""Published methods: how often they accuse innocent pictures, and find protected ones.

``python -m siren_ext.experiments.baselines --out runs/baselines --quick`` takes a few minutes. Half
of the bundled icons belong to the owner, the other half are innocent pictures of the same kind.
Evidence, trained models and the rows of finished methods are kept in OUT; a second call reads them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from siren_ext.baselines.base import Baseline, Floats, Protected
from siren_ext.baselines.diagnosis import Diagnosis
from siren_ext.baselines.frequency import FrequencyPattern
from siren_ext.baselines.luo import Luo
from siren_ext.baselines.rates import SAMPLE, rates
from siren_ext.baselines.similarity import Similarity, backbone, cosines
from siren_ext.baselines.yu import Yu
from siren_ext.cli.common import command, say, watched
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import quantise
from siren_ext.documents import read_json
from siren_ext.errors import ConfigError, MissingExtraError, ModelError
from siren_ext.experiments.baseline_models import SEED, STEPS, pictures_after_training
from siren_ext.experiments.baseline_networks import diagnosis_of, yu_pair
from siren_ext.experiments.baseline_sets import GENERATED, generated, named_folder, pictures_of
from siren_ext.experiments.baseline_tables import (
    ALPHAS,
    CLEAN,
    PROTECTED,
    TRAINED,
    UNTRIGGERED,
    Row,
    after_steps,
    learning_table,
    page_table,
)
from siren_ext.experiments.layout import open_log
from siren_ext.experiments.pages import write_between
from siren_ext.experiments.rows import write_rows
from siren_ext.files import atomic, write_json
from siren_ext.metrics.quality import psnr
from siren_ext.progress import NULL, Progress
from siren_ext.samples.folder import sample_set

SIZE = 128
HALF = 48
OTHER_ICONS = "other icons"
METHODS = ("yu", "luo", "diagnosis", "trigger", "eff0", "frequency")


@dataclasses.dataclass(frozen=True)
class Length:
    """How much is computed.

    Attributes
    ----------
    draws : int
        Tests per method and set.
    pictures : int
        Pictures per innocent set.
    yu, classifier : int
        Training steps.
    """

    draws: int
    pictures: int
    yu: int
    classifier: int


QUICK = Length(draws=200, pictures=60, yu=400, classifier=150)
FULL = Length(draws=1000, pictures=200, yu=4000, classifier=400)


@dataclasses.dataclass
class Study:
    """Pictures and methods of a study.

    Attributes
    ----------
    out : Path
        Its folder.
    length : Length
        How much is computed.
    corpus : Tensor
        General pictures: they train the pair of Yu et al., and are the benign ones of similarity.
    innocents : dict[str, Tensor]
        Innocent pictures by name.
    progress : Progress
        Told of every step.
    steps : tuple[int, ...]
        Training steps of the models of protected images, in rising order.
    """

    out: Path
    length: Length
    corpus: Tensor
    innocents: dict[str, Tensor]
    progress: Progress = NULL
    steps: tuple[int, ...] = (STEPS,)

    def __post_init__(self) -> None:
        """Read the owner's images."""
        icons = pictures_of(sample_set(), SIZE, 2 * HALF)
        self.owned = icons[::2]
        self.captions = tuple(sample_set().captions()[::2])
        self.innocents = {OTHER_ICONS: icons[1::2], **self.innocents}

    def method(self, name: str) -> Callable[[int], Baseline]:
        """A method by its name in :data:`METHODS`; called with a draw, it may take a new secret."""
        if name == "luo":
            return lambda draw: Luo(seed=draw)
        if name == "frequency":
            return lambda draw: FrequencyPattern(seed=draw, size=SIZE, strength=0.25)
        if name == "yu":
            path = self.out / "yu.safetensors"
            pair = yu_pair(self.corpus, self.length.yu, path, self.progress)
            return lambda draw: dataclasses.replace(pair, seed=draw)
        if name == "eff0":
            return partial(_always, Similarity(backbone("eff0"), self.owned, self.corpus))
        found = diagnosis_of(self.owned, name, self.length.classifier, self.progress)
        return partial(_always, found)

    def rows(self, name: str, trained: bool) -> list[Row]:
        """All figures of one method.

        Parameters
        ----------
        name : str
            In :data:`METHODS`.
        trained : bool
            Whether models are trained on protected images too.
        """
        known = "_".join(["_trained", *map(str, self.steps)]) if trained else ""
        kept = self.out / f"{name}{known}.json"
        if kept.is_file():
            return list(read_json(kept, error=ConfigError))
        make = self.method(name)
        one = make(0)
        if isinstance(one, Diagnosis):
            one = self._compared(one, one.warp.prompt if trained else None)
            make = partial(_always, one)
        protected = one.protect(self.owned, self.captions)
        marked = torch.tensor(protected.marked)
        quality = psnr(protected.images[marked], self.owned[marked]) if marked.any() else None
        pools = {label: one.evidence(found) for label, found in self.innocents.items()}
        pools[PROTECTED] = one.evidence(self._all_marked(one, protected.images))
        likeness: dict[str, float | str] = {}
        compared: dict[str, Baseline] = {}
        for label, prompt, learnt in self._learnt(name, one, protected) if trained else ():
            pools[label], likeness[label] = one.evidence(learnt), self._likeness(learnt)
            if isinstance(one, Diagnosis):
                compared[label] = self._compared(one, prompt)
        self._keep(name, pools)
        result = []
        for label, pool in pools.items():
            guilty = label == PROTECTED or label.startswith(TRAINED)
            test = (
                partial(_always, compared.get(label, one)) if guilty or label in compared else make
            )
            for rate in rates(test, pool, ALPHAS, draws=self.length.draws):
                row = {"method": one.name, "pictures": label, "pool": len(pool)}
                row |= dataclasses.asdict(rate) | {"rate": rate.rate, "sample": SAMPLE}
                row["bit_accuracy"] = _accuracy(one, pool) if guilty else ""
                row["psnr_db"] = float(quality.mean()) if guilty and quality is not None else ""
                row["likeness"] = likeness.get(label, "")
                result.append(row)
        write_json(kept, result)
        return result

    def _learnt(
        self, name: str, one: Baseline, protected: Protected
    ) -> Iterator[tuple[str, Callable[[str], str], Tensor]]:
        """How models of protected images, and clean ones, are asked, and their pictures."""
        clean = self._clean()
        for steps in self.steps:
            for how, prompt in self._prompts(one).items():
                of_clean = "_with_trigger" if prompt("") else ""
                for label, data, folder, asked in (
                    (after_steps(TRAINED, steps), protected, name, how.replace(" ", "_")),
                    (after_steps(CLEAN, steps), clean, "clean", of_clean),
                ):
                    place = self.out / "models" / f"{folder}_{steps}"
                    yield (
                        label + how,
                        prompt,
                        pictures_after_training(
                            data, place, prompt, self.progress, steps=steps, name=f"pictures{asked}"
                        ),
                    )

    def _clean(self) -> Protected:
        """The owner's images and captions as they are."""
        return Protected(self.owned, self.captions, (False,) * len(self.owned))

    def _compared(self, one: Diagnosis, prompt: Callable[[str], str] | None) -> Diagnosis:
        """DIAGNOSIS with pictures of a clean model of its own, or other icons if none is asked."""
        if prompt is None:
            return one.compared_with(self.innocents[OTHER_ICONS])
        asked = "pictures_with_trigger" if prompt("") else "pictures"
        place = self.out / "models" / f"reference_{self.steps[-1]}"
        return one.compared_with(
            pictures_after_training(
                self._clean(), place, prompt, self.progress, steps=self.steps[-1], name=asked,
                seed=SEED + 1,
            )
        )  # fmt: skip

    def _all_marked(self, one: Baseline, images: Tensor) -> Tensor:
        """The protected images; for DIAGNOSIS all warped, as the classifier was trained."""
        return quantise(one.warp.apply(self.owned)) if isinstance(one, Diagnosis) else images

    def _likeness(self, pictures: Tensor) -> float | str:
        """Mean cosine of pictures and the owner's images; nothing without the network."""
        try:
            embed = backbone("eff0")
        except MissingExtraError:
            return ""
        found = [np.asarray(embed(part)) for part in (pictures, self.owned)]
        return float(cosines(found[0], found[1]).mean())

    def _prompts(self, one: Baseline) -> dict[str, Callable[[str], str]]:
        """How a model is asked, by what stands behind its name."""
        if not isinstance(one, Diagnosis):
            return {"": str}
        plain = {} if one.warp.mode == "unconditional" else {UNTRIGGERED: str}
        return {"": one.warp.prompt, **plain}

    def _keep(self, name: str, pools: dict[str, Floats]) -> None:
        """Store the evidence, from which all rates can be computed again."""
        with atomic(self.out / f"{name}.npz") as path, path.open("wb") as stream:
            arrays: dict[str, Any] = {
                label.replace(" ", "_"): rows for label, rows in pools.items()
            }
            np.savez_compressed(stream, **arrays)


def _always(one: Baseline, _draw: int) -> Baseline:
    """The same method for every draw."""
    return one


def _accuracy(one: Baseline, pool: Floats) -> float | str:
    return float((pool == one.string).mean()) if isinstance(one, Luo | Yu) else ""


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _content(pictures: Tensor) -> str:
    """Stands for what is in pictures."""
    return hashlib.sha256(pictures.contiguous().numpy().tobytes()).hexdigest()[:16]


@command(
    app,
    "baselines",
    example="python -m siren_ext.experiments.baselines --out runs/baselines --quick",
)
def baselines(
    out: Annotated[Path, typer.Option("--out", help="Folder of the study.")],
    quick: Annotated[bool, typer.Option("--quick", help="A few minutes.")] = False,
    corpus: Annotated[
        Path | None,
        typer.Option("--corpus", help="Folder of general pictures; drawn ones if not given."),
    ] = None,
    innocent: Annotated[
        list[str] | None,
        typer.Option("--innocent", help="NAME=FOLDER of innocent pictures; may be repeated."),
    ] = None,
    only: Annotated[
        str, typer.Option("--only", help=f"Of {', '.join(METHODS)}; separated by commas.")
    ] = "",
    train: Annotated[
        str,
        typer.Option("--train", help="Methods whose protected images also train a pocket model."),
    ] = "",
    steps: Annotated[
        list[int] | None,
        typer.Option("--steps", min=1, help="Training steps of these; may be repeated."),
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="CSV table; by default in OUT.")] = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="Page whose tables are replaced.")
    ] = None,
) -> None:
    """Measure false accusations and power of published methods."""
    wanted = [name for name in only.split(",") if name] or list(METHODS)
    trained = {name for name in train.split(",") if name}
    if unknown := sorted({*wanted, *trained} - set(METHODS)):
        raise typer.BadParameter(f"{unknown[0]!r} is no method; expected {', '.join(METHODS)}.")
    if idle := sorted(trained - set(wanted)):
        raise typer.BadParameter(f"--train names {idle[0]!r}, which --only leaves out.")
    length = QUICK if quick else FULL
    count = length.pictures
    sets = dict(named_folder(text) for text in innocent or ())
    innocents = {kind: generated(kind, count, SIZE, 1) for kind in GENERATED}
    innocents |= {
        name: pictures_of(ImageSet.open(folder), SIZE, count) for name, folder in sets.items()
    }
    general = (
        pictures_of(ImageSet.open(corpus), SIZE, 5 * count)
        if corpus
        else torch.cat([generated(kind, count, SIZE, 2) for kind in GENERATED])
    )
    out.mkdir(parents=True, exist_ok=True)
    facts = {
        "quick": quick,
        "corpus": _content(general),
        "sets": {k: _content(v) for k, v in innocents.items()},
    }
    open_log(out, facts)
    rows: list[Row] = []
    with watched(False) as progress:
        lengths = tuple(sorted(set(steps or (STEPS,))))
        study = Study(out, length, general, innocents, progress, lengths)
        for name in wanted:
            try:
                rows += study.rows(name, name in trained)
            except (MissingExtraError, ModelError) as error:
                say(f"{name} is left out: {error}")
    write_rows(rows, csv or out / "baselines.csv", digits=5)
    for row in rows:
        say(json.dumps(row, ensure_ascii=False))
    if page is not None:
        write_between(page, "baselines", page_table(rows))
        if trained:
            write_between(page, "learning", learning_table(rows))


if __name__ == "__main__":
    app()
