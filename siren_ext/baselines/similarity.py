"""Similarity of pictures to the owner's images: the DINO and CLIP scores, and their like.

Appendix D of SIREN (arXiv 2410.10437) shows that such scores do not tell who used the images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from siren_ext.baselines.base import (
    Floats,
    Protected,
    all_captions,
    evidence_rows,
    image_batch,
    known_rule,
)
from siren_ext.data.images import quantise, square_view
from siren_ext.errors import ConfigError, MissingExtraError, ModelError, ScoreError

BACKBONES = ("eff0", "dino", "clip")
DRAWS = 1000
RULES = ("published", "permutation")
Embed = Callable[[Tensor], Floats]
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_VIEW = 224


def backbone(name: str, folder: Path | None = None) -> Embed:
    """A network that gives one vector per picture.

    Parameters
    ----------
    name : {"eff0", "dino", "clip"}
        ``eff0``: EfficientNet-Lite0, whose weights are a package. ``dino`` and ``clip``: a ViT
        (CLS token) and the image half of a CLIP model, in the format of transformers.
    folder : Path | None
        Of the model, for ``dino`` and ``clip``.

    Returns
    -------
    callable
        From B x 3 x H x W in [0,1] to B x d.

    Raises
    ------
    ConfigError
        If there is no such network, or its folder is not given.
    MissingExtraError
        If a package is not installed.
    ModelError
        If the folder holds no such model.
    """
    if name not in BACKBONES:
        raise ConfigError(f"There is no network {name!r}; expected {', '.join(BACKBONES)}.")
    if name == "eff0":
        from siren_ext.pocket.fidelity import Eff0

        net = Eff0()
        return lambda pictures: net(pictures).astype(np.float64)
    model = _transformers_model(name, folder)
    mean, spread = (
        torch.tensor(row)[:, None, None] for row in (_CLIP if name == "clip" else _IMAGENET)
    )

    @torch.no_grad()
    def embed(pictures: Tensor) -> Floats:
        view = (square_view(pictures.float(), _VIEW) - mean) / spread
        found = model(pixel_values=view)
        vectors = found.image_embeds if name == "clip" else found.last_hidden_state[:, 0]
        return np.asarray(vectors.double().numpy(), np.float64)

    return embed


def _transformers_model(name: str, folder: Path | None) -> Any:
    if folder is None or not Path(folder).is_dir():
        raise ConfigError(
            f"The network {name} is not part of this package: found no folder with its weights "
            f"({folder}). Give a folder in the format of transformers, or use eff0."
        )
    try:
        from transformers import CLIPVisionModelWithProjection, ViTModel
    except ImportError as error:
        raise MissingExtraError("transformers") from error
    kind = CLIPVisionModelWithProjection if name == "clip" else ViTModel
    try:
        model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{Path(folder).name} holds no {name} model that transformers can read: {error}"
        ) from error
    return model.eval().requires_grad_(False)


def cosines(first: Floats, second: Floats) -> Floats:
    """Cosine similarity of all pairs, n x m in [-1,1]; a zero vector has 0 with all others.

    Raises
    ------
    ScoreError
        If the vectors have different lengths.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ScoreError(
            f"Found vectors of shapes {first.shape} and {second.shape}; expected n x d and m x d "
            "of one network."
        )
    unit = [
        rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        for rows in (first, second)
    ]
    return np.clip(unit[0] @ unit[1].T, -1, 1)  # type: ignore[no-any-return]


def clip_t(pictures: Floats, texts: Floats) -> float:
    """Mean cosine similarity of each picture with its own text (fidelity to the prompt).

    Parameters
    ----------
    pictures, texts : array
        N x d vectors of one CLIP model.

    Returns
    -------
    float
        In [-1, 1].
    """
    if len(pictures) != len(texts):
        raise ScoreError(f"Found {len(pictures)} pictures and {len(texts)} texts; expected pairs.")
    return float(np.diagonal(cosines(pictures, texts)).mean())


@dataclasses.dataclass(frozen=True, eq=False)
class Similarity:
    """The score of one owner; it changes no image.

    Attributes
    ----------
    embed : callable
        A network of :func:`backbone`.
    owned : Tensor
        The owner's images, B x 3 x H x W in [0,1].
    benign : Tensor
        Pictures that are known to be innocent.
    label : str
        Name of the network.
    """

    embed: Embed
    owned: Tensor
    benign: Tensor
    label: str = "eff0"
    rules: tuple[str, ...] = dataclasses.field(default=RULES, init=False)

    @property
    def name(self) -> str:
        """Name with the network."""
        return f"{self.label} similarity"

    @cached_property
    def _owned(self) -> Floats:
        return _vectors(self.embed, self.owned)

    @cached_property
    def _benign(self) -> Floats:
        return cosines(_vectors(self.embed, self.benign), self._owned).mean(1)  # type: ignore[no-any-return]

    @property
    def floor(self) -> float:
        """The smallest p: one in the number of benign pictures."""
        return 1 / len(self.benign)

    def protect(self, images: Tensor, captions: Sequence[str] = ()) -> Protected:
        """The images as they are."""
        image_batch(images, 1)
        texts = all_captions(captions, len(images))
        return Protected(quantise(images), texts, (False,) * len(images))

    def evidence(self, mimicries: Tensor) -> Floats:
        """Mean similarity of each picture to the owner's images, N x 1 in [-1,1]."""
        image_batch(mimicries, 1)
        return cosines(_vectors(self.embed, mimicries), self._owned).mean(1, keepdims=True)  # type: ignore[no-any-return]

    def p_value(self, evidence: Floats, rule: str = "published") -> float:
        """The p-value of the mean similarity of a sample.

        Parameters
        ----------
        evidence : array
            N x 1.
        rule : str
            ``published``: the share of single benign pictures that are as similar as the mean of
            the sample, so that p <= alpha if the mean is above their (1 - alpha) quantile. A mean
            of N varies less than single pictures, so this accuses rarely what is like them.
            ``permutation``: the rank of the difference of both means among permutations of all
            pictures.

        Returns
        -------
        float
            At least :attr:`floor`. Null hypothesis: the pictures and the benign ones can be
            exchanged. It is false for most innocent models too, whose style is another one.

        Raises
        ------
        ScoreError
            If a permutation has fewer benign pictures than N.
        """
        known_rule(rule, self.rules)
        rows = evidence_rows(evidence, 1)
        if rule == "published":
            return max(float((self._benign >= rows.mean()).mean()), self.floor)
        if len(rows) > len(self._benign):
            raise ScoreError(
                f"Found {len(rows)} pictures and {len(self._benign)} benign ones; expected at "
                "least as many benign ones."
            )
        rng = np.random.default_rng(0)
        # their mean alone, because the sum over both stays as it is
        pool = np.concatenate([rows[:, 0], self._benign])
        order = rng.random((DRAWS, len(pool))).argsort(1)[:, : len(rows)]
        least = rows.mean() - 1e-12 * np.abs(pool).max()
        p = float((1 + (pool[order].mean(1) >= least).sum()) / (DRAWS + 1))
        return max(p, self.floor)


def _vectors(embed: Embed, pictures: Tensor) -> Floats:
    return np.concatenate([embed(part) for part in pictures.split(16)])  # type: ignore[no-untyped-call]
