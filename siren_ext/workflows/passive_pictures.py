"""A passive report where only a suspect's pictures or its API are at hand; it can be resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion import pipelines
from siren_ext.errors import ConfigError
from siren_ext.files import one_at_a_time, sibling
from siren_ext.passive.config import LikenessConfig
from siren_ext.passive.image_facts import NEAR_COPY, read_facts
from siren_ext.passive.judge import KeyedEvidence, judge
from siren_ext.passive.judge_config import JudgeConfig
from siren_ext.passive.likeness import likeness_table, near_pictures, redrawn_distances
from siren_ext.passive.owned_sets import OwnedSets, read_owned_sets
from siren_ext.progress import NULL, Named, Progress
from siren_ext.report.passive_report import write_passive_report
from siren_ext.suspects.base import PromptPlan, Suspect, generate_images, read_missed
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.suspects.redraw import redrawer
from siren_ext.suspects.responses import Refused
from siren_ext.workflows.passive_evidence import PassiveEvidence

if TYPE_CHECKING:
    from siren_ext.diffusion.load import Pipeline
    from siren_ext.keys.signing import Signer
    from siren_ext.passive.likeness import Floats
    from siren_ext.suspects.base import Redraw

KIND = "likeness"
"""``source["kind"]`` of tables of distances."""
FEWEST_PICTURES = 10
"""Pictures of a suspect below which nothing is compared."""
_NO_CAPTION = "an image"


@one_at_a_time
def picture_evidence(
    published: ImageSet,
    unpublished: ImageSet,
    suspect: Suspect,
    out: Path,
    measured: LikenessConfig | None = None,
    config: JudgeConfig | None = None,
    *,
    control: Suspect | None = None,
    captions: bool = True,
    keyed: KeyedEvidence | None = None,
    signer: Signer | None = None,
    progress: Progress = NULL,
) -> PassiveEvidence:
    """Test whether a model's pictures are nearer to published images than to unpublished ones.

    Parameters
    ----------
    published, unpublished : ImageSet
        The owner's published images, and others of the same kind that nobody has seen.
    suspect : Suspect
        A folder of pictures, or a model that makes some: then pictures are requested with the
        captions of all images of both sets, and where possible every image is redrawn.
    out : Path
        Folder for the report. Pictures that are made are kept in ``<out>.pictures``, from which the
        same call resumes.
    measured : LikenessConfig | None
        How pictures are made and compared; None for the defaults.
    config : JudgeConfig | None
        How strict the verdict is; None for the defaults. Its ``evidence`` is not used.
    control : Suspect | None
        A model that cannot have seen the published images, or a folder of its pictures.
    captions : bool
        Whether pictures are requested with the images' captions; else all with the same words.
    keyed : KeyedEvidence | None
        The keyed verdict on the same model, to state both together.
    signer : Signer | None
        Signs the report.
    progress : Progress
        Receives every step; may cancel.

    Returns
    -------
    PassiveEvidence
        Verdict, report, and the images that could not be read.

    Raises
    ------
    ConfigError
        The suspect and the control are the same, or there are too few pictures.
    DatasetError
        There are too few images, an image is in both sets, or sizes or captions differ.
    SuspectError, ModelError
        A suspect can't be used.
    Cancelled
        The user stopped; the same call resumes.
    """
    measured, out = measured or LikenessConfig(), Path(out)
    judged = replace(config or JudgeConfig(), evidence="likeness")
    given = {"suspect": suspect} if control is None else {"suspect": suspect, "control": control}
    # a folder is not asked for anything, so captions can't matter
    captions = captions and not all(isinstance(one, FolderSuspect) for one in given.values())
    sets = read_owned_sets(published, unpublished, captions=captions, progress=progress)
    if control is not None and suspect.describe() == control.describe():
        raise ConfigError(
            "The suspicious model and the control are the same, so there is nothing to compare. "
            "Give another control, or none."
        )
    work = _Work(sets, measured, out, progress, captions)
    distances = work.distances(given)
    source = work.source(given)
    table = likeness_table(sets.both, distances["suspect"], distances.get("control"), source)
    count = len(sets.published)
    tables = table.rows(range(count)), table.rows(range(count, len(table)))
    notes = (*sets.notes, *work.notes)
    verdict = judge(*tables, sets.looks, judged, notes=notes, keyed=keyed, progress=progress)
    paths = write_passive_report(verdict, *tables, sets.looks, out, notes=notes, signer=signer)
    return PassiveEvidence(verdict, paths, sets.problems)


class _Work:
    """Makes pictures and measures distances, for the suspect and for the control."""

    def __init__(
        self,
        sets: OwnedSets,
        config: LikenessConfig,
        out: Path,
        progress: Progress,
        captions: bool,
    ) -> None:
        self.sets, self.config, self.out, self.progress = sets, config, out, progress
        self.captions = captions
        self.notes: list[str] = []
        self.pictures: dict[str, ImageSet] = {}
        self.redrawn, self.size = False, config.resolution

    def distances(self, given: dict[str, Suspect]) -> dict[str, Floats]:
        """Distances of all images, by the name of the model."""
        encoder = pipelines.load_pipeline(self.config.encoder, device="cpu")
        self.size = self.config.resolution or pipelines.native_size(encoder)
        for name, model in given.items():
            self.pictures[name] = self._pictures(name, model)
        self._note_copies()
        found = {name: self._near(name, encoder) for name in given}
        if not self.config.redraws:
            return found
        redraw = {name: redrawer(model, progress=self.progress) for name, model in given.items()}
        refused = [why for one, why in redraw.values() if one is None]
        if refused:
            self.notes.append(f"{refused[0]} So images were not redrawn.")
            return found
        try:
            again = {
                name: self._redrawn(name, given[name], one)
                for name, (one, _) in redraw.items()
                if one is not None
            }
        except Refused as error:  # of one image; without it the sets would not be equally large
            self.notes.append(f"{error} So images were not redrawn.")
            return found
        self.redrawn = True
        return {name: np.hstack([near, again[name]]) for name, near in found.items()}

    def _redrawn(self, name: str, model: Suspect, redraw: Redraw) -> Floats:
        return redrawn_distances(
            self.sets.both,
            redraw,
            self._plan(),
            self.size,
            signature=json.dumps(model.describe(), sort_keys=True),
            partial=sibling(self.out, f".{name}.partial"),
            progress=Named(self.progress, name),
        )

    def source(self, given: dict[str, Suspect]) -> dict[str, Any]:
        """How it was measured, for the record."""
        return {
            "kind": KIND,
            "suspect": given["suspect"].describe(),
            "control": given["control"].describe() if "control" in given else None,
            "settings": self.config.to_dict(),
            "captions": "own" if self.captions else "none",
            "resolution": self.size,
            "pictures": {
                name: {"count": len(one), "hash": one.hash} for name, one in self.pictures.items()
            },
            "redrawn": self.redrawn,
        }

    def _plan(self) -> PromptPlan:
        """One prompt for each image: its caption. Both sets are asked for in the same way."""
        both = self.sets.both
        captions = both.captions(_NO_CAPTION) if self.captions else [_NO_CAPTION] * len(both)
        config = self.config
        return PromptPlan(
            prompts=tuple(captions),
            count=len(captions) * config.per_image,
            seed=config.seed,
            steps=config.steps,
            guidance=config.guidance,
        )

    def _pictures(self, name: str, model: Suspect) -> ImageSet:
        """The pictures of a model, which are made if it is no folder."""
        progress = Named(self.progress, name)
        if isinstance(model, FolderSuspect):
            folder = model.folder
        else:
            folder = sibling(self.out, ".pictures") / name
            generate_images(model, self._plan(), folder, progress=progress)
            missed = len(read_missed(folder))
            if missed:
                self.notes.append(
                    f"{missed} of {self._plan().count} pictures of the {name} could not be made."
                )
        found = ImageSet.from_folder(folder).checked(progress=progress)
        if len(found) < FEWEST_PICTURES:
            raise ConfigError(
                f"There are {len(found)} pictures of the {name}; expected at least "
                f"{FEWEST_PICTURES}, ideally as many as there are images. Give more pictures."
            )
        return found

    def _near(self, name: str, encoder: Pipeline) -> Floats:
        return near_pictures(
            self.sets.both,
            self.pictures[name],
            encoder,
            self.size,
            nearest=self.config.nearest,
            progress=Named(self.progress, name),
        )

    def _note_copies(self) -> None:
        """Say so if pictures of the suspect are nearly images of the owner."""
        seen = read_facts(self.pictures["suspect"], progress=self.progress).thumbnails
        for kind, images in (
            ("published", self.sets.published),
            ("unpublished", self.sets.unpublished),
        ):
            own = read_facts(images, progress=self.progress).thumbnails
            count = int(((seen @ own.T).max(axis=1) >= NEAR_COPY).sum())
            if count:
                self.notes.append(
                    f"{count} of the suspect's pictures are nearly copies of {kind} images. Look "
                    "at them: they are memorised, or files that the model did not make."
                )
