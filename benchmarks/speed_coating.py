"""Speed and memory of coating, scoring and verdicts; rows for benchmarks/side_by_side.py."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from published_structure import Reference, picture
from speed_rows import Row, interleaved, row

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coating import photo
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.formats import Target
from siren_ext.coating.manifest import CoatConfig
from siren_ext.coating.passes import coat_picture
from siren_ext.coating.plan import CoatJob
from siren_ext.data.dataset import ImageSet, Item
from siren_ext.data.images import Picture
from siren_ext.scoring.score import score_images
from siren_ext.stats.ks import ks_less
from siren_ext.stats.low_end_distribution import low_end_p


def compare_coating(rounds: int) -> list[Row]:
    """Coat and score files of 512 pixels on equal weights, and with the default networks."""
    with tempfile.TemporaryDirectory() as folder:
        return _compare_coating(Path(folder), rounds)


def _compare_coating(folder: Path, rounds: int) -> list[Row]:
    published = Coater(CoaterConfig.preset("official"), seed=1)
    default = Coater(CoaterConfig(), seed=1)
    reference = Reference(published)
    source = folder / "in" / "a.png"
    source.parent.mkdir()
    Image.fromarray(picture(512, 512)).save(source)
    (folder / "reference").mkdir()
    data, number = ImageSet.open(source.parent), iter(range(10**6))

    def coat(coater: Coater, scores: bool) -> None:
        coat_folder(data, coater, folder / f"{next(number)}", CoatConfig(scores=scores))

    best = interleaved(
        {
            "reference": lambda: reference.coat(source, folder / "reference"),
            "plain": lambda: coat(published, False),
            "scored": lambda: coat(published, True),
            "default": lambda: coat(default, True),
            "default plain": lambda: coat(default, False),
            "score reference": lambda: reference.score(reference.read(source)),
            "score": lambda: score_images([source], published),
        },
        rounds,
    )
    whole = best["reference"]
    conv = _convolutions(published, source)
    why = (
        f"{best['score']:.2f} s, of which the convolutions alone take {conv:.2f} s; they are the "
        "same on both sides"
    )
    return [
        row("coat, published weights, `--no-scores`", 4, whole / best["plain"]),
        row(
            "coat, published weights, scored before and after",
            4,
            whole / best["scored"],
            "the extractor runs twice, as in the reference; `--no-scores` leaves that out",
        ),
        row(
            "coat, default networks, scored",
            15,
            whole / best["default"],
            f"{best['default']:.2f} s; `--no-scores` is the row below",
        ),
        row(
            "coat, default networks, `--no-scores`",
            15,
            whole / best["default plain"],
            f"{best['default plain']:.2f} s",
        ),
        row("score, published weights", 1.5, best["score reference"] / best["score"], why),
    ]


@torch.no_grad()
def _convolutions(coater: Coater, source: Path) -> float:
    """Least CPU seconds of an extractor's convolutions for one image."""
    seen, best = Reference.read(source), float("inf")
    for _ in range(3):
        total, view = 0.0, seen
        for block in coater.extractor.layers[:-1]:
            begun = time.process_time()
            view = block.layers[0](view)
            total += time.process_time() - begun
        best = min(best, total)
    return best


def coat_bytes(coater: Coater, levels: np.ndarray) -> object:
    """Coat and score an image that is in memory, as a run over a folder does."""
    size = (levels.shape[1], levels.shape[0])
    item = Item(Path("photo.png"), None, PurePosixPath("photo.png"))
    job = CoatJob(item, "photo.png", "", size, Target(), coated=True)
    return coat_picture(coater, job, Picture(levels), CoatConfig(), None)


def large_photo(rounds: int) -> list[Row]:
    """Time of 12 megapixels relative to 512 pixels, both in memory and scored twice."""
    rows, levels = [], picture(3000, 4000)
    for name, config in (
        ("published", CoaterConfig.preset("official")),
        ("default", CoaterConfig()),
    ):
        coater = Coater(config, seed=1)

        def call(size: tuple[int, int], coater: Coater = coater) -> Callable[[], object]:
            levels = picture(*size)
            return lambda: coat_bytes(coater, levels)

        best = interleaved(
            {
                "small": call((512, 512)),
                "large": call((3000, 4000)),
                "mask": lambda: [heat.shape for _, heat in photo._masks(levels)],
            },
            rounds,
        )
        why = (
            f"{best['small']:.2f} s for 512 pixels and {best['large']:.2f} s for 46 times as many; "
            f"of the difference of {best['large'] - best['small']:.2f} s the visibility mask takes "
            f"{best['mask']:.2f} s, the rest is reducing, enlarging and rounding every pixel"
        )
        rows.append(
            row(
                f"4000 x 3000 against 512 pixels, {name} networks",
                1.5,
                best["large"] / best["small"],
                why,
                most=True,
            )
        )
    return rows


