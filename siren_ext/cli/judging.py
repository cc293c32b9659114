"""The two ways of ``verify``: from files of scores, and from a model's file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from siren_ext.cli.common import report_notices, watched
from siren_ext.cli.output import check_output
from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from siren_ext.cli.model_file import ModelFile
    from siren_ext.coater.coater import Coater
    from siren_ext.evidence.precedence import Precedence
    from siren_ext.keys.coating_key import CoatingKey
    from siren_ext.keys.signing import Signer
    from siren_ext.preference.config import PreferenceConfig
    from siren_ext.preference.tint import Likeness
    from siren_ext.scoring.score_set import ScoreSet
    from siren_ext.verdict.config import VerifyConfig
    from siren_ext.verdict.verify import Verdict


@dataclass(frozen=True)
class Terms:
    """What both ways need.

    Attributes
    ----------
    out : Path
        Folder for the report.
    config : VerifyConfig
        How strict the verdict is.
    key : CoatingKey | None
        The owner's secret.
    standing : Callable[[ScoreSet], Precedence | None]
        What a commitment says about scores; None without one.
    signer : Signer | None
        Signs the report.
    commitment : Path | None
        The commitment's file, beside which ranks among decoys are counted.
    coater : Path | None
        The coater file; needed for a model's file.
    show_tint : bool
        Show the learnt tint of a model's file in the report.
    """

    out: Path
    config: VerifyConfig
    key: CoatingKey | None
    standing: Callable[[ScoreSet], Precedence | None]
    signer: Signer | None
    commitment: Path | None = None
    coater: Path | None = None
    show_tint: bool = False


@dataclass(frozen=True)
class Judged:
    """A verdict whose report is written.

    Attributes
    ----------
    verdict : Verdict
        The verdict.
    page : Path
        The report's page.
    measurement : Path | None
        Of a model's file: the measurement.
    alike : Likeness | None
        Of a model's file: how alike the learnt tint and the expected one are.
    problems : tuple[tuple[str, str], ...]
        Name and reason of every image that could not be read.
    """

    verdict: Verdict
    page: Path
    measurement: Path | None = None
    alike: Likeness | None = None
    problems: tuple[tuple[str, str], ...] = ()


class ScoreFiles:
    """Files of scores, read.

    Parameters
    ----------
    suspect : Path
        Of the suspicious model.
    references, innocents : Sequence[Path] | None
        Of clean models.
    pictures, reference_pictures : Path | None
        Folders of images to show in the report.

    Raises
    ------
    ScoreError
        A file can't be read, or one model is given as several references or innocent models.
    """

    def __init__(
        self,
        suspect: Path,
        references: Sequence[Path] | None,
        innocents: Sequence[Path] | None,
        pictures: Path | None,
        reference_pictures: Path | None,
    ) -> None:
        from siren_ext.scoring.score_set import ScoreSet
        from siren_ext.verdict.models import joined_models
        from siren_ext.verdict.same_models import require_different_models

        self._suspect = ScoreSet.load(suspect)
        self._clean = joined_models([ScoreSet.load(path) for path in references or ()])
        self._innocents = [ScoreSet.load(path) for path in innocents or ()]
        require_different_models(self._innocents, "innocent model")
        self._shown = pictures, reference_pictures
        self.measured = self._suspect.preference
        """Whether the scores are a measurement of a model's file."""

    def judge(self, terms: Terms) -> Judged:
        """Test the scores and write the report."""
        from siren_ext.evidence.counting import counted
        from siren_ext.report.learnt import stored_likeness
        from siren_ext.report.write import write_report
        from siren_ext.verdict.verify import verify
        from siren_ext.verdict.whole import testable

        coater = self._coater(terms)
        if terms.key is not None:  # before the test is counted
            testable(self._suspect, terms.key, coater)
        alike = self._likeness(terms, coater)
        standing = terms.standing(self._suspect)
        found, price = counted(terms.key, self._suspect, standing, terms.commitment)
        paid = terms.key is not None or price > 1
        verdict = verify(
            self._suspect,
            self._clean,
            replace(terms.config, price=price) if paid else terms.config,
            key=terms.key,
            innocents=self._innocents,
            precedence=found,
            coater=coater,
        )
        paths = write_report(
            verdict,
            self._suspect,
            self._clean,
            terms.out,
            mimicries=_pictures(self._shown[0]),
            reference_mimicries=_pictures(self._shown[1]),
            innocents=self._innocents,
            learnt=stored_likeness(alike, pictures=terms.show_tint),
            signer=terms.signer,
        )
        return Judged(verdict, paths.html, alike=alike)

    def _coater(self, terms: Terms) -> Coater | None:
        """The coater of a measurement: as given, or bundled."""
        from siren_ext.coater.bundled import coater_path
        from siren_ext.coater.coater import Coater
        from siren_ext.verdict.whole import coater_for

        if terms.key is None or not self.measured:
            return None
        given = Coater.load(coater_path(terms.coater)) if terms.coater else None
        return coater_for(self._suspect, given)

    def _likeness(self, terms: Terms, coater: Coater | None) -> Likeness | None:
        """How alike the tints of a measurement are, if the coater is known."""
        from siren_ext.preference.tint import likeness

        if coater is None or terms.key is None:
            if terms.show_tint:
                raise ConfigError(
                    "--show-tint needs --model, or the measurement of a model's file with --coater "
                    "and --key."
                )
            return None
        return likeness(self._suspect, coater, terms.key)


