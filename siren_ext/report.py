"""The report: one self-contained HTML page and the same as JSON."""

from __future__ import annotations

import base64
import io
import json
import math
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from siren_ext.errors import ImageError
from siren_ext.files import atomic, sha256_file, write_json
from siren_ext.images import read_picture, to_tensor
from siren_ext.listing import printable
from siren_ext.quality import colour_difference, local_de00_p99, psnr, ssim
from siren_ext.scoring import ScoreSet
from siren_ext.verdict import Verdict, distinct_scores, odds

FORMAT = "siren_ext.report"
FORMAT_VERSION = 1
AMPLIFICATION = 10

_MEASURED_PAIRS = 24
_SHOWN_PAIRS = 4
_GALLERY = 6
_ROWS = 300
_LONGEST = 20_000
_PACKAGES = ("siren-ext", "torch", "numpy", "scipy", "pillow", "diffusers", "transformers", "peft")
_SECRET = re.compile(
    r"(^|[_\-.\s])(secret|password|passwd|tokens?|api_?key|key|authorization|auth|cookie|"
    r"credentials?|private)($|[_\-.\s])",
    re.IGNORECASE,
)
_PLACE = re.compile(
    r"(?<![\w:/.\\])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\:*?\"<>|,;']+)+[/\\](?=[^\s/\\])"
)
_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
# A list of numbers as indented JSON: no line breaks can stand inside a JSON string.
_NUMBERS = re.compile(r"\[\n(?:\s*-?\d[\d.e+-]*,?\n)+\s*\]")
_QUERY = re.compile(r"(?<=\w)\?[\w.~-]+=\S*")


@dataclass(frozen=True)
class CoatEvidence:
    """Files that show what the coating does to an image.

    Attributes:
        pairs: (clean original, coated file as written) paths.
        coater: name or fingerprint of the coater, as shown.
    """

    pairs: tuple[tuple[Path, Path], ...]
    coater: str = ""


@dataclass(frozen=True)
class ReportPaths:
    """Where the two forms of a report lie."""

    html: Path
    json: Path


def write_report(
    verdict: Verdict,
    suspect: ScoreSet,
    reference: ScoreSet,
    out: Path,
    *,
    coated: CoatEvidence | None = None,
    mimicries: Sequence[Path] = (),
    reference_mimicries: Sequence[Path] = (),
    extra: dict[str, Any] | None = None,
) -> ReportPaths:
    """Write ``out/report.html`` and ``out/report.json`` and give their paths.

    The page needs no network, no script and no other file; it follows the reader's light or dark
    setting and prints. Names, prompts and settings are escaped; folders of this machine, passwords
    and the like are taken out of what is copied into it.

    Args:
        verdict: of ``suspect`` against ``reference``.
        coated: pairs of which some are shown and up to 24, evenly spread, are measured.
        mimicries, reference_mimicries: the scored images; those with the lowest and highest scores
            are shown.
        extra: further settings to be recorded, plain values.
    """
    quality, shown, notes = _coating(coated)
    common = {
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "environment": environment(),
        "extra": clean(extra or {}),
        "quality": quality,
        "notes": notes,
    }
    pools = {"suspect": clean(suspect.to_dict()), "reference": clean(reference.to_dict())}
    out = Path(out)
    paths = ReportPaths(out / "report.html", out / "report.json")
    head = {"format": FORMAT, "version": FORMAT_VERSION}
    write_json(paths.json, {**head, **common, "verdict": clean(verdict.to_dict()), **pools})

    galleries = [
        *_galleries("Suspect", suspect, mimicries),
        *_galleries("Reference", reference, reference_mimicries),
    ]
    page = _render(
        verdict=verdict,
        charts=_charts(verdict, suspect, reference),
        pairs=shown,
        amplification=AMPLIFICATION,
        coater_name=clean(coated.coater) if coated else "",
        galleries=galleries,
        pools=[_pool("Suspect", pools["suspect"]), _pool("Reference", pools["reference"])],
        extra_text=_pretty(common["extra"]) if extra else "",
        **{key: common[key] for key in ("created", "environment", "quality", "notes")},
    )
    with atomic(paths.html) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return paths


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


