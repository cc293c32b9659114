"""From a suspect to a report in one go: generate, score, verify; resumable at every point."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siren_ext.coater.coater import Coater
from siren_ext.data.image_files import list_images
from siren_ext.errors import ConfigError, ScoreError
from siren_ext.files import sha256_file
from siren_ext.progress import NULL, Named, Progress
from siren_ext.report.write import ReportPaths, write_report
from siren_ext.scoring.score import score_folder, score_images
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.sequential import SequentialKs, SequentialResult, least_images
from siren_ext.suspects.base import PromptPlan, Suspect, generate_images, read_missed
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.findings import distinct_scores
from siren_ext.verdict.verify import Verdict, verify
from siren_ext.verdict.wording import odds, unlike

if TYPE_CHECKING:
    from siren_ext.keys.coating_key import CoatingKey


@dataclass(frozen=True)
class Investigation:
    """What an investigation found and where it lies.

    Attributes
    ----------
    verdict : Verdict
        in words and figures.
    suspect, reference : ScoreSet
        the scores that it rests on; no reference where the key alone decides.
    report : ReportPaths
        the written report.
    missed : tuple[tuple[str, str], ...]
        (name, reason) of pictures that the suspect, or the reference, would not give.
    sequential : SequentialResult | None
        the test that could stop the generation; None without ``stop_early``.
    """

    verdict: Verdict
    suspect: ScoreSet
    reference: ScoreSet | None
    report: ReportPaths
    missed: tuple[tuple[str, str], ...]
    sequential: SequentialResult | None = None


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
    """Ask the suspect for pictures, score them, test them, write the report.

    The reference is a model that never saw the coated images, asked for the same prompts and
    seeds, or scores that were made before. With the ``key`` of a keyed coater none is needed: its
    secret message is tested among random ones (see :func:`siren_ext.verdict.verify.verify`).

    ``out`` gets ``suspect/`` and ``reference/`` with the pictures (those of a folder stay where
    they are), ``suspect.json``, ``reference.json`` and ``report/``. A second call goes on where the
    first stopped.

    With ``stop_early``, each picture of the suspect is scored as it comes, and no more are made
    once :class:`SequentialKs` has decided. The verdict is then that test's alone: looking after
    every picture with a test of fixed size would raise the risk of a false accusation.

    Raises
    ------
    ConfigError
        ``out`` belongs to another investigation; neither reference nor key; a key for
        a coater of another kind; ``stop_early`` with a folder, in which nothing can be saved,
        with the two-sided test, or with a key.
    SirenError
        of all kinds, from the steps.
    """
    out = Path(out)
    config = config or VerifyConfig()
    _check_request(suspect, reference, coater, config, key, stop_early)
    missed: list[tuple[str, str]] = []
    shown: dict[str, list[Path]] = {}

    def pool(name: str, source: Suspect, test: _EarlyStop | None = None) -> ScoreSet:
        told = Named(progress, name)
        folder = out / name
        if isinstance(source, FolderSuspect):
            folder = source.folder
        else:
            generate_images(source, plan, folder, enough=test.feed if test else None, progress=told)
            missed.extend((f"{name}/{file}", why) for file, why in read_missed(folder))
        shown[name] = list_images(folder)
        return _scores(folder, shown[name], coater, out / f"{name}.json", batch_size, told)

    clean: ScoreSet | None = None
    if isinstance(reference, ScoreSet):
        clean = reference
        if clean.coater != coater.fingerprint:
            raise ScoreError(
                "The reference scores were made with another coater; score those images again with "
                "this one."
            )
    elif reference is not None:
        clean = pool("reference", reference)
    test = _EarlyStop(coater, clean, config.alpha) if stop_early and clean is not None else None
    scores = pool("suspect", suspect, test)
    verdict = verify(scores, clean, config, key=key)
    standing = None if test is None else test.standing
    if standing is not None and clean is not None:
        verdict = _sequential_verdict(verdict, standing, len(distinct_scores(clean)))
    report = write_report(
        verdict,
        scores,
        clean,
        out / "report",
        mimicries=shown["suspect"],
        reference_mimicries=shown.get("reference", ()),
        extra={"sequential": standing.to_dict()} if standing is not None else None,
    )
    return Investigation(verdict, scores, clean, report, tuple(missed), standing)


def _check_request(
    suspect: Suspect,
    reference: Suspect | ScoreSet | None,
    coater: Coater,
    config: VerifyConfig,
    key: CoatingKey | None,
    stop_early: bool,
) -> None:
    """Refuse what could not be judged, before anything is asked for or paid."""
    if reference is None and key is None:
        raise ConfigError("There is nothing to test with; expected a reference, a key or both.")
    bits = coater.config.message_bits
    if key is not None and key.bits != bits:
        carries = f"messages of {bits} bits" if bits else "no message"
        raise ConfigError(
            f"The key has {key.bits} bits, but the coater's coatings carry {carries}; expected the "
            "keyed coater that the images were coated with."
        )
    if stop_early and (isinstance(suspect, FolderSuspect) or config.two_sided or key is not None):
        raise ConfigError(
            "stop_early needs a suspect that makes pictures on request, a reference and the "
            "one-sided test, and no key; leave it out here."
        )


class _EarlyStop:
    """Scores pictures one by one and says when the sequential test has decided."""

    def __init__(self, coater: Coater, reference: ScoreSet, alpha: float) -> None:
        self._coater = coater
        self._test = SequentialKs(distinct_scores(reference), alpha=alpha)
        self._seen: set[str] = set()

    @property
    def standing(self) -> SequentialResult:
        """Where the test stands."""
        return self._test.result

    def feed(self, path: Path) -> bool:
        """Take in a picture; an exact copy of an earlier one is no new observation."""
        digest = sha256_file(path)
        if digest not in self._seen:
            self._seen.add(digest)
            score = score_images([path], self._coater, batch_size=1, workers=1).scores[0]
            self._test.update(float(score))
        return self._test.result.rejected


def _scores(
    folder: Path, paths: list[Path], coater: Coater, file: Path, batch_size: int, told: Progress
) -> ScoreSet:
    """The scores of a folder; those of an earlier call where the pictures are still the same."""
    hashes = tuple(sha256_file(path) for path in paths)
    if file.is_file():
        try:
            kept = ScoreSet.load(file)
        except ScoreError:
            kept = None
        if kept is not None and (kept.coater, kept.hashes) == (coater.fingerprint, hashes):
            return kept
    # a name of its own for each pool of pictures, as the half-finished scores of others don't fit
    mark = hashlib.sha256("".join(hashes).encode()).hexdigest()[:12]
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.stem}.{mark}.partial.json")
    scores = score_folder(folder, coater, batch_size=batch_size, partial=partial, progress=told)
    scores.save(file)
    return scores


def _sequential_verdict(verdict: Verdict, standing: SequentialResult, references: int) -> Verdict:
    """The verdict of the sequential test in place of that of the test of fixed size."""
    note = (
        "The pictures were tested one after the other, so only the sequential test counts: "
        f"p = {standing.p_value:.3g} after {standing.images} pictures, valid at any stopping time. "
        "The Kolmogorov-Smirnov figures of this report describe the pictures but do not decide."
    )
    warnings = (note, *verdict.warnings)
    if standing.rejected and verdict.deciding.unlike:
        return dataclasses.replace(
            verdict, outcome="inconclusive", headline=unlike(verdict.deciding), warnings=warnings
        )
    if standing.rejected:
        headline = (
            "The images of the suspicious model carry the coating. The likely reason is that it "
            "was trained on the coated images. If it did not differ from the reference model, the "
            "chance that the sequential test would ever come this far is at most "
            f"{odds(standing.p_value)}."
        )
        return dataclasses.replace(
            verdict, outcome="coating found", headline=headline, warnings=warnings
        )
    if verdict.outcome == "inconclusive":
        return dataclasses.replace(verdict, warnings=warnings)
    least = least_images(references, standing.alpha, limit=standing.images)
    if least is None:
        headline = (
            f"There are too few images to tell: not even perfect evidence in {standing.images} "
            "images could end the sequential test. Allow more images and investigate again."
        )
        return dataclasses.replace(
            verdict, outcome="inconclusive", headline=headline, warnings=warnings
        )
    headline = (
        "No sufficient trace of the coating was found: the sequential test did not come to an end "
        f"within {standing.images} images."
    )
    return dataclasses.replace(verdict, outcome="no evidence", headline=headline, warnings=warnings)
