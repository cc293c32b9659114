"""The result of a detection study: a CSV table, figures for docs/figures.md, lines of text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from siren_ext.experiments.rows import write_rows
from siren_ext.files import write_json
from siren_ext.verdict.outcomes import LOWER, NO_DIFFERENCE

Result = dict[str, Any]

FIGURE_LEVELS = (1e-3, 1e-6)
FALSE_LEVELS = (1e-1, 1e-2)
TARGET_PSNR, TARGET_SSIM, TARGET_TINT = 38.0, 0.97, 3.0
TARGET_RATE, TARGET_LEVEL = 0.95, 1e-3


def write_table(result: Result, path: Path) -> None:
    """Write a CSV table with a row per model.

    Parameters
    ----------
    result : dict[str, Any]
        of :func:`~siren_ext.experiments.detection.run_detection`.
    path : Path
        the file.
    """
    write_rows([_row(model) for model in result["models"]], path)


def _row(model: Result) -> Result:
    row = {
        name: model[name]
        for name in ("model", "role", "training_seed", "noise_seed", "adapter", "training_loss")
    }
    scores = np.array(model["scores"])
    row |= {"images": len(scores), "score_mean": scores.mean(), "score_sd": scores.std()}
    if model["role"] == "reference":
        return row
    row |= {"auc": model["auc"], "auc_se": model["auc_se"]}
    finding = model["verdict"]["finding"]
    row |= {"verdict": model["verdict"]["outcome"], "d": finding["statistic"]}
    row |= {"p": finding["p_value"], "n": finding["n"], "m": finding["m"]}
    for level in model["rejected"]:
        name = f"share_at_{level['alpha']:g}"
        row |= {name: level["share"], f"{name}_se": level["se_pools"]}
    return row


def write_figures(result: Result, path: Path, *, targets: bool = True) -> list[dict[str, str]]:
    """Write the figures for docs/figures.md as JSON.

    Parameters
    ----------
    result : dict[str, Any]
        of :func:`~siren_ext.experiments.detection.run_detection`.
    path : Path
        the file.
    targets : bool
        whether the set has targets; without them figures are only reported.

    Returns
    -------
    list[dict[str, str]]
        rows of ``figure``, ``target`` and ``measured``, as written.
    """
    name, files, models = result["name"], result["files"], result["models"]
    rows: list[tuple[str, str, str]] = []
    if files["psnr_db"]["mean"] is not None:
        noise = files["psnr_db"]
        measured = f"{noise['mean']:.1f} dB ({noise['worst']:.1f} dB)"
        rows.append(("coated files, PSNR: mean (lowest)", f">= {TARGET_PSNR:g} dB", measured))
    for key, label, target in (
        ("ssim", "coated files, SSIM: mean (lowest)", f">= {TARGET_SSIM:g}"),
        (
            "local_de00_p99",
            "coated files, local colour difference: mean (largest)",
            f"<= {TARGET_TINT:g}",
        ),
    ):
        digits = 3 if key == "ssim" else 2
        measured = f"{files[key]['mean']:.{digits}f} ({files[key]['worst']:.{digits}f})"
        rows.append((label, target, measured))
    below = f"{files['below_count']} of {files['files']}"
    rows.append(("coated files that score below every clean file", "every one", below))
    drawn = result["protocol"]
    against = f"{drawn['size']} mimicries against {drawn['against']}"
    for level in result["guilty"]:
        if level["alpha"] in FIGURE_LEVELS:
            aim = f">= {percent(TARGET_RATE)}" if level["alpha"] == TARGET_LEVEL else "aim: 100 %"
            measured = f"{percent(level['mean'])}{_seeds(level, len(models) // 2)}"
            rows.append((f"suspect caught at {level['alpha']:g}, {against}", aim, measured))
    for level in result["innocent"]:
        if level["alpha"] in FALSE_LEVELS:
            measured = f"{percent(level['mean'])}, s.e. {percent(level['se_null'])}"
            label = f"innocent accused at {level['alpha']:g}, {against}"
            rows.append((label, f"<= {level['alpha']:g} + 3 s.e.", measured))
    for role, wanted in (("guilty", LOWER), ("innocent", NO_DIFFERENCE)):
        verdicts = [m["verdict"]["outcome"] for m in models if m["role"] == role]
        right = f"{verdicts.count(wanted)} of {len(verdicts)}"
        label = f"{role} models with verdict '{wanted}' on all images, alpha {drawn['alpha']:g}"
        rows.append((label, "every one", right))
    listed = [
        {"figure": f"{name}: {label}", "target": target if targets else "reported", "measured": got}
        for label, target, got in rows
    ]
    write_json(path, listed)
    return listed


def percent(share: float) -> str:
    """Format a share for reading.

    Parameters
    ----------
    share : float
        0 to 1.

    Returns
    -------
    str
        with as many digits as it needs: ``100 %``, ``97.5 %``, ``0.03 %``.
    """
    digits = 0 if share in (0, 1) else (1 if 0.01 <= share <= 0.999 else 2)
    return f"{100 * share:.{digits}f} %"


def _seeds(level: Result, count: int) -> str:
    if count < 2:
        return " (one training seed)"
    return f" (lowest of {count} seeds: {percent(level['lowest'])})"


def summary_text(result: Result) -> str:
    """Summarise a study.

    Parameters
    ----------
    result : dict[str, Any]
        of :func:`~siren_ext.experiments.detection.run_detection`.

    Returns
    -------
    str
        the main results in a few lines.
    """
    files = result["files"]
    noise = files["psnr_db"]["mean"]
    lines = [
        f"Coated files: PSNR {'not known' if noise is None else f'{noise:.1f} dB'}, "
        f"SSIM {files['ssim']['mean']:.3f}, local colour difference "
        f"{files['local_de00_p99']['mean']:.2f}, {files['below_count']} of {files['files']} "
        "below every clean file"
    ]
    for row in result["survival"]:
        left = "" if row["kept"] is None else f", {percent(max(row['kept'], 0))} of it left"
        lines.append(f"  {row['stage']:<36} AUC {row['auc']:.3f}{left}")
    for row in result["learnt"]:
        lines.append(f"  learnt: {row['stage']:<28} AUC {row['auc']:.3f}")
    for model in result["models"]:
        if model["role"] != "reference":
            finding = model["verdict"]["finding"]
            lines.append(
                f"{model['model']:<12} AUC {model['auc']:.3f}, p = {finding['p_value']:.2g} "
                f"({finding['n']} against {finding['m']}): {model['verdict']['outcome']}"
            )
    for role in ("guilty", "innocent"):
        shares = ", ".join(f"{percent(row['mean'])} at {row['alpha']:g}" for row in result[role])
        lines.append(f"{role} models rejected: {shares}")
    return "\n".join(lines)
