"""The tables of the passive study."""

from __future__ import annotations

from siren_ext.experiments.passive_tables import markdown

RULE = "losses, difference"


def row(kind: str, model: int, p: float, n: int, share: float, **changes: object) -> dict:
    base = {"kind": kind, "model": f"{kind}_{model}", "draw": 0, "rule": RULE}
    base |= {"images": 100, "steps": 200}
    return base | {"mode": "permutation", "n": n, "share": share, "p": p} | changes


def test_tables_count_models_once() -> None:
    rows = [row("innocent", model, p, 50, 0.0) for model, p in enumerate([0.04, 0.3, 0.6, 0.9])]
    rows += [row("innocent", 0, 1e-9, 50, 0.0, draw=1)]  # a second draw is no further model
    rows += [row("guilty", model, p, 50, 1.0) for model, p in enumerate([1e-4, 0.02])]
    rows += [row("guilty", 0, 1e-5, 20, 0.1, mode="official")]
    single = [{"attack": "diff:secmi", "models": 2, "mean_tpr": 0.031, "largest_tpr": 0.25}]
    lines = markdown(rows, single, {"guilty_0": "faces", "guilty_1": "photos"})
    assert lines[0] == "| rule, test | n = 20 | n = 50 | n = 100 | n = 200 |"
    assert lines[2] == (
        "| losses, difference, permutation |  | 25 % (1 to 81); 0 % (0 to 60) |  |  |"
    )
    power = lines[lines.index("") + 1 :]
    assert power[0].count("|") == 18
    assert power[2].split("|")[15].strip() == "1 of 2"
    assert not any("official" in line for line in lines)
    assert "| set, training images (n = 50) | 200 steps |" in lines
    assert "| faces, 100 | 0.0001 |" in lines
    assert "| photos, 100 | 0.02 |" in lines
    assert "| suspect minus base: secmi | 3.1 % | 25.0 % |" in lines
    assert lines[-1] == (
        "Set test, n = 50, p up to .01: 50 % (1 to 99) of the guilty models, 0 % (0 to 60) of the "
        "innocent ones."
    )
