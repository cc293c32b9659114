"""The report: one self-contained HTML page and the same as JSON."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from siren_ext.files import atomic, write_json
from siren_ext.keys.signing import Signer
from siren_ext.report.integrity import HTML, JSON, write_seal
from siren_ext.report.pictures import AMPLIFICATION, coating_shown, galleries_of
from siren_ext.report.pictures import CoatEvidence as CoatEvidence
from siren_ext.report.redaction import clean as clean
from siren_ext.report.redaction import pretty
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import KeyedResult
from siren_ext.stats.sequential import SequentialResult, sequential_ks
from siren_ext.text import printable
from siren_ext.verdict.findings import distinct_scores
from siren_ext.verdict.verify import Verdict
from siren_ext.verdict.wording import NAMES, QUESTIONS, odds

FORMAT = "siren_ext.report"
FORMAT_VERSION = 1

_ROWS = 300
# images x scores up to which the sequential test is run: seconds
PATH_LIMIT = 400_000
_PACKAGES = ("siren-ext", "torch", "numpy", "scipy", "pillow", "diffusers", "transformers", "peft")


@dataclass(frozen=True)
class ReportPaths:
    """Where the two forms of a report lie, and the seal that names a changed byte."""

    html: Path
    json: Path
    seal: Path | None = None


def write_report(
    verdict: Verdict,
    suspect: ScoreSet,
    reference: ScoreSet | None,
    out: Path,
    *,
    coated: CoatEvidence | None = None,
    mimicries: Sequence[Path] = (),
    reference_mimicries: Sequence[Path] = (),
    innocents: Sequence[ScoreSet] = (),
    extra: dict[str, Any] | None = None,
    signer: Signer | None = None,
) -> ReportPaths:
    """Write ``report.html``, ``report.json`` and ``report.seal.json`` into ``out``.

    The page needs no network, no script and no other file; it follows the reader's light or dark
    setting and prints. Names, prompts and settings are escaped; folders of this machine, passwords
    and the like are taken out of what is copied into it, and so are the features of the images: of
    a guilty model they would tell the secret message.

    Parameters
    ----------
    verdict : Verdict
        of ``suspect`` against ``reference`` and ``innocents``.
    coated : CoatEvidence | None
        pairs of which some are shown and up to 24, evenly spread, are measured.
    mimicries, reference_mimicries : Sequence[Path]
        the scored images; those with the lowest and highest scores
        are shown.
    innocents : Sequence[ScoreSet]
        the score sets behind the rank among innocent models.
    extra : dict[str, Any] | None
        further settings to be recorded, plain values.
    signer : Signer | None
        signs the seal.
    """
    quality, shown, notes = coating_shown(coated)
    common = {
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "environment": environment(),
        "extra": clean(extra or {}),
        "quality": quality,
        "notes": notes,
    }
    given = {"suspect": suspect, "reference": reference}
    pools = {name: clean(stored(pool)) if pool else None for name, pool in given.items()}
    others = [clean(stored(pool)) for pool in innocents]
    out = Path(out)
    head = {"format": FORMAT, "version": FORMAT_VERSION}
    data = {**head, **common, "verdict": clean(verdict.to_dict()), **pools, "innocents": others}
    write_json(out / JSON, data)

    galleries = galleries_of("Suspect", suspect, mimicries)
    if reference is not None:
        galleries += galleries_of("Reference", reference, reference_mimicries)
    rows = {"Suspect": pools["suspect"], "Reference": pools["reference"]}
    rows |= {f"Innocent model {index}": pool for index, pool in enumerate(others, start=1)}
    page = _render(
        verdict=verdict,
        results=dict.fromkeys(NAMES) | {one.test: one.result for one in verdict.findings},
        names=NAMES,
        questions=QUESTIONS,
        charts=_charts(verdict, suspect, reference),
        pairs=shown,
        amplification=AMPLIFICATION,
        coater_name=clean(coated.coater) if coated else "",
        galleries=galleries,
        pools=[_pool(title, pool) for title, pool in rows.items() if pool],
        extra_text=pretty(common["extra"]) if extra else "",
        **{key: common[key] for key in ("created", "environment", "quality", "notes")},
    )
    with atomic(out / HTML) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return ReportPaths(out / HTML, out / JSON, write_seal(out, signer))


def stored(pool: ScoreSet) -> dict[str, Any]:
    """A pool as a report holds it: without features, which would tell the message."""
    return replace(pool, features=None).to_dict()


def environment() -> dict[str, str]:
    """Versions of Python, the system and the packages that scores depend on."""
    found = {
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            module = sys.modules.get(name)
            if module is not None:
                found[name] = str(getattr(module, "__version__", "unknown"))
    return found


def _pool(title: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": title,
        "count": len(data["images"]),
        "rows": data["images"][:_ROWS],
        "failures": data["failures"][:_ROWS],
        "source": pretty(data["source"]),
    }


def _charts(
    verdict: Verdict, suspect: ScoreSet, reference: ScoreSet | None
) -> dict[str, list[tuple[str, Any]]]:
    from markupsafe import Markup

    from siren_ext.report.charts import decoys_svg, distributions_svg, histogram_svg, path_svg

    keyed: dict[str, str] = {}
    compared: dict[str, str] = {}
    for finding in verdict.findings:
        if isinstance(finding.result, KeyedResult):
            keyed["The secret among random messages"] = decoys_svg(finding.result)
    if verdict.path is not None:
        keyed["Evidence image by image"] = path_svg(verdict.path)
    if reference is not None and verdict.compared is not None:
        pools = distinct_scores(suspect), distinct_scores(reference)
        compared["Scores of the images"] = histogram_svg(*pools)
        compared["How the scores add up"] = distributions_svg(*pools, verdict.compared)
        path = _ks_path(verdict, suspect, reference)
        if path is not None:
            compared["Evidence image by image"] = path_svg(path)
    parts = {"keyed": keyed, "ks": compared}
    return {
        name: [(title, Markup(svg)) for title, svg in svgs.items()] for name, svgs in parts.items()
    }


def _ks_path(verdict: Verdict, suspect: ScoreSet, reference: ScoreSet) -> SequentialResult | None:
    """The anytime-valid counterpart, in the order of the images; None where it takes too long."""
    first, second = distinct_scores(suspect), distinct_scores(reference)
    if verdict.config.two_sided or len(first) * (len(first) + len(second)) > PATH_LIMIT:
        return None
    return sequential_ks(first, second, alpha=verdict.alpha)


def _render(**values: Any) -> str:
    import jinja2

    env = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters |= {"odds": odds, "show": printable, "number": _number}
    template = resources.files("siren_ext.report").joinpath("report.html")
    return env.from_string(template.read_text(encoding="utf-8")).render(**values)


def _number(value: float | None, digits: int = 2) -> str:
    if value is None:
        return "\u2013"
    if value != 0 and (abs(value) < 10 ** -(digits + 1) or abs(value) >= 1e7):
        return f"{value:.3g}"
    return f"{value:,.{digits}f}"