@dataclass(frozen=True)
class ModelTest:
    """A model's file and what it is measured with.

    Attributes
    ----------
    model : ModelFile
        The suspicious model and its controls.
    images : Path
        The owner's originals.
    plan : PreferenceConfig
        How the model is measured.
    quiet : bool
        Show no progress.
    """

    model: ModelFile
    images: Path
    plan: PreferenceConfig
    quiet: bool = False
    measured = True

    def judge(self, terms: Terms) -> Judged:
        """Measure the model, test the key and write the report."""
        from siren_ext.cli.model_file import report_left_out
        from siren_ext.coater.bundled import coater_path
        from siren_ext.coater.coater import Coater
        from siren_ext.data.dataset import ImageSet
        from siren_ext.workflows.preference_evidence import preference_evidence

        if terms.key is None or terms.coater is None:
            raise ConfigError("A model's file is tested with a coater and a key; give both.")
        coater = Coater.load(coater_path(terms.coater))
        data = ImageSet.open(self.images)
        report_notices(data.notices)
        with watched(self.quiet) as progress:
            found = preference_evidence(
                self.model.suspect(),
                data,
                coater,
                terms.key,
                terms.out,
                self.plan,
                terms.config,
                controls=self.model.clean(),
                others=self.model.strangers(),
                standing=terms.standing,
                signer=terms.signer,
                show_tint=terms.show_tint,
                progress=progress,
            )
        report_left_out(found.measured)
        return Judged(
            found.verdict, found.report.html, found.measurement, found.alike, found.problems
        )


def check_measurement(out: Path, force: bool) -> None:
    """Refuse to replace a file that is no measurement by the one that is kept beside a report.

    Parameters
    ----------
    out : Path
        Folder for the report.
    force : bool
        Allow it all the same.

    Raises
    ------
    ConfigError
        There is another file, or a folder.
    """
    from siren_ext.workflows.preference_evidence import measurement_file

    check_output(measurement_file(out), "scores", force=force)


def _pictures(folder: Path | None) -> list[Path]:
    """The images that the report shows."""
    from siren_ext.data.image_files import list_images

    if folder is None:
        return []
    if not (images := list_images(folder)):
        raise ConfigError(f"{folder} has no images to show; give a folder of images.")
    return images
