"""Innocent models that look guilty, and what an infringer could do to look innocent."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.attacks.apply import Step, handle
from siren_ext.coater.bundled import PUBLIC, coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coating.apply import coat_images
from siren_ext.data.images import read_picture, to_tensor
from siren_ext.experiments.owner_cheats import BITS, SALT, scores_of, signs
from siren_ext.experiments.rows import read_rows
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.samples.folder import sample_set
from siren_ext.scoring.score import score_images
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import contributions, whole_sums
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.findings import ks_finding
from siren_ext.verdict.verify import Verdict, verify

COUNT = 48
_RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
PANEL, PREFERENCE = _RESULTS / "panel.csv", _RESULTS / "preference_now_samples.csv"


class Pictures:
    """The bundled samples, in place of a model's pictures, with both bundled coaters.

    Attributes
    ----------
    key : CoatingKey
        The owner's.
    """

    key = CoatingKey(signs(1), SALT)

    @cached_property
    def clean(self) -> Tensor:
        """All samples, 96 x 3 x 256 x 256."""
        items = sample_set().items
        return torch.cat([to_tensor(read_picture(item.path).rgb) for item in items])

    @cached_property
    def coated(self) -> Tensor:
        """The first 48 with the key's message: pictures of a model that learnt all of it."""
        return torch.cat([coat_images(one[None], self.keyed, key=self.key) for one in self.first])

    @property
    def first(self) -> Tensor:
        """Those that stand for the suspect's pictures."""
        return self.clean[:COUNT]

    @cached_property
    def keyed(self) -> Coater:
        """The bundled keyed coater."""
        return Coater.load(coater_path("keyed"))

    @cached_property
    def plain(self) -> Coater:
        """The bundled coater without a key."""
        return Coater.load(coater_path("samples"))

    @cached_property
    def reference(self) -> ScoreSet:
        """The other 48, in place of a clean model's pictures."""
        return score_images(list(self.clean[COUNT:]), self.plain)

    def compared(self, suspect: Tensor) -> Verdict:
        """The comparison with the reference, without a key."""
        return verify(score_images(list(suspect), self.plain), self.reference, VerifyConfig())

    def keyed_verdict(self, suspect: Tensor) -> Verdict:
        """The keyed test."""
        return verify(score_images(list(suspect), self.keyed), None, VerifyConfig(), key=self.key)


def handled(images: Tensor, *steps: Step) -> Tensor:
    """Pictures after ordinary handling, with fixed draws."""
    return handle(images, [""] * len(images), steps, torch.Generator().manual_seed(0))[0]


def strong_jpeg(pictures: Pictures) -> str:
    """An innocent model's pictures were saved as JPEG of quality 30."""
    return _said(pictures.compared(handled(pictures.first, Step("jpeg", {"quality": 30}))))


def posterised(pictures: Pictures) -> str:
    """An innocent model's pictures have 32 levels per channel."""
    return _said(pictures.compared((pictures.first * 31).round() / 31))


def tinted(pictures: Pictures) -> str:
    """An innocent model's pictures have another faint tint."""
    colour = torch.tensor([0.004, -0.002, 0.006])[None, :, None, None]
    return _said(pictures.compared((pictures.first + colour).clamp(0, 1)))


def saved_again(pictures: Pictures) -> str:
    """The luckiest of 400 draws of 30 samples against 60 others, each saved in four files."""
    kinds = [handled(pictures.clean, Step("jpeg", {"quality": one})) for one in (95, 90, 75)]
    files = score_images(list(torch.cat([pictures.clean, *kinds])), pictures.plain)
    rng, lowest = np.random.default_rng(0), {True: 1.0, False: 1.0}
    for _ in range(400):
        order = rng.permutation(len(pictures.clean))
        again = np.concatenate([order[:30] + start for start in range(0, len(files), len(order))])
        for hashed in lowest:
            suspect, reference = (_rows(files, rows, hashed) for rows in (again, order[30:90]))
            p = ks_finding(suspect, reference, 0.05).result.p_value
            lowest[hashed] = min(lowest[hashed], p)
    return (
        f"counted once: smallest p of 400 draws {lowest[True]:.1g}; it would be "
        f"{lowest[False]:.1g} if each file counted"
    )


def _rows(pool: ScoreSet, rows: NDArray[np.int64], hashed: bool) -> ScoreSet:
    """Some of the pictures, with or without what shows near copies."""
    names = tuple(map(str, rows))
    phashes = tuple((pool.phashes or ())[row] for row in rows) if hashed else None
    return ScoreSet(pool.scores[rows], names, ("",) * len(rows), pool.coater, phashes=phashes)


def few_of_another_kind(pictures: Pictures) -> str:
    """Eight pictures of another kind, by an innocent model that got the owner's prompts."""
    noise = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    size = torch.nn.functional.interpolate(noise * 0.5, size=(256, 256), mode="bilinear")
    return _said(pictures.compared(size))


