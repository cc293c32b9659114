"""``plan``: how many images a test needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siren_ext.cli.common import command, explain, say
from siren_ext.cli.options import AsJson
from siren_ext.errors import ConfigError, ScoreError

if TYPE_CHECKING:
    from siren_ext.stats.power import SizePlan
    from siren_ext.stats.sequential_power import SequentialPlan

ALPHAS = (1e-3, 1e-6)
GIVE_UP = 200

PilotSuspect = Annotated[
    Path | None,
    typer.Option("--suspect", help="Pilot: scores of your own model trained on coated images."),
]
PilotReference = Annotated[
    Path | None,
    typer.Option("--reference", help="Pilot: scores of a model trained on clean images."),
]
Effect = Annotated[
    float | None,
    typer.Option("--effect", help="Without a pilot: how far scores drop, in standard deviations."),
]
Accuracy = Annotated[
    float | None,
    typer.Option(
        "--accuracy",
        help="Keyed test: share of bits that are read correctly in single images, 0 to 1.",
    ),
]
Spread = Annotated[
    float,
    typer.Option("--spread", help="Keyed test: how much this share varies from bit to bit."),
]
Keys = Annotated[
    int,
    typer.Option(
        "--keys", min=1, help="Keyed test: number of keys in the key file; p is multiplied by it."
    ),
]
Number = Annotated[
    int,
    typer.Option(
        "--test",
        min=1,
        help="Keyed test: this is test number j of the key file; p is multiplied by j (j + 1).",
    ),
]


def plan(
    suspect: PilotSuspect = None,
    reference: PilotReference = None,
    effect: Effect = None,
    accuracy: Accuracy = None,
    bits: Annotated[int, typer.Option("--bits", help="Keyed test: bits in the message.")] = 48,
    spread: Spread = 0.1,
    keys: Keys = 1,
    test: Number = 1,
    alpha: Annotated[
        list[float] | None,
        typer.Option("--alpha", help="Accepted risk of a false alarm; may be repeated."),
    ] = None,
    power: Annotated[
        float,
        typer.Option(
            "--power", help="The chance of catching a guilty model that you want to have."
        ),
    ] = 0.95,
    references: Annotated[
        int | None,
        typer.Option(
            "--references", help="Number of reference images; default: as in the pilot, or 300."
        ),
    ] = None,
    low_end: Annotated[
        float | None,
        typer.Option(
            "--low-end",
            help="Share of the lowest reference scores that the verdict searches, above 0 and up "
            "to 1; default: as in verify.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed of the simulation.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Estimate how many images you need to test a suspicious model.

    Give a pilot (--suspect and --reference), an --effect, or the bit --accuracy of a keyed
    coating. A plan is not evidence: don't use the pilot's images again for the verdict.
    """
    pilot = suspect is not None or reference is not None
    if pilot + (effect is not None) + (accuracy is not None) != 1:
        raise ConfigError(
            "A plan starts from exactly one of: --suspect with --reference, --effect, or "
            "--accuracy. Give one of these."
        )
    levels = sorted(set(alpha or ALPHAS), reverse=True)
    if accuracy is not None:
        result = _keyed(accuracy, bits, spread, levels, power, seed, _price(keys, test))
    elif effect is not None:
        m = 300 if references is None else references
        result = _from_effect(effect, levels, power, m, _share(low_end), seed)
    elif suspect is None or reference is None:
        raise ConfigError(
            "A pilot needs both --suspect and --reference, but only one was given; give both."
        )
    else:
        share = _share(low_end)
        result = _from_pilot(suspect, reference, levels, power, references, share, seed)
    if as_json:
        say(json.dumps(result, indent=2, allow_nan=False))
    else:
        _print_table(result)


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "plan",
        example="siren-ext plan --suspect pilot.json --reference clean.json --alpha 1e-6",
    )(plan)


def _share(low_end: float | None) -> float:
    """The share of the reference that the verdict's test searches."""
    from siren_ext.verdict.config import VerifyConfig

    return VerifyConfig().low_end if low_end is None else low_end


def _from_effect(
    effect: float, levels: Sequence[float], power: float, references: int, share: float, seed: int
) -> dict[str, Any]:
    import numpy as np

    from siren_ext.stats.power import plan_size

    rng = np.random.default_rng(seed)
    rows = []
    for alpha in levels:
        fixed = plan_size(
            effect, alpha=alpha, power=power, references=references, share=share, rng=rng
        )
        rows.append(_row(fixed, _sequential(fixed, effect, rng)))
    planned = {"basis": "effect", "effect": effect, "low_end": share, "rows": rows}
    return planned | _shared(power, references, seed)