def photo_memory(_: int) -> list[Row]:
    """Memory of a process that coats 12 megapixels."""
    base, peak = _peak("nothing"), _peak("photo")
    why = f"{base:.0f} MB are Python and torch; the rest is the picture, its copy and its mask"
    what = "4000 x 3000, whole process, default networks"
    return [row(what, 600, peak, why, most=True, unit="MB", rounds=1)]


def _peak(what: str) -> float:
    """Most memory of a new process, in MB."""
    done = subprocess.run(
        [sys.executable, __file__, what], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def measure_peak(what: str) -> float:
    """Do one thing and return this process's most memory, in MB."""
    if what == "photo":
        levels = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)
        coat_bytes(Coater(CoaterConfig(), seed=1), levels)
    else:
        generator = Coater(CoaterConfig(norm="running"), seed=1).generator
        with torch.no_grad():
            view = torch.rand(1, 3, 2048, 2048)
            if what == "whole":
                generator._drawn(view)
            elif what == "tiles":
                generator(view)
    status = Path("/proc/self/status")
    if status.exists():  # where ru_maxrss is not less than that of the process that started this
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8"))
        if found is not None:
            return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def tiles(_: int) -> list[Row]:
    """Difference of tiles at 512 pixels, and their memory at 2048."""
    config = CoaterConfig(channels=64, norm="running", working_size=1024)
    generator = Coater(config, seed=1).generator
    with torch.no_grad():
        view = torch.rand(1, 3, 512, 512)
        difference = float((generator(view) - generator._drawn(view)).abs().max())
    base, whole, parts = (_peak(what) for what in ("nothing", "whole", "tiles"))
    return [
        row(
            "tiles against the whole image, largest difference",
            1e-5,
            difference,
            most=True,
            unit="",
        ),
        row(
            "memory of tiles at 2048 pixels, as a share of the whole image's",
            0.125,
            (parts - base) / (whole - base),
            most=True,
            unit="",
            why=f"{parts - base:.0f} of {whole - base:.0f} MB at 2048 pixels: tiles need the same "
            "at any size, so the share falls with the square of the side",
        ),
    ]


def others(rounds: int) -> list[Row]:
    """Batches and verdicts."""
    coater = Coater(CoaterConfig(), seed=1)
    images = torch.rand(4, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([coater.score(image[None]) for image in images])
    difference = float((coater.score(images) - alone).abs().max())
    rng = np.random.default_rng(0)
    pools = rng.normal(-0.1, 1, 1000), rng.normal(0, 1, 1000)

    def verdict(share: float) -> None:
        low_end_p.cache_clear()
        ks_less(*pools, method="exact", share=share)

    best = interleaved({"whole": lambda: verdict(1), "low end": lambda: verdict(0.25)}, 5 * rounds)
    return [
        row(
            "scores of four images together and alone, largest difference",
            1e-5,
            difference,
            most=True,
            unit="",
        ),
        row(
            "exact test of 1,000 against 1,000 scores",
            5,
            best["whole"] * 1000,
            most=True,
            unit="ms",
        ),
        row(
            "the same in the low end of the reference, as a verdict tests",
            5,
            best["low end"] * 1000,
            "a walk of about 500 steps, each an operation on all states",
            most=True,
            unit="ms",
        ),
    ]


def watermark(rounds: int) -> list[Row]:
    """A file of 1024 pixels, beside dwtDctSvd of the package invisible-watermark."""
    try:
        import cv2
        from imwatermark import WatermarkEncoder
    except ImportError as error:
        raise SystemExit(
            f"{error.name} is missing; for this row run 'pip install --no-deps invisible-watermark "
            "opencv-python-headless PyWavelets', or choose other rows with --only."
        ) from error
    cv2.setNumThreads(1)
    encoder = WatermarkEncoder()
    encoder.set_watermark("bytes", b"siren")
    coater, number = Coater(CoaterConfig(), seed=1), iter(range(10**6))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, marked = folder / "in" / "a.png", str(folder / "marked.png")
        source.parent.mkdir()
        Image.fromarray(picture(1024, 1024)).save(source)
        data = ImageSet.open(source.parent)

        def coat(scores: bool) -> None:
            coat_folder(data, coater, folder / f"{next(number)}", CoatConfig(scores=scores))

        best = interleaved(
            {
                "other": lambda: cv2.imwrite(
                    marked, encoder.encode(cv2.imread(str(source)), "dwtDctSvd")
                ),
                "plain": lambda: coat(False),
                "scored": lambda: coat(True),
            },
            rounds,
        )
    why = f"{best['scored']:.2f} against {best['other']:.2f} s; the networks that score take most"
    return [
        row(
            "1024 pixels from file to file, `--no-scores`, in times of dwtDctSvd",
            3,
            best["plain"] / best["other"],
            f"{best['plain']:.2f} against {best['other']:.2f} s",
            most=True,
        ),
        row(
            "the same with scores before and after",
            3,
            best["scored"] / best["other"],
            why,
            most=True,
        ),
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(measure_peak(sys.argv[1]))
