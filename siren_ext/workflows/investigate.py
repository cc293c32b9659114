"""From a suspect to a report in one call: generate, score, verify; every step can be resumed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from siren_ext.coater.coater import Coater
from siren_ext.data.image_files import list_images
from siren_ext.errors import ConfigError, ScoreError
from siren_ext.evidence.counting import counted
from siren_ext.files import one_at_a_time, sha256_file
from siren_ext.progress import NULL, Named, Progress
from siren_ext.report.write import ReportPaths, write_report
from siren_ext.scoring.appearance import contrast
from siren_ext.scoring.copies import Earlier
from siren_ext.scoring.score import score_images
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.sequential import SequentialKs, SequentialResult
from siren_ext.suspects.base import PromptPlan, Suspect, generate_images, read_missed
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.one_by_one import sequential_verdict
from siren_ext.verdict.pools import distinct_looks, distinct_scores
from siren_ext.verdict.verify import Verdict, verify
from siren_ext.workflows.cached_scores import cached_scores

if TYPE_CHECKING:
    from siren_ext.keys.coating_key import CoatingKey


@dataclass(frozen=True)
class Investigation:
    """The result of an investigation.

    Attributes
    ----------
    verdict : Verdict
        in words and figures.
    suspect, reference : ScoreSet
        the scores that it is based on; no reference if there was only a key.
    report : ReportPaths
        the files of the report.
    missed : tuple[tuple[str, str], ...]
        (name, reason) of images that the suspect or the reference failed to make.
    sequential : SequentialResult | None
        the test that could stop the generation; None without ``stop_early``.
    """

    verdict: Verdict
    suspect: ScoreSet
    reference: ScoreSet | None
    report: ReportPaths
    missed: tuple[tuple[str, str], ...]
    sequential: SequentialResult | None = None


@one_at_a_time
def investigate(
    suspect: Suspect,
    reference: Suspect | ScoreSet | None,
    coater: Coater,
    plan: PromptPlan,
    out: Path,
    config: VerifyConfig | None = None,
    *,
    key: CoatingKey | None = None,
    stop_early: bool = False,
    batch_size: int = 16,
    progress: Progress = NULL,
) -> Investigation:
    """Generate images with the suspect, score them, test the scores and write the report.

    ``out`` gets ``suspect/``, ``reference/``, ``suspect.json``, ``reference.json`` and ``report/``.

    Parameters
    ----------
    suspect : Suspect
        the suspicious model, or a folder of its images.
    reference : Suspect | ScoreSet | None
        a model that never saw the coated images, sampled with the same prompts and seeds; or its
        scores; None if ``key`` is given alone.
    coater : Coater
        the coater that coated the published images.
    plan : PromptPlan
        the images to generate.
    out : Path
        folder for all results; that of a stopped call to resume it.
    config : VerifyConfig | None
        how strict the verdict is.
    key : CoatingKey | None
        of a keyed coater; the test of a :class:`FiledKey` is counted. See :func:`verify`.
    stop_early : bool
        score each image as it is made, and stop once :class:`SequentialKs` has decided and the
        images are shown to look like the reference's. Only that test counts then: a test for a
        fixed number, repeated after every image, would raise the risk of a false accusation.
    batch_size : int
        images scored at once.
    progress : Progress
        receives every step; may cancel.

    Returns
    -------
    Investigation
        verdict, scores, report and the images that could not be made.

    Raises
    ------
    ConfigError
        ``out`` belongs to another investigation; neither reference nor key; a key for another kind
        of coater; ``stop_early`` with a folder of images, the two-sided test or a key.
    ScoreError
        the reference scores are of another coater, or nothing could be scored.
    SuspectError
        the suspect does not answer, or its limits are reached; the same call resumes.
    Cancelled
        the user stopped; the same call resumes.
    """
    out, config = Path(out), config or VerifyConfig()
    _check_request(suspect, reference, coater, config, key, stop_early)
    pools = _Pools(coater, plan, out, batch_size, progress)
    clean = pools.reference(reference)
    test = _EarlyStop(coater, clean, config.alpha) if stop_early and clean is not None else None
    scores = pools.scores("suspect", suspect, test)
    verdict = _tested(scores, clean, config, key)
    sequential = None if test is None else test.result
    if sequential is not None and clean is not None:
        verdict = sequential_verdict(verdict, sequential, len(distinct_scores(clean)))
    report = write_report(
        verdict,
        scores,
        clean,
        out / "report",
        mimicries=pools.files["suspect"],
        reference_mimicries=pools.files.get("reference", ()),
        extra={"sequential": sequential.to_dict()} if sequential is not None else None,
    )
    return Investigation(verdict, scores, clean, report, tuple(pools.missed), sequential)


def _tested(
    scores: ScoreSet, clean: ScoreSet | None, config: VerifyConfig, key: CoatingKey | None
) -> Verdict:
    """The verdict, once the test of a key is in the key's ledger."""
    standing, price = counted(key, scores, None)
    if standing is not None:
        config = dataclasses.replace(config, price=price)
    return verify(scores, clean, config, key=key, precedence=standing)