def clean(value: Any, depth: int = 16) -> Any:
    """Plain JSON values without secrets, folders of this machine and undecodable text."""
    if depth == 0:
        return "(nested too deeply)"
    if isinstance(value, dict):
        return {
            _text(key): "(left out)" if _SECRET.search(str(key)) else clean(item, depth - 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(item, depth - 1) for item in value]
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return _text(value)


def _text(value: Any) -> str:
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    text = _QUERY.sub("?(left out)", _LOGIN.sub("", text))
    return _PLACE.sub("\u2026/", text)


def _pretty(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    text = _NUMBERS.sub(lambda match: f"[{' '.join(match.group()[1:-1].split())}]", text)
    lines = text.split("\n")
    # Escapes also invisible characters that turn the reading direction of what follows.
    text = "\n".join(printable(line) for line in lines)
    rest = "\n\u2026 (the rest is in report.json)"
    return text if len(text) <= _LONGEST else text[:_LONGEST] + rest


def _pool(title: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": title,
        "count": len(data["images"]),
        "rows": data["images"][:_ROWS],
        "failures": data["failures"][:_ROWS],
        "source": _pretty(data["source"]),
    }


def _charts(verdict: Verdict, suspect: ScoreSet, reference: ScoreSet) -> list[tuple[str, str]]:
    from markupsafe import Markup

    from siren_ext.charts import distributions_svg, histogram_svg

    pools = distinct_scores(suspect), distinct_scores(reference)
    svgs = {
        "Scores of the images": histogram_svg(*pools),
        "How the scores add up": distributions_svg(*pools, verdict.finding),
    }
    return [(title, Markup(svg)) for title, svg in svgs.items()]


def _render(**values: Any) -> str:
    import jinja2

    env = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters |= {"odds": odds, "show": printable, "number": _number}
    template = resources.files("siren_ext").joinpath("templates/report.html")
    return env.from_string(template.read_text(encoding="utf-8")).render(**values)


def _number(value: float | None, digits: int = 2) -> str:
    if value is None:
        return "\u2013"
    if value != 0 and (abs(value) < 10 ** -(digits + 1) or abs(value) >= 1e7):
        return f"{value:.3g}"
    return f"{value:,.{digits}f}"


def _spread(count: int, wanted: int) -> list[int]:
    """``wanted`` positions spread evenly over ``count``, first and last among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, wanted))})


def _coating(
    coated: CoatEvidence | None,
) -> tuple[dict[str, Any] | None, list[dict[str, Any]], list[str]]:
    """Measures of the written files, pictures of a few of them, and what went wrong."""
    if coated is None or not coated.pairs:
        return None, [], []
    files: list[dict[str, Any]] = []
    places: list[tuple[Path, Path]] = []
    notes: list[str] = []
    for index in _spread(len(coated.pairs), _MEASURED_PAIRS):
        pair = coated.pairs[index]
        try:
            files.append(_measure(*pair))
            places.append(pair)
        except (ImageError, OSError) as error:
            notes.append(f"{printable(Path(pair[1]).name)} was left out: {clean(str(error))}")
    if not files:
        return None, [], notes
    summary = {}
    for key, worst in (
        ("psnr_db", min),
        ("ssim", min),
        ("de00_mean", max),
        ("local_de00_p99", max),
    ):
        values = [item[key] for item in files if item[key] is not None]
        mean = float(np.mean(values)) if values else None
        summary[key] = {"mean": mean, "worst": worst(values) if values else None}
    quality = {
        "measured": len(files),
        "of": len(coated.pairs),
        "summary": summary,
        "files": files,
        "coater": clean(coated.coater),
        "ssim_on": "mean of the RGB channels",
    }
    order = sorted(range(len(files)), key=lambda i: files[i]["local_de00_p99"])
    shown = [
        {**files[i], **_pictures(*places[i])} for i in (order[j] for j in _spread(len(order), 4))
    ]
    shown[-1]["worst"] = True
    return quality, shown[:_SHOWN_PAIRS], notes


def _measure(clean_path: Path, coated_path: Path) -> dict[str, Any]:
    """Quality of one coated file against its original, both as they lie on disk."""
    first = to_tensor(read_picture(Path(clean_path)).rgb)
    second = to_tensor(read_picture(Path(coated_path)).rgb)
    if first.shape != second.shape:
        raise ImageError(
            f"the original has {first.shape[3]} x {first.shape[2]} pixels, the coated file "
            f"{second.shape[3]} x {second.shape[2]}; expected the same size."
        )
    noise = float(psnr(first, second))
    return {
        "name": printable(Path(coated_path).name),
        "sha256": sha256_file(Path(coated_path)),
        "width": first.shape[3],
        "height": first.shape[2],
        "psnr_db": noise if math.isfinite(noise) else None,
        "ssim": float(ssim(first, second)),
        "de00_mean": float(colour_difference(first, second).mean()),
        "local_de00_p99": float(local_de00_p99(first, second)),
    }


def _pictures(clean_path: Path, coated_path: Path) -> dict[str, Any]:
    first, second = (read_picture(Path(path)).rgb for path in (clean_path, coated_path))
    change = (second.astype(np.float32) - first) * AMPLIFICATION + 128
    change = np.clip(np.rint(change), 0, 255).astype(np.uint8)
    names = ("clean_image", "coated_image", "difference")
    pictures = zip(names, (first, second, change), strict=True)
    return {"worst": False, **{name: _data_uri(pixels, 320, "PNG") for name, pixels in pictures}}


def _data_uri(pixels: NDArray[np.uint8], side: int, kind: str) -> str:
    """A picture no larger than ``side`` as a data address (pixels only: no metadata)."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 90, "subsampling": 0} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _galleries(title: str, pool: ScoreSet, files: Sequence[Path]) -> list[dict[str, Any]]:
    """The images of a pool with the lowest and the highest scores, matched by content or name."""
    by_hash = {digest: i for i, digest in enumerate(pool.hashes) if digest}
    by_name = {name: i for i, name in enumerate(pool.names) if not pool.hashes[i]}
    found: dict[int, Path] = {}
    for path in map(Path, files):
        try:
            index = by_hash.get(sha256_file(path), by_name.get(printable(path.name)))
        except OSError:
            continue
        if index is not None:
            found.setdefault(index, path)
    order = sorted(found, key=lambda i: float(pool.scores[i]))
    count = min(_GALLERY, (len(order) + 1) // 2)
    parts = (("lowest", order[:count]), ("highest", order[count:][-count:]))
    galleries = []
    for which, indices in parts:
        tiles = [_tile(pool, i, found[i]) for i in indices]
        tiles = [tile for tile in tiles if tile]
        if tiles:
            galleries.append({"title": f"{title}: {which} scores", "tiles": tiles})
    return galleries


def _tile(pool: ScoreSet, index: int, path: Path) -> dict[str, Any] | None:
    try:
        picture = _data_uri(read_picture(path).rgb, 192, "JPEG")
    except ImageError:
        return None
    return {"name": pool.names[index], "score": float(pool.scores[index]), "image": picture}
