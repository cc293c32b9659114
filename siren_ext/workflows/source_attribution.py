"""From a source model and a suspicious one to a verdict and its page; it can be resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from siren_ext.attribution.distances import Floats, distance_named, embedding
from siren_ext.attribution.key_queries import Answers, Asking, Query, common_query
from siren_ext.attribution.key_samples import Selection, Strategy, detection, generation
from siren_ext.attribution.shadow import (
    FEWEST_SHADOWS,
    ShadowFinding,
    find,
    first_embeddings,
    query_vectors,
)
from siren_ext.attribution.source_config import ShadowConfig, SourceConfig
from siren_ext.attribution.source_verdict import SourceVerdict, judge_source
from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion import families, pipelines
from siren_ext.errors import ConfigError
from siren_ext.files import one_at_a_time, sibling
from siren_ext.progress import NULL, Progress
from siren_ext.report.source_report import SourcePaths, write_source
from siren_ext.suspects.base import Suspect
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.suspects.local import LocalSuspect

_REMOTE_SIZE = 512


@dataclass(frozen=True, eq=False)
class SourceQuestion:
    """A source, a suspicious model, and what helps to tell them apart.

    Attributes
    ----------
    source, suspect : Suspect
        The owner's model, and the one in question.
    data : ImageSet | None
        Training images of the source, with captions.
    captions : tuple of str
        Captions for which the source is asked, if its training images are not given.
    base : Suspect | None
        The public model that both may have started from.
    known, innocent : mapping of str to Suspect
        Models that were trained on the source's pictures, and such that can't have been, by name.
        They serve for threshold and rate, and as shadow models.
    """

    source: Suspect
    suspect: Suspect
    data: ImageSet | None = None
    captions: tuple[str, ...] = ()
    base: Suspect | None = None
    known: Mapping[str, Suspect] = field(default_factory=dict)
    innocent: Mapping[str, Suspect] = field(default_factory=dict)

    def models(self) -> dict[str, Suspect]:
        """All models that are asked, by what reports call them."""
        named = {"source": self.source, "suspicious model": self.suspect}
        if self.base is not None:
            named["base model"] = self.base
        named |= {f"known model {name}": one for name, one in self.known.items()}
        return named | {f"innocent model {name}": one for name, one in self.innocent.items()}


@dataclass(frozen=True, eq=False)
class SourceAttribution:
    """A verdict on a suspicious model, with its files.

    Attributes
    ----------
    verdict : SourceVerdict
        In words and figures.
    selection : Selection
        The key samples.
    report : SourcePaths
        The page, and the same as JSON.
    problems : tuple[tuple[str, str], ...]
        Name and reason of every training image that was left out.
    """

    verdict: SourceVerdict
    selection: Selection
    report: SourcePaths
    problems: tuple[tuple[str, str], ...]


@one_at_a_time
def attribute_source(
    question: SourceQuestion,
    out: Path,
    config: SourceConfig | None = None,
    shadows: ShadowConfig | None = None,
    *,
    cache: Path | None = None,
    progress: Progress = NULL,
) -> SourceAttribution:
    """Test whether a model was trained on pictures of another one, and write the page.

    Parameters
    ----------
    question : SourceQuestion
        The models.
    out : Path
        Folder for the page.
    config : SourceConfig | None
        How models are asked and judged; None for the defaults.
    shadows : ShadowConfig | None
        The discriminator; None for the defaults.
    cache : Path | None
        Folder for answers, from which the same call resumes; None for ``<out>.pictures``.
    progress : Progress
        Receives every step; may cancel.

    Returns
    -------
    SourceAttribution
        The verdict and its files.

    Raises
    ------
    ConfigError
        If neither images nor captions are given, a model is given twice, or there are too few key
        samples.
    SirenError
        If a model can't be used, or answered nothing.
    Cancelled
        If the user stopped; the same call resumes.
    """
    config, out = config or SourceConfig(), Path(out)
    check_question(question, config)
    data = None if question.data is None else question.data.checked(progress=progress)
    query, note = common_query(question.models(), config)
    asking = open_asking(question, config, query, cache or sibling(out, ".pictures"))
    asking = replace(asking, progress=progress)
    chosen = strategy_for(data, question.captions, config)(asking, question.source, question.base)
    known, innocent = (
        {name: asking.answers(name, one, chosen.keys) for name, one in models.items()}
        for models in (question.known, question.innocent)
    )
    own = asking.answers("suspicious model", question.suspect, chosen.keys)
    notes = [*([note] if note else []), *chosen.notes]
    shadow = None
    # models that answered nothing are no shadow models
    able = [
        {name: one for name, one in models.items() if one.answered} for models in (known, innocent)
    ]
    if own.answered and min(map(len, able)) >= FEWEST_SHADOWS:
        source = asking.answers("source", question.source, chosen.keys)
        shadow = shadow_finding(own, source, able[0], able[1], asking, shadows)
    verdict = judge_source(own, known, innocent, config, shadow=shadow, notes=notes)
    facts = {
        "query": query,
        "resolution": asking.size,
        "requests": own.requests,
        "source": question.source.describe(),
        "suspect": question.suspect.describe(),
        "base": None if question.base is None else question.base.describe(),
        "settings": config.to_dict(),
        "shadow_settings": (shadows or ShadowConfig()).to_dict() if shadow else None,
    }
    report = write_source(verdict, chosen, own, facts, out)
    return SourceAttribution(verdict, chosen, report, () if data is None else data.problems)


def check_question(question: SourceQuestion, config: SourceConfig) -> None:
    """Refuse a question that can't be answered, before anything is asked.

    Raises
    ------
    ConfigError
        If there is neither an image nor a caption, or one model has two roles.
    """
    images = question.data
    captioned = bool(question.captions) or (images is not None and any(images.captions()))
    possible = {"detection": images is not None, "generation": captioned}
    if not (any(possible.values()) if config.strategy == "auto" else possible[config.strategy]):
        raise ConfigError(
            "Key samples need training images of the source with captions, or captions alone, "
            "depending on the strategy; what this strategy needs was not given. Add it."
        )
    seen: dict[str, str] = {}
    for name, model in question.models().items():
        if isinstance(model, FolderSuspect) and name in ("source", "base model"):
            raise ConfigError(
                f"The {name} is a folder of pictures; expected a model that can be asked for "
                "pictures."
            )
        record = str(sorted(model.describe().items()))
        if record in seen:
            raise ConfigError(
                f"The {seen[record]} and the {name} are the same model, so they can't be compared. "
                "Leave one out."
            )
        seen[record] = name


def strategy_for(
    data: ImageSet | None, captions: tuple[str, ...], config: SourceConfig
) -> Strategy:
    """How key samples are chosen from what is given.

    Parameters
    ----------
    data : ImageSet | None
        Training images.
    captions : tuple of str
        Captions; without any, those of the images serve for ``generation``.
    config : SourceConfig
        Gives the strategy; ``auto`` takes the images if there are any.
    """
    if data is not None and config.strategy != "generation":
        return detection(data)
    own = () if data is None else tuple(text for text in data.captions() if text)
    return generation(captions or own)


def open_asking(
    question: SourceQuestion, config: SourceConfig, query: Query, cache: Path
) -> Asking:
    """How all models are asked.

    Parameters
    ----------
    question : SourceQuestion
        The models: a source on this machine gives the resolution, a folder the number of pictures
        that are compared.
    config : SourceConfig
        The settings.
    query : {"img2img", "t2i", "pool"}
        The way.
    cache : Path
        Folder for answers.
    """
    size, source = config.resolution, question.source
    if not size:
        size = _REMOTE_SIZE
        if isinstance(source, LocalSuspect) and families.is_stable(source.pipeline):
            size = pipelines.native_size(source.pipeline)
    given = question.models().values()
    folders = [len(model.paths()) for model in given if isinstance(model, FolderSuspect)]
    return Asking(config, query, distance_named(config), size, cache, min(folders, default=0))


def shadow_finding(
    suspect: Answers,
    source: Answers,
    known: Mapping[str, Answers],
    innocent: Mapping[str, Answers],
    asking: Asking,
    config: ShadowConfig | None = None,
) -> ShadowFinding:
    """The statistical level, from answers to the same key samples.

    Parameters
    ----------
    suspect, source : Answers
        Of the suspicious model and of the source.
    known, innocent : mapping of str to Answers
        Of the shadow models.
    asking : Asking
        Gives size and embedding.
    config : ShadowConfig | None
        Settings; None for the defaults.

    Raises
    ------
    ScoreError
        If there are too few shadow models.
    """
    embed = embedding(asking.config)
    reference = first_embeddings(source, embed, asking.size)

    def vectors(one: Answers) -> Floats:
        return query_vectors(one, first_embeddings(one, embed, asking.size), reference)

    return find(
        vectors(suspect),
        [vectors(one) for one in known.values()],
        [vectors(one) for one in innocent.values()],
        config,
    )