class _Pools:
    """Makes and scores the images of both models, and remembers which there are."""

    def __init__(
        self, coater: Coater, plan: PromptPlan, out: Path, batch_size: int, progress: Progress
    ) -> None:
        self._coater, self._plan, self._out = coater, plan, out
        self._batch_size, self._progress = batch_size, progress
        self.files: dict[str, list[Path]] = {}
        self.missed: list[tuple[str, str]] = []

    def scores(self, name: str, source: Suspect, test: _EarlyStop | None = None) -> ScoreSet:
        """The scores of a model's images; ``test`` may end their generation."""
        progress = Named(self._progress, name)
        if isinstance(source, FolderSuspect):
            folder = source.folder
        else:
            folder = self._out / name
            enough = test.feed if test else None
            generate_images(source, self._plan, folder, enough=enough, progress=progress)
            self.missed.extend((f"{name}/{file}", why) for file, why in read_missed(folder))
        self.files[name] = list_images(folder)
        file = self._out / f"{name}.json"
        return cached_scores(
            folder, self._coater, file, batch_size=self._batch_size, progress=progress
        )

    def reference(self, given: Suspect | ScoreSet | None) -> ScoreSet | None:
        """The scores of the reference, made now or given."""
        if given is None:
            return None
        if not isinstance(given, ScoreSet):
            return self.scores("reference", given)
        if given.coater != self._coater.fingerprint:
            raise ScoreError(
                f"The reference was scored with another coater ({given.coater[:12]}) than this one "
                f"({self._coater.fingerprint[:12]}); score its images again with this one."
            )
        return given


def _check_request(
    suspect: Suspect,
    reference: Suspect | ScoreSet | None,
    coater: Coater,
    config: VerifyConfig,
    key: CoatingKey | None,
    stop_early: bool,
) -> None:
    """Refuse what can't be tested, before any image is made or paid for."""
    if reference is None and key is None:
        raise ConfigError("Neither a reference nor a key was given; give one of them, or both.")
    bits = coater.config.message_bits
    if key is not None and key.bits != bits:
        carries = f"messages of {bits} bits" if bits else "no message"
        raise ConfigError(
            f"The key has {key.bits} bits, but this coater's coatings carry {carries}; use the "
            "keyed coater that the images were coated with."
        )
    if stop_early and (isinstance(suspect, FolderSuspect) or config.two_sided or key is not None):
        raise ConfigError(
            "Stopping early needs a suspect that generates images on request, a reference and the "
            "one-sided test, and no key; leave it out here."
        )


class _EarlyStop:
    """Scores images one by one and says when the sequential test has decided."""

    def __init__(self, coater: Coater, reference: ScoreSet, alpha: float) -> None:
        self._coater = coater
        self._test = SequentialKs(distinct_scores(reference), alpha=alpha)
        self._seen, self._earlier = set[str](), Earlier()
        self._reference, self._looks = distinct_looks(reference), list[NDArray[np.float64]]()

    @property
    def result(self) -> SequentialResult:
        """The test's result so far."""
        return self._test.result

    def feed(self, path: Path) -> bool:
        """Count an image unless it copies an earlier one; returns whether there are enough.

        There are once the test rejects and the images are shown to look like the reference's, or
        the verdict would be "not comparable".
        """
        digest = sha256_file(path)
        if digest not in self._seen:
            self._seen.add(digest)
            scored = score_images([path], self._coater, batch_size=1, workers=1)
            if scored.phashes is not None and self._earlier.copied(scored.phashes[0]):
                return False
            self._test.update(float(scored.scores[0]))
            if scored.looks is not None:
                self._looks.append(scored.looks[0])
        return self._test.result.rejected and self._alike()

    def _alike(self) -> bool:
        """Whether the images so far are shown to look like the reference's."""
        if self._reference is None or not self._looks:
            return False
        return contrast(np.array(self._looks), self._reference).comparable
