"""Discriminators: functions that learn from the answers of shadow models to give a score.

The architecture is not in the published text. A :data:`Fit` is any function of this kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from siren_ext.attribution.source_config import ShadowConfig
from siren_ext.errors import ScoreError
from siren_ext.passive.scorer import logistic_weights, standardised

Floats = NDArray[np.float64]
Score = Callable[[Floats], float]
"""From the vectors of a model, N x d, to its score: larger if it looks trained on the pictures."""
Fit = Callable[[Sequence[Floats], Sequence[bool], ShadowConfig], Score]
"""From the vectors of models, whether each was trained on the pictures, and settings to a score."""

_LAYERS = (256, 64)
_BATCH = 64


def fit_logistic(models: Sequence[Floats], trained: Sequence[bool], config: ShadowConfig) -> Score:
    """A logistic regression on the mean and the spread of a model's vectors.

    Parameters
    ----------
    models : sequence of array, each of shape (N, d)
        Vectors of each model.
    trained : sequence of bool
        Which models were trained on the source's pictures.
    config : ShadowConfig
        Gives the penalty.

    Returns
    -------
    Score
        Gives the logit.
    """
    table = np.stack([_pooled(one) for one in models])
    labels = np.where(np.asarray(trained), 1.0, -1.0)
    fitted, _ = standardised(table, table)
    weights = logistic_weights(fitted, labels[None], config.penalty)[0]

    def score(vectors: Floats) -> float:
        _, row = standardised(table, _pooled(vectors)[None])
        return float(row[0] @ weights)

    return score


def fit_mlp(models: Sequence[Floats], trained: Sequence[bool], config: ShadowConfig) -> Score:
    """A network that reads one vector at a time; a model's score is its mean logit.

    Two layers of 256 and 64 with ReLU and dropout, cross-entropy and Adam. Training stops when the
    loss on one held-out model of each kind no longer falls. Arguments as of :func:`fit_logistic`.

    Raises
    ------
    ScoreError
        If there are fewer than two models of a kind.
    """
    kinds = [[i for i, flag in enumerate(trained) if flag == kind] for kind in (True, False)]
    if min(len(kind) for kind in kinds) < 2:
        raise ScoreError(
            f"There are {len(kinds[0])} models that were trained on the pictures and "
            f"{len(kinds[1])} innocent ones; the network needs two or more of each."
        )
    rng = np.random.default_rng((config.seed, 23))
    held = {int(rng.choice(kind)) for kind in kinds}
    seen = [number for number in range(len(models)) if number not in held]
    centre = np.concatenate([models[number] for number in seen])
    mean, spread = centre.mean(0), np.maximum(centre.std(0), 1e-9)

    def batch(numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows = np.concatenate([(models[number] - mean) / spread for number in numbers])
        flags = np.concatenate([np.full(len(models[i]), trained[i], np.float32) for i in numbers])
        return torch.from_numpy(rows.astype(np.float32)), torch.from_numpy(flags)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        net = _network(len(mean), config.dropout)
        _train(net, batch(seen), batch(sorted(held)), config)

    @torch.no_grad()
    def score(vectors: Floats) -> float:
        rows = torch.from_numpy(((vectors - mean) / spread).astype(np.float32))
        return float(net(rows).mean())

    return score


def _pooled(vectors: Floats) -> Floats:
    return np.concatenate([vectors.mean(0), vectors.std(0)])


def _network(width: int, dropout: float) -> nn.Sequential:
    first, second = _LAYERS
    return nn.Sequential(
        nn.Linear(width, first),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(second, 1),
        nn.Flatten(0),
    )


def _train(
    net: nn.Sequential,
    seen: tuple[Tensor, Tensor],
    held: tuple[Tensor, Tensor],
    config: ShadowConfig,
) -> None:
    """Train to the lowest loss on held-out models, whose weights are kept."""
    optimiser = torch.optim.Adam(net.parameters(), lr=config.rate)
    loss = nn.BCEWithLogitsLoss()
    best, waited, kept = math.inf, 0, {k: v.clone() for k, v in net.state_dict().items()}
    for _ in range(config.epochs):
        net.train()
        for rows in torch.split(torch.randperm(len(seen[0])), _BATCH):
            optimiser.zero_grad()
            loss(net(seen[0][rows]), seen[1][rows]).backward()
            optimiser.step()
        net.eval()
        with torch.no_grad():
            now = float(loss(net(held[0]), held[1]))
        if now < best - 1e-4:
            best, waited = now, 0
            kept = {k: v.clone() for k, v in net.state_dict().items()}
        else:
            waited += 1
            if waited >= config.patience:
                break
    net.load_state_dict(kept)
    net.eval()


FITS: dict[str, Fit] = {"logistic": fit_logistic, "mlp": fit_mlp}
"""All discriminators by name."""
