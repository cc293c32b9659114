"""From two sets of images and a model to a ranking and its page in one call; it can be resumed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siren_ext.attribution.attribute import Attribution, attribute_images
from siren_ext.attribution.config import AttributionConfig
from siren_ext.attribution.wording import DOES_NOT_PROVE, places
from siren_ext.data.dataset import ImageSet
from siren_ext.files import locked
from siren_ext.progress import NULL, Progress
from siren_ext.report.attribution_report import AttributionPaths, write_attribution

if TYPE_CHECKING:
    from siren_ext.suspects.local import LocalSuspect


@dataclass(frozen=True, eq=False)
class ImageAttribution:
    """A ranking of images, with its files.

    Attributes
    ----------
    found : Attribution
        The ranking.
    files : tuple[Path, ...]
        The images, from the highest score to the lowest.
    report : AttributionPaths
        The page, and the same as JSON.
    problems : tuple[tuple[str, str], ...]
        Name and reason of every image that was left out.
    """

    found: Attribution
    files: tuple[Path, ...]
    report: AttributionPaths
    problems: tuple[tuple[str, str], ...]

    def lines(self, count: int) -> list[str]:
        """The first images in words: place, name, score and rank with their intervals.

        Parameters
        ----------
        count : int
            Most images to list.
        """
        ranking, names = self.found.ranking, self.found.images
        return [
            f"{ranking.ranks[row]}. {names[row]}: score {ranking.scores[row]:.2f} "
            f"({ranking.low[row]:.2f} to {ranking.high[row]:.2f}), rank {places(ranking, int(row))}"
            for row in ranking.order[:count]
        ]

    @property
    def does_not_prove(self) -> tuple[str, ...]:
        """What the ranking does not show, one sentence or more each."""
        return DOES_NOT_PROVE[self.found.method]


def rank_images(
    data: ImageSet,
    pictures: ImageSet,
    model: LocalSuspect,
    out: Path,
    config: AttributionConfig | None = None,
    *,
    cache: Path,
    progress: Progress = NULL,
) -> ImageAttribution:
    """Rank images by how much each of them shaped some pictures, and write the page.

    Parameters
    ----------
    data : ImageSet
        The owner's images; those that can't be read are left out.
    pictures : ImageSet
        The pictures in question.
    model : LocalSuspect
        In float32; without an adapter only the files are compared.
    out : Path
        Folder for the page.
    config : AttributionConfig | None
        Settings; None for the defaults.
    cache : Path
        File of finished gradients, with which a stopped run resumes.
    progress : Progress
        Receives every step; may cancel.

    Returns
    -------
    ImageAttribution
        The ranking and its files.

    Raises
    ------
    SirenError
        As :func:`~siren_ext.attribution.attribute.attribute_images`, or if another run uses
        ``cache``.
    Cancelled
        If the user stopped.
    """
    with locked(cache):
        data, pictures = (images.checked(progress=progress) for images in (data, pictures))
        found = attribute_images(data, pictures, model, config, cache=cache, progress=progress)
        files = [item.path for item in data.items]
        report = write_attribution(found, files, [item.path for item in pictures.items], out)
    ranked = tuple(files[int(row)] for row in found.ranking.order)
    return ImageAttribution(found, ranked, report, data.problems)