def _from_pilot(
    suspect: Path,
    reference: Path,
    levels: Sequence[float],
    power: float,
    references: int | None,
    share: float,
    seed: int,
) -> dict[str, Any]:
    import numpy as np

    from siren_ext.scoring.score_set import ScoreSet, require_same_coater
    from siren_ext.stats.power import pilot_effect, plan_from_pilot, plan_size

    first, second = ScoreSet.load(suspect), ScoreSet.load(reference)
    require_same_coater(first, second)
    found = pilot_effect(first.scores, second.scores)
    if found.value <= 0:
        raise ScoreError(
            f"The pilot's suspect scores are not lower than its reference scores (effect "
            f"{found.value:.2f}), so there is no effect to plan for; check the pilot model, or "
            "give --effect instead."
        )
    m = len(second) if references is None else references
    rng = np.random.default_rng(seed)
    rows = []
    for alpha in levels:
        fixed = plan_from_pilot(
            first.scores,
            second.scores,
            alpha=alpha,
            power=power,
            references=m,
            share=share,
            rng=rng,
        )
        row = _row(fixed, _sequential(fixed, found.value, rng))
        careful = None
        if found.low > 0:
            careful = plan_size(
                found.low, alpha=alpha, power=power, references=m, share=share, rng=rng
            ).images
        rows.append(row | {"images_careful": careful})
    pilot = {"suspect_images": len(first), "reference_images": len(second)}
    return {
        "basis": "pilot",
        "effect": found.value,
        "effect_low": found.low,
        "low_end": share,
        "pilot": pilot,
        "rows": rows,
    } | _shared(power, m, seed)


def _price(keys: int, test: int) -> int:
    """What a verdict multiplies p by."""
    from siren_ext.evidence.ledger import price_of

    return keys * price_of(test)


def _keyed(
    accuracy: float,
    bits: int,
    spread: float,
    levels: Sequence[float],
    power: float,
    seed: int,
    price: int,
) -> dict[str, Any]:
    import numpy as np

    from siren_ext.stats.keyed_power import KeyedEffect, plan_keyed

    effect = KeyedEffect.from_accuracy(accuracy, bits, spread=spread)
    rng = np.random.default_rng(seed)
    rows = []
    for alpha in levels:
        row = _row(plan_keyed(effect, alpha=alpha / price, power=power, rng=rng))
        rows.append(row | {"alpha": alpha})
    keyed = {"basis": "keyed", "accuracy": accuracy, "bits": bits, "spread": spread}
    return keyed | {"price": price, "rows": rows} | _shared(power, 0, seed)


def _shared(power: float, references: int, seed: int) -> dict[str, Any]:
    return {"power": power, "references": references, "seed": seed}


def _sequential(fixed: SizePlan, effect: float, rng: Any) -> SequentialPlan:
    from siren_ext.stats.sequential_power import plan_sequential

    limit = 2 * fixed.images if fixed.images else GIVE_UP
    return plan_sequential(
        effect, alpha=fixed.alpha, references=fixed.references, limit=limit, rng=rng
    )


def _row(fixed: SizePlan, sequential: SequentialPlan | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "alpha": fixed.alpha,
        "images": fixed.images,
        "power": fixed.power,
        "power_error": fixed.error,
        "limit": fixed.limit,
    }
    if sequential is not None:
        row["sequential"] = sequential.to_dict()
    return row


def _print_table(result: dict[str, Any]) -> None:
    from siren_ext.verdict.wording import odds

    keyed, pilot = result["basis"] == "keyed", result["basis"] == "pilot"
    if keyed:
        share = f"{result['accuracy']:.0%} of {result['bits']} bits right in single images"
        say(
            f"Keyed test without reference images; {share}; p is multiplied by "
            f"{result['price']:,}, for the keys and the tests of the key file."
        )
    else:
        lower = f"scores lower by {result['effect']:.2f} standard deviations"
        where = f"lowest {result['low_end']:.0%}" if result["low_end"] < 1 else "all scores"
        say(
            f"Kolmogorov-Smirnov test ({where}) against {result['references']} reference images; "
            f"{lower}"
        )
        if pilot:
            counts = result["pilot"]
            say(
                f"in a pilot of {counts['suspect_images']} and {counts['reference_images']} images "
                f"(at least {result['effect_low']:.2f} with 90 % confidence)."
            )
    head = ["false alarm", f"images for {result['power']:.0%}"]
    head += ["to be careful"] if pilot else []
    head += [] if keyed else ["one at a time: half stop by", "nine of ten by"]
    lines = [head]
    for row in result["rows"]:
        cells = [odds(row["alpha"]), _cell(row["images"])]
        cells += [_cell(row["images_careful"])] if pilot else []
        if not keyed:
            cells += [_cell(row["sequential"]["median"]), _cell(row["sequential"]["most"])]
        lines.append(cells)
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        say("  ".join(cells))
    for row in result["rows"]:
        if row["images"] is None:
            if keyed:
                why = "you need more bits, or bits that are learnt more evenly"
            else:
                why = "you need more reference images or a stronger coating"
            explain(
                f"Note: at {odds(row['alpha'])}, even {row['limit']:,} images catch a guilty model "
                f"with a chance of only {row['power']:.0%}; {why}."
            )


def _cell(images: int | None) -> str:
    return "out of reach" if images is None else f"{images:,}"
