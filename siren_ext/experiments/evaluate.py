"""The findings of a study: every model against the reference, mean shares, and the lost signal."""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from siren_ext.adapters.read import read_summary
from siren_ext.coating.manifest import CoatManifest
from siren_ext.experiments import stages
from siren_ext.experiments.chain import Chain
from siren_ext.experiments.layout import cached_value
from siren_ext.experiments.measures import across_seeds, area, null_spread, rejections
from siren_ext.experiments.study import DetectionConfig, Model, spread_evenly
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.training.prompts import class_prompt
from siren_ext.training.surrogate import DiffusionSurrogate
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify

Result = dict[str, Any]


def evaluate_model(
    chain: Chain, model: Model, scores: Mapping[str, ScoreSet], reference: Model
) -> Result:
    """Compare a model with the reference.

    Parameters
    ----------
    chain : Chain
        of the study.
    model : Model
        one of its models.
    scores : Mapping[str, ScoreSet]
        scores by the models' names.
    reference : Model
        the reference model.

    Returns
    -------
    dict[str, Any]
        plain values: the model's seeds and scores and, unless it is the reference, its area under
        the curve, rejection rates and verdict.
    """
    own, other = scores[model.name], scores[reference.name]
    adapter = read_summary(chain.layout.adapter(model))
    row: Result = {
        "model": model.name,
        "role": model.role,
        "training_seed": model.training_seed,
        "noise_seed": model.noise_seed,
        "adapter": adapter.hash,
        "training_loss": _finite(adapter.metadata.get("siren_loss")),
        "scores": own.scores.tolist(),
    }
    if model.role == "reference":
        return row
    separation = area(own.scores, other.scores)
    rng = np.random.default_rng((chain.config.seed, model.training_seed))
    found = rejections(own.scores, other.scores, chain.config, rng)
    verdict = verify(
        own, other, VerifyConfig(alpha=chain.config.alpha, low_end=chain.config.low_end)
    )
    return row | {
        "auc": separation.value,
        "auc_se": separation.error,
        "rejected": found.to_rows(),
        "curve": list(found.curve),
        "verdict": {
            name: value
            for name, value in verdict.to_dict().items()
            if name in ("outcome", "headline", "finding", "alpha", "warnings")
        },
    }


def _finite(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def mean_shares(rows: Sequence[Result], config: DetectionConfig) -> Result:
    """Average the rejection rates over the models of each role.

    Parameters
    ----------
    rows : Sequence[dict[str, Any]]
        of :func:`evaluate_model`.
    config : DetectionConfig
        the study's settings.

    Returns
    -------
    dict[str, Any]
        for guilty and innocent a row per level of :func:`across_seeds`. Rows of innocent models
        also have ``se_null``, the standard error of the mean in a study whose models all have the
        reference's distribution; ``chance``, how often such a study accuses at least as many; and
        ``within``, whether the mean is at most alpha + 3 ``se_null``. ``se_draws`` would be that
        error if all draws were independent (they are not: they share their pools), and
        ``within_draws`` is the check with it.
    """
    table = {
        role: across_seeds(
            [[level["share"] for level in m["rejected"]] for m in rows if m["role"] == role]
        )
        for role in ("guilty", "innocent")
    }
    null = null_spread(config, np.random.default_rng((config.seed, 0)))
    chances = null.chance([row["mean"] for row in table["innocent"]])
    for row, error, chance in zip(table["innocent"], null.errors(), chances, strict=True):
        alpha, draws = row["alpha"], config.seeds * config.repeats
        own = math.sqrt(alpha * (1 - alpha) / draws)
        row |= {"se_null": float(error), "within": bool(row["mean"] <= alpha + 3 * error)}
        row |= {"se_draws": own, "within_draws": bool(row["mean"] <= alpha + 3 * own)}
        row["chance"] = float(chance)
    return table


def lost_signal(
    chain: Chain, manifest: CoatManifest, models: Sequence[Model]
) -> tuple[list[Result], list[Result]]:
    """Measure where the signal is lost on its way into generated images, see :mod:`stages`.

    Parameters
    ----------
    chain : Chain
        of the study.
    manifest : CoatManifest
        the coated files.
    models : Sequence[Model]
        all models, trained; the first is the reference.

    Returns
    -------
    tuple[list[dict[str, Any]], list[dict[str, Any]]]
        rows of :func:`stages.survival`, and of :func:`stages.learnt` for the first guilty model.
    """
    config, layout = chain.config, chain.layout
    prompt = class_prompt(chain.class_word)
    entries = spread_evenly(manifest.entries, config.stage_images)
    pairs = [(chain.original(e.source), layout.coated / e.output) for e in entries]
    shown = [models[0], *(m for m in models if m.role != "reference" and m.number == 0)]
    key = {
        "files": [entry.output_sha256 for entry in entries],
        "adapters": [_hash(layout.adapter(model)) for model in shown],
        "coater": chain.coater.fingerprint,
        "levels": config.levels,
        "prompt": prompt,
    }

    def load(model: Model) -> DiffusionSurrogate:
        gc.collect()  # one model in memory at a time
        return stages.load_surrogate(chain.base, layout.adapter(model), prompt, chain.device)

    def make() -> Result:
        surrogate = load(models[0])
        levels = stages.usable_levels(surrogate, config.levels)
        survived = stages.survival(
            pairs, surrogate, chain.coater, levels, seed=config.seed, progress=chain.progress
        )
        del surrogate
        clean = [pair[0] for pair in pairs]
        seen = {
            model.role: stages.denoised_scores(
                clean,
                load(model),
                chain.coater,
                levels,
                seed=config.seed,
                progress=chain.progress,
            )
            for model in shown[1:]
        }
        return {"survival": survived, "learnt": stages.learnt(seen["guilty"], seen["innocent"])}

    found = cached_value(layout.root / "stages.json", key, make)
    return found["survival"], found["learnt"]


def _hash(adapter: Path) -> str:
    return read_summary(adapter).hash