def unlike_pictures(pictures: Pictures) -> str:
    """The same with 48 pictures."""
    noise = torch.rand(COUNT, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    size = torch.nn.functional.interpolate(noise * 0.5, size=(256, 256), mode="bilinear")
    return _said(pictures.compared(size))


def another_coating(pictures: Pictures) -> str:
    """An innocent model's pictures carry the coating of somebody else's coater and key."""
    other = CoatingKey(signs(9), SALT)
    images = torch.cat(
        [coat_images(one[None], pictures.keyed, key=other) for one in pictures.first]
    )
    compared = verify(
        score_images(list(images), pictures.plain), pictures.reference, VerifyConfig()
    )
    return f"{_said(compared)}; by the key: {_said(pictures.keyed_verdict(images))}"


def another_training_seed(_: Pictures) -> str:
    """Two clean models that differ in their training seed, here by .3 standard deviations."""
    rng = np.random.default_rng(1)
    suspect, clean = (scores_of(np.zeros(BITS), "made up", 1000, seed) for seed in (1, 2))
    suspect, clean = (
        replace(pool, scores=rng.normal(mean, 1, 1000), features=None)
        for pool, mean in ((suspect, -0.3), (clean, 0))
    )
    return _said(verify(suspect, clean, VerifyConfig()))


def unreadable(pictures: Pictures) -> str:
    """A guilty model's pictures are so noisy that the coater can't read them."""
    noise = torch.rand(pictures.first.shape, generator=torch.Generator().manual_seed(2))
    return _said(pictures.keyed_verdict(0.05 * pictures.coated + 0.95 * noise))


def public_coater(pictures: Pictures) -> str:
    """Somebody reads the message out of published pictures, with a bundled coater."""
    features = np.asarray(score_images(list(pictures.coated), pictures.keyed).features)
    right = int((whole_sums(contributions(features)) * pictures.key.signs() > 0).sum())
    said = pictures.keyed_verdict(pictures.coated)
    warned = PUBLIC in said.warnings
    note = "the verdict warns that everybody has it" if warned else "no warning in the verdict"
    return f"{right} of {pictures.key.bits} bits read from {COUNT} coated pictures; {note}"


def framed(pictures: Pictures) -> str:
    """The message that was read is written into an innocent model's pictures."""
    features = np.asarray(score_images(list(pictures.coated), pictures.keyed).features)
    read = CoatingKey(np.where(whole_sums(contributions(features)) > 0, 1, -1), SALT)
    others = pictures.clean[COUNT:]
    images = torch.cat([coat_images(one[None], pictures.keyed, key=read) for one in others])
    said = pictures.keyed_verdict(images)
    warned = "a warning" if PUBLIC in said.warnings else "no warning"
    return f"{_said(said)}, and {warned} that everybody has the coater: use your own"


def innocent_key(pictures: Pictures) -> str:
    """An innocent model's pictures, with the key."""
    return _said(pictures.keyed_verdict(handled(pictures.first, Step("jpeg", {"quality": 30}))))


def as_released(pictures: Pictures) -> str:
    """Nothing is done to the pictures."""
    return _said(pictures.keyed_verdict(pictures.coated))


def brighter(pictures: Pictures) -> str:
    """All pictures are made 10 % brighter."""
    return _said(pictures.keyed_verdict((pictures.coated * 1.1).clamp(0, 1)))


def platform(pictures: Pictures) -> str:
    """All pictures are shrunk to 180 pixels and saved as JPEG of quality 75."""
    steps = Step("resize", {"longest": 180}), Step("jpeg", {"quality": 75})
    return _said(pictures.keyed_verdict(handled(pictures.coated, *steps)))


def cropped(pictures: Pictures) -> str:
    """All pictures are cropped at random to 75 to 100 % of each side."""
    return _said(pictures.keyed_verdict(handled(pictures.coated, Step("crop"))))


def mirrored(pictures: Pictures) -> str:
    """Half of the pictures are mirrored."""
    return _said(pictures.keyed_verdict(handled(pictures.coated, Step("mirror"))))


def other_sizes(pictures: Pictures) -> str:
    """A third of the pictures keep 256 pixels, a third are shrunk to 192 and a third to 128."""
    parts = [
        handled(part, Step("resize", {"longest": side}))
        for side, part in zip((256, 192, 128), pictures.coated.chunk(3), strict=True)
    ]
    images = [image for part in parts for image in part]
    return _said(verify(score_images(images, pictures.keyed), key=pictures.key))


def few(pictures: Pictures) -> str:
    """Only eight pictures can be had."""
    return _said(pictures.keyed_verdict(pictures.coated[:8]))


def preferred(case: str) -> str:
    """Models of the study of preference, whose file is at hand.

    Parameters
    ----------
    case : str
        How they were trained.

    Returns
    -------
    str
        p of each, alone and with clean models subtracted, as far as it was measured.
    """
    if not PREFERENCE.is_file():
        return f"docs/results/{PREFERENCE.name} is not at hand"
    rows = [row for row in read_rows(PREFERENCE) if row["case"] == case]
    shown = []
    for control, words in (
        ("none", "alone"),
        ("clean", "minus one clean model"),
        ("three cleans", "minus three clean models"),
    ):
        p = sorted(float(row["p"]) for row in rows if row["control"] == control)
        if p:
            shown.append(f"{', '.join(f'{one:.1g}' for one in p)} {words}")
    return f"p = {'; '.join(shown)}"


def share(part: float) -> str:
    """Models of the panel that were trained on a set of which a part is coated."""
    if not PANEL.is_file():
        return "docs/results/panel.csv is not at hand"
    rows = [
        float(row["p_keyed"])
        for row in read_rows(PANEL)
        if (row["kind"], row["coating"], row["n"]) == ("guilty", "keyed", "200")
        and float(row["coated_share"]) == part
    ]
    found = sum(p <= VerifyConfig().alpha for p in rows)
    listed = ", ".join(f"{p:.1g}" for p in sorted(rows))
    return f"{found} of {len(rows)} models found with 200 pictures (p = {listed})"


def _said(verdict: Verdict) -> str:
    return f"{verdict.outcome} (p = {verdict.deciding.p_value:.1g})"
