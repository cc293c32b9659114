"""Measures rows of the paper's tables: trains, asks and tests models, each of them once.

Of every row there are guilty models, which are trained on coated images, and innocent ones, which
differ from them in nothing but that. The pictures of one more clean model, personalised in the
ordinary way, are the reference, as in the paper. A change of a suspect's pictures is not made to
the reference, because whoever tests does not know of it.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from siren_ext.attacks.apply import Step, handle_folder
from siren_ext.attacks.uncoat_training import UncoatConfig
from siren_ext.attacks.weights import attack_weights
from siren_ext.baselines.similarity import Embed
from siren_ext.coater.coater import Coater
from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion.load import BUNDLED, model_fingerprint, quiet_libraries
from siren_ext.errors import ConfigError
from siren_ext.experiments import paper_attacks
from siren_ext.experiments.paper_cells import (
    NOISES,
    SEEDS,
    Cell,
    Made,
    PaperConfig,
    digest,
    mixture,
    seed_of,
    with_trigger,
    with_word,
)
from siren_ext.experiments.paper_figures import picture_figures
from siren_ext.experiments.paper_looks import Looks, kept_looks
from siren_ext.experiments.study import coated_set, experiment_key, numbered_set
from siren_ext.files import sha256_file
from siren_ext.personalize.config import FOLDERS, WHOLE_MODELS, PersonalizeConfig
from siren_ext.personalize.run import personalize
from siren_ext.pocket.parts import FEW_STEPS
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.measure import measure_preference
from siren_ext.progress import Named, Progress
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import keyed_test
from siren_ext.suspects.base import PromptPlan, generate_images
from siren_ext.suspects.local import LocalSuspect, WeightedAdapter
from siren_ext.training.prompts import class_prompt
from siren_ext.verdict.whole import whole_of
from siren_ext.workflows.cached_scores import cached_scores
from siren_ext.workflows.experiment_run import PROMPTS, spread_captions

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class PaperStudy:
    """Everything that the rows need.

    Attributes
    ----------
    data : ImageSet
        The owner's clean images, with captions.
    coater : Coater
        A keyed coater, or one without a key, of which only pictures are tested.
    class_word : str
        Noun for what the images show.
    base : str
        The base model.
    out : Path
        Folder of models, pictures and scores, which all tables and sets may share.
    config : PaperConfig
        How much is made.
    progress : Progress
        Receives every step; may cancel.
    others : ImageSet | None
        Other people's images, for rows with further training, or with a network that uncoats.
    other_coater : Coater | None
        Another coater, for such networks.
    uncoating : UncoatConfig
        Their shape and training.
    networks : Mapping[str, Embed]
        Compare pictures with the images; without any, similarity is left out.
    """

    data: ImageSet
    coater: Coater
    class_word: str
    base: str
    out: Path
    config: PaperConfig
    progress: Progress
    others: ImageSet | None = None
    other_coater: Coater | None = None
    uncoating: UncoatConfig = paper_attacks.UNCOATING
    networks: Mapping[str, Embed] = field(default_factory=dict)

    def rows(self, table: str, cell: Cell) -> list[Row]:
        """The figures of a row, one for each guilty and innocent model.

        Parameters
        ----------
        table : str
            Name of its table.
        cell : Cell
            The row.

        Returns
        -------
        list of dict
            ``tpr_ALPHA`` for the levels of :data:`~siren_ext.experiments.measures.LEVELS`: how many
            tests of ``size`` pictures accuse the model; ``auc``; ``p_pictures`` and ``p_few`` of
            the keyed test, for all pictures and the first ``size``; ``p_file`` of the test of the
            model's file, ``p_bits`` of its bits alone, and its mean ``loss`` on the owner's images
            at small noise levels, all None if it was not asked; and, of guilty models, what
            :func:`~siren_ext.experiments.paper_looks.kept_looks` gives.

        Raises
        ------
        Cancelled
            If the user stopped; the same call resumes.
        """
        reference = self.scores("reference", 0, cell.clean)
        found = []
        for role in ("guilty", "innocent"):
            for number in self.config.numbers(role):
                suspect = self.scores(role, number, cell)
                known = self.known(role, number, table, cell)
                signs = self._key.signs() if self.coater.keyed else ()
                known |= picture_figures(suspect, reference, signs, self.config, number)
                known |= self._looks(role, number, cell) | self._isolated(role, number, cell)
                found.append(known | self._file_figures(role, number, cell))
                shutil.rmtree(self._changed(role, number, cell), ignore_errors=True)
        shutil.rmtree(self._changed("reference", 0, cell.clean), ignore_errors=True)
        return found

    def known(self, role: str, number: int, table: str, cell: Cell) -> Row:
        """What every row says of its model."""
        return {
            "table": table,
            "row": cell.row,
            "set": self.data.name,
            "study": self.name,
            "role": role,
            "model": number,
            "steps": self._steps(cell.made),
        }

    @cached_property
    def name(self) -> str:
        """Stands for what all figures depend on: images, coater, base model and settings."""
        counts = ("seeds", "innocents", "first")
        settings = {k: v for k, v in self.config.to_dict().items() if k not in counts}
        return digest(self.data.hash, self.coater.fingerprint, self.of_base(self.base), settings)

    def of_base(self, base: str) -> str:
        """What is in a base model; the name of a bundled one."""
        if base not in self._bases:
            self._bases[base] = base if base in BUNDLED else model_fingerprint(base)
        return self._bases[base]

    @cached_property
    def _bases(self) -> dict[str, str]:
        """Fingerprints of base models that are known already."""
        return {}

    def pictures(self, role: str, number: int, cell: Cell) -> Path:
        """Folder of a model's pictures, made unless they exist; the name stands for how.

        Parameters
        ----------
        role : {"guilty", "innocent", "reference"}
            What the model is trained on.
        number : int
            Which of the models that differ in nothing but their seed.
        cell : Cell
            The row.

        Raises
        ------
        Cancelled
            If the user stopped; the same call resumes.
        """
        folder, plan = self._answers(role, number, cell)
        shown = Named(self.progress, f"{cell.row or 'reference'}, {role} {number}")
        generate_images(self._model(role, number, cell.made), plan, folder, progress=shown)
        return folder

    def _answers(self, role: str, number: int, cell: Cell) -> tuple[Path, PromptPlan]:
        """Where a model's pictures belong, and how it is asked for them."""
        name, _, _ = self._identity(role, number, cell.made)
        count = self.config.reference if role == "reference" else self.config.mimicries
        plan = self._plan(role, number, count, cell.asked)
        return self.out / "pictures" / digest(name, plan.to_dict()), plan

    @cached_property
    def _key(self) -> Any:
        return experiment_key(0, self.coater.config.message_bits)

    @cached_property
    def coated(self) -> ImageSet:
        """The coated images, in the order of the originals."""
        folder = self.out / "coated" / digest(self.data.hash, self.coater.fingerprint)
        return coated_set(self.data, self.coater, folder, self.progress)

    def _steps(self, made: Made) -> int:
        return int(made.training.get("steps", self.config.steps))

    def _identity(self, role: str, number: int, made: Made) -> tuple[str, Made, int]:
        """Name of a model's files, how it is made, and its training seed."""
        made = dataclasses.replace(made, base=made.base or self.base)
        if role != "guilty":  # only coated images have triggers
            made = dataclasses.replace(made, share=0.0, trigger="")
        seed = seed_of(role, number)
        base = self.of_base(made.base)
        coater = self.coater.fingerprint if made.share else ""
        parts = [self.data.hash, coater, base, self._steps(made), seed, made.to_plain()]
        if made.further and self.others is not None:
            parts.append(self.others.hash)
        if made.few_steps:
            parts.append(sha256_file(FEW_STEPS))
        return digest(*parts), made, seed

    def _trained(self, name: str, role: str, number: int, made: Made) -> str:
        """Name of the files of a model that is merged at any strength."""
        if made.strength == 1:
            return name
        return self._identity(role, number, dataclasses.replace(made, strength=1.0))[0]

    def _model(self, role: str, number: int, given: Made, *, exact: bool = False) -> LocalSuspect:
        """A model, trained unless it exists; ``exact`` for 32-bit numbers."""
        name, made, seed = self._identity(role, number, given)
        dtype = torch.float32 if exact else None
        if made.few_steps:
            own = self._model(role, number, dataclasses.replace(made, few_steps=False))
            return LocalSuspect(made.base, [*own.adapters, WeightedAdapter(FEW_STEPS)], dtype=dtype)
        path = self._place(self._trained(name, role, number, made), made)
        if made.further:
            return self._trained_further(role, number, made, path, exact=exact)
        whole = made.training.get("method") in WHOLE_MODELS
        if not path.exists():
            if made.weights:
                plain = dataclasses.replace(made, weights="")
                self._model(role, number, plain)
                before = self._place(self._identity(role, number, plain)[0], plain)
                attack_weights(before, path, [made.weights], {})
            else:
                self._train(made, seed, path, Named(self.progress, f"{role} {number}"))
        if whole:
            return LocalSuspect(path, dtype=dtype)
        return LocalSuspect(made.base, [WeightedAdapter(path, made.strength)], dtype=dtype)

    def _trained_further(
        self, role: str, number: int, made: Made, path: Path, *, exact: bool
    ) -> LocalSuspect:
        """A finished model, trained again on other people's images."""
        if self.others is None:
            raise ConfigError("This row needs other people's images: give a folder with --others.")
        merged = path.with_suffix("")
        if not merged.is_dir():
            first = self._model(role, number, dataclasses.replace(made, further=0), exact=True)
            part = merged.with_name(f"{merged.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            with quiet_libraries():
                first.pipeline.save_pretrained(part, safe_serialization=True)
            first.release()
            part.rename(merged)
        settings = {"steps": made.further, "seed": seed_of(role, number) + SEEDS // 2}
        shown = Named(self.progress, f"{role} {number}, further")
        training = PersonalizeConfig.from_dict(settings)
        personalize(self.others, merged, training, path, progress=shown)
        return LocalSuspect(merged, path, dtype=torch.float32 if exact else None)

    def _train(self, made: Made, seed: int, path: Path, progress: Progress) -> None:
        settings = {"steps": self.config.steps, "seed": seed, **made.training}
        work = self.out / "work" / path.stem
        images = self._training_images(made, seed, work)
        paper_attacks.train_model(images, made.base, settings, path, progress)
        shutil.rmtree(work, ignore_errors=True)

    def _place(self, name: str, made: Made) -> Path:
        folder = made.training.get("method") in FOLDERS
        path = self.out / "models" / (name if folder else f"{name}.safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _training_images(self, made: Made, seed: int, work: Path) -> ImageSet:
        """Coated and clean images mixed, then handled."""
        used, coated = mixture(len(self.data), made, seed)
        items = [
            with_trigger(self.coated.items[row], made.trigger)
            if row in coated
            else self.data.items[row]
            for row in used
        ]
        images = numbered_set(items, work / "mixed")
        handled = made.handling
        return handle_folder(images, work / "handled", handled, seed=seed) if handled else images

    def _isolated(self, role: str, number: int, cell: Cell) -> Row:
        """How well an attacker who unlearns images has found the coated ones."""
        if paper_attacks.RATE not in cell.made.training:
            return {}
        name, made, seed = self._identity(role, number, cell.made)
        used, coated = mixture(len(self.data), made, seed)
        places = [place for place, row in enumerate(used) if row in coated]
        return paper_attacks.isolation_figures(self._place(name, made), places)

    def _looks(self, role: str, number: int, cell: Cell) -> Row:
        """How a guilty model's pictures look as they are tested; of a change, the first model's."""
        if role != "guilty" or (number and (cell.after or cell.uncoat)):
            return {}
        _, scored = self._after(role, number, cell)
        file = self.out / "looks" / f"{digest(scored, self.looks.name)}.json"
        if not file.is_file():
            tested = self._tested(role, number, cell)
            self.looks.keep(self.pictures(role, number, cell), tested, file)
        return kept_looks(file)

    @cached_property
    def looks(self) -> Looks:
        """Measures how pictures look beside the clean images."""
        return Looks(self.data, self.networks)

    def _after(self, role: str, number: int, cell: Cell) -> tuple[list[Step], str]:
        """What happens to a model's pictures, and a name for their scores."""
        folder, _ = self._answers(role, number, cell)
        steps = list(cell.after)
        changes: list[list[Any]] = [[step.name, dict(step.settings)] for step in steps]
        if cell.uncoat:
            known = (self.data, self.others, self.coater, self.other_coater, self.uncoating)
            attacker = paper_attacks.Uncoating(*known, self.out, self.progress)
            step, network = attacker.step(cell.uncoat, self.pictures(role, number, cell))
            steps.append(step)
            changes.append([step.name, network])
        return steps, digest(folder.name, changes, self.coater.fingerprint)

    def _changed(self, role: str, number: int, cell: Cell) -> Path:
        """Where a model's changed pictures are until all is measured on them."""
        return self.out / "work" / self._after(role, number, cell)[1]

    def _tested(self, role: str, number: int, cell: Cell) -> Path:
        """Folder of a model's pictures as they are tested; a change is made unless it is there."""
        before, (after, _) = self.pictures(role, number, cell), self._after(role, number, cell)
        if not after:
            return before
        out, shown = self._changed(role, number, cell), Named(self.progress, f"{role} {number}")
        return handle_folder(ImageSet.open(before), out, after, seed=number, progress=shown).root

    def scores(self, role: str, number: int, cell: Cell) -> ScoreSet:
        """Scores of a model's pictures as they are tested; arguments as for :meth:`pictures`."""
        _, scored = self._after(role, number, cell)
        file = self.out / "scores" / f"{scored}.json"
        if file.is_file():
            return ScoreSet.load(file)
        shown = Named(self.progress, f"{cell.row or 'reference'}, {role} {number}")
        file.parent.mkdir(parents=True, exist_ok=True)
        return cached_scores(self._tested(role, number, cell), self.coater, file, progress=shown)

    def _plan(self, role: str, number: int, count: int, asked: Mapping[str, Any]) -> PromptPlan:
        settings: dict[str, Any] = {
            "prompts": spread_captions(self.data, PROMPTS),
            "count": count,
            "seed": seed_of(role, number) * NOISES,
            "steps": self.config.sampling_steps,
            "guidance": self.config.guidance,
        }
        settings |= asked
        if settings["prompts"] == ("class",):
            settings["prompts"] = (class_prompt(self.class_word),)
        return PromptPlan(**settings)

    def _file_figures(self, role: str, number: int, cell: Cell) -> Row:
        """What the model's file says; None where only the pictures differ."""
        if not self.config.file or cell.after or cell.uncoat or not self.coater.keyed:
            return dict.fromkeys(("p_file", "p_bits", "loss"))
        name, _, _ = self._identity(role, number, cell.made)
        plan = PreferenceConfig()
        file = self.out / "files" / f"{digest(name, self.coater.fingerprint, plan.to_dict())}.json"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            suspect = self._model(role, number, cell.made, exact=True)
            data, label = with_word(self.data, cell.made), f"{cell.row}, {role} {number}"
            shown = Named(self.progress, label)
            measure_preference(suspect, data, self.coater, plan, progress=shown).save(file)
        kept = ScoreSet.load(file)
        assert kept.features is not None
        whole = whole_of(kept, self._key, self.coater)
        assert whole is not None  # the plan records the field
        bits, loss = keyed_test(kept.features, self._key.signs()), float(kept.scores.mean())
        return {"p_file": whole.p_value, "p_bits": bits.p_value, "loss": loss}
