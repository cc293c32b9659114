"""DIAGNOSIS: a classifier tells warped pictures, and their share is tested.

Wang, Chen, Chen, Li and Ma (2024), "DIAGNOSIS: Detecting unauthorized data usages in text-to-image
diffusion models", ICLR (arXiv 2307.03108). Their classifier is a ResNet-18 with ImageNet weights;
this one is a small network that is trained from scratch on the fine detail of pictures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siren_ext.baselines.base import (
    Floats,
    Protected,
    evidence_rows,
    image_batch,
    known_rule,
)
from siren_ext.baselines.memorisation import (
    BASE_SHARE,
    exact_p_value,
    t_p_value,
    welch_p_value,
)
from siren_ext.baselines.warp import SMALLEST, Warp
from siren_ext.data.images import quantise, square_view
from siren_ext.progress import NULL, Progress

RULES = ("published", "exact")
RULES_BY_CLEAN = ("calibrated", "welch")
"""Rules that need pictures of a clean model."""


class Classifier(nn.Module):
    """Logits of clean and coated from B x 3 x V x V pictures in [0,1], V at least 16.

    It sees each picture beside what a 3 x 3 mean takes away from it, where a warp shows.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for first, second in ((6, 24), (24, 48), (48, 64)):
            layers += [nn.Conv2d(first, second, 3, padding=1), nn.BatchNorm2d(second), nn.ReLU()]
            layers += [nn.Conv2d(second, second, 3, padding=1, stride=2), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Linear(64, 2)

    def forward(self, pictures: Tensor) -> Tensor:
        """B x 2 logits."""
        mean = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), "replicate"), 3, 1)
        x = torch.cat([pictures - 0.5, 10 * (pictures - mean)], 1)
        logits: Tensor = self.out(self.layers(x).mean((2, 3)))
        return logits


@dataclasses.dataclass(frozen=True)
class ClassifierTraining:
    """Settings of the training.

    Attributes
    ----------
    size : int
        Side of the view of a whole picture, in pixels.
    crop : int
        Side of the random part that a step sees; at most ``size``.
    steps, batch : int
        Length, and pairs per step.
    rate : float
        Learning rate of Adam.
    seed : int
        Of weights, batches and parts.
    """

    size: int = 224
    crop: int = 224
    steps: int = 2000
    batch: int = 16
    rate: float = 1e-3
    seed: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Diagnosis:
    """A warp and the classifier that was trained for it.

    Attributes
    ----------
    warp : Warp
        What is written.
    classifier : Classifier
        What reads it.
    size : int
        Side of the view that it is given.
    clean_share : float
        Share of a clean model's pictures that it calls coated.
    clean_count : int
        Number of these pictures; without any, there are only the rules that need none.
    """

    warp: Warp
    classifier: Classifier
    size: int
    clean_share: float = 0.0
    clean_count: int = 0

    @property
    def name(self) -> str:
        """Name with the mode."""
        return f"DIAGNOSIS, {self.warp.mode}"

    @property
    def rules(self) -> tuple[str, ...]:
        """Those that are possible with the clean pictures at hand."""
        return (*RULES, *RULES_BY_CLEAN) if self.clean_count else RULES

    def compared_with(self, clean: Tensor) -> Diagnosis:
        """The same method with a clean model to compare with.

        Parameters
        ----------
        clean : Tensor
            N x 3 x H x W in [0,1]: its pictures, asked for like the suspicious ones; N at least 2.
        """
        share = float(self.evidence(clean).mean())
        return dataclasses.replace(self, clean_share=share, clean_count=len(clean))

    def protect(self, images: Tensor, captions: Sequence[str] = ()) -> Protected:
        """Warp images; see :meth:`siren_ext.baselines.warp.Warp.protect`."""
        return self.warp.protect(images, captions)

    @torch.no_grad()
    def evidence(self, mimicries: Tensor) -> Floats:
        """1 for each picture that is classified as coated, else 0; N x 1."""
        image_batch(mimicries, SMALLEST)
        view = square_view(mimicries, self.size)
        parts = [self.classifier(part).argmax(1) for part in view.split(32)]  # type: ignore[no-untyped-call]
        return torch.cat(parts)[:, None].double().numpy()

    def p_value(self, evidence: Floats, rule: str = "published") -> float:
        """The p-value of a share.

        Parameters
        ----------
        evidence : array
            N x 1, 0 or 1.
        rule : str
            ``published``: the t test against 1/2. ``exact``: the binomial test against 1/2.
            ``calibrated``: the binomial test against the larger of 1/2 and :attr:`clean_share`.
            ``welch``: Welch's t test against the clean model's pictures.

        Returns
        -------
        float
            In [0, 1].
        """
        known_rule(rule, self.rules)
        rows = evidence_rows(evidence, 1, bits=True)
        share, count = float(rows.mean()), len(rows)
        if rule == "published":
            return t_p_value(share, count)
        if rule == "welch":
            return welch_p_value(share, count, self.clean_share, self.clean_count)
        above = self.clean_share if rule == "calibrated" else 0.0
        return exact_p_value(share, count, min(1 - 1e-9, max(BASE_SHARE, above)))


def train_diagnosis(
    images: Tensor, warp: Warp, settings: ClassifierTraining, progress: Progress = NULL
) -> Diagnosis:
    """Train the classifier on images and their warped copies.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1]: the owner's, or external ones.
    warp : Warp
        The warp; both modes train on all images.
    settings : ClassifierTraining
        Size and length.
    progress : Progress
        Told of every step; may cancel.

    Returns
    -------
    Diagnosis
        The method.

    Raises
    ------
    Cancelled
        If the user stops.
    """
    image_batch(images, SMALLEST)
    clean = square_view(images, settings.size)
    coated = square_view(quantise(warp.apply(images)), settings.size)
    rng = torch.Generator().manual_seed(settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        net = Classifier()
    optimiser = torch.optim.Adam(net.parameters(), settings.rate)
    labels = torch.arange(2).repeat_interleave(settings.batch)
    room = settings.size - settings.crop + 1
    progress.stage("Training the classifier", settings.steps)
    for _ in range(settings.steps):
        rows = torch.randint(len(clean), (settings.batch,), generator=rng)
        top, left = torch.randint(room, (2,), generator=rng).tolist()
        part = torch.cat([clean[rows], coated[rows]])
        part = part[:, :, top : top + settings.crop, left : left + settings.crop]
        if torch.rand((), generator=rng) < 0.5:
            part = part.flip(3)
        loss = F.cross_entropy(net(part), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        progress.advance(note=f"loss {loss.item():.3f}")
    return Diagnosis(warp, net.eval(), settings.size)
