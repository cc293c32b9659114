"""How coating grows with workers, by a process pool and by Ray, and what a million images cost.

Run: python benchmarks/scale.py [--images 48] [--size 512] [--coater samples] [--price 0.05]
         [--out docs/results/scale.json]

The bundled images are enlarged to one size and coated into a new folder by one process, and by 1
and 2 workers of each engine. A worker needs seconds to begin, once, so the first images do not
count. The processor's time of all processes is measured too: it is what a cloud charges, and other
programs on the machine hardly change it. That of the first process alone bounds how far throughput
can grow. The files of all runs must be equal. The networks have one thread in each process, so that
a worker is a core.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # so that a worker is a core; read when torch is loaded

from PIL import Image

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import CoatConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.devices import pick_device
from siren_ext.errors import MissingExtraError
from siren_ext.files import write_json
from siren_ext.progress import NULL, Progress
from siren_ext.samples.folder import sample_folder
from siren_ext.scale.coat import coat_with_workers

FIRST = 16  # images until all workers have begun
BATCH = 2
LOOK = 2  # images between two looks at the processes
MILLION = 1_000_000


def pictures(folder: Path, count: int, size: int) -> Path:
    """A folder of so many images of one size, made of the bundled ones."""
    sources = [item.path for item in ImageSet.open(sample_folder()).items]
    folder.mkdir()
    for index in range(count):
        with Image.open(sources[index % len(sources)]) as image:
            image.convert("RGB").resize((size, size)).save(folder / f"{index:05d}.png")
    return folder


class Processor:
    """The processor's time of this process and all processes below it."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self.spent = 0.0
        """Seconds that this process took to look, which are not the work's."""

    def now(self) -> float:
        """Seconds of all processes that were seen; Linux only."""
        begun = time.process_time()
        tick = os.sysconf("SC_CLK_TCK")
        parents: dict[int, int] = {}
        found: dict[int, float] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            process = int(stat.parent.name)
            parents[process] = int(fields[1])
            found[process] = (int(fields[11]) + int(fields[12])) / tick
        ours = {os.getpid()}
        while more := {one for one, parent in parents.items() if parent in ours} - ours:
            ours |= more
        self._seconds |= {process: found[process] for process in ours & found.keys()}
        self.spent += time.process_time() - begun
        return sum(self._seconds.values()) - self.spent


class Watch(Progress):
    """Notes the times of the first image, of the last one that does not count, and of the last."""

    def __init__(self, processor: Processor, last: int) -> None:
        super().__init__()
        self.processor, self.last, self.done, self.coating = processor, last, 0, False
        self.begun = time.perf_counter()
        self.marks: list[tuple[float, float, float]] = []

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        """Begin to count."""
        self.coating = label == "Coating"

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count an image."""
        if not self.coating:
            return
        self.done += units
        if self.done in (1, FIRST, self.last) or self.done % LOOK == 0:
            used = self.processor.now()  # often, because a worker that has ended is not seen
            if self.done in (1, FIRST, self.last):
                clock = time.perf_counter() - self.begun
                self.marks.append((clock, time.process_time() - self.processor.spent, used))


def measure(folder: Path, count: int, size: int, coater_name: str) -> list[dict[str, Any]]:
    """One row for each way to run."""
    file = coater_path(coater_name)
    coater = Coater.load(file, device=pick_device("cpu"))
    images = ImageSet.open(pictures(folder / "in", count, size))
    rows: list[dict[str, Any]] = []
    expected: list[str] = []
    for engine, workers in (("none", 1), ("local", 1), ("local", 2), ("ray", 1), ("ray", 2)):
        out = folder / f"{engine}{workers}"
        watch = Watch(Processor(), count)
        options: Any = {"batch_size": BATCH, "progress": watch}
        try:
            if engine == "none":
                made = coat_folder(images, coater, out, **options)
            else:
                options |= {"processes": workers, "engine": engine, "device": "cpu"}
                made = coat_with_workers(images, coater, file, out, **options)
        except MissingExtraError:
            print(f"left out: {engine} (not installed)")
            continue
        hashes = [entry.output_sha256 for entry in made.entries]
        expected = expected or hashes
        (start, _, _), (begun, own, before), (end, own_after, after) = watch.marks
        rows.append(
            {
                "engine": engine,
                "workers": workers,
                "images_per_second": round((count - FIRST) / (end - begun), 2),
                "cpu_seconds_per_image": round((after - before) / (count - FIRST), 4),
                "first_process_ms_per_image": round(1000 * (own_after - own) / (count - FIRST), 2),
                "first_image_after_seconds": round(start, 2),
                "load": round(os.getloadavg()[0], 1),
                "equal_files": hashes == expected,
            }
        )
        print(rows[-1], flush=True)
        shutil.rmtree(out)
    return rows


def planning(folder: Path, count: int, size: int) -> float:
    """Seconds of one process for each image before any is coated: sizes and hashes."""
    from concurrent.futures import ThreadPoolExecutor

    from siren_ext.coating.plan import plan_jobs

    images = ImageSet.open(pictures(folder / "planned", count, size))
    begun = time.perf_counter()
    with ThreadPoolExecutor(max_workers=2) as pool:
        plan_jobs(images, CoatConfig(), pool, NULL)
    return (time.perf_counter() - begun) / count


def table(rows: list[dict[str, Any]], price: float) -> str:
    """The rows as Markdown."""
    names = {"none": "one process (`coat`)", "local": "process pool", "ray": "Ray"}
    heads = ("engine", "workers", "images/s", "speed-up", "CPU s/image", "first image, s", "load")
    lines = [f"| {' | '.join(heads)} | $ per million |", "|---" * (len(heads) + 1) + "|"]
    for row in rows:
        base = next(one for one in rows if one["engine"] == row["engine"])
        cells = (
            names[row["engine"]],
            str(row["workers"]),
            f"{row['images_per_second']:.1f}",
            f"{row['images_per_second'] / base['images_per_second']:.2f}",
            f"{row['cpu_seconds_per_image']:.3f}",
            f"{row['first_image_after_seconds']:.1f}",
            f"{row['load']:.1f}",
            f"{row['cpu_seconds_per_image'] * MILLION / 3600 * price:.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print a table, and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=48, help="number of images")
    parser.add_argument("--size", type=int, default=512, help="their side in pixels")
    parser.add_argument("--coater", default="samples", help="as for siren-ext coat")
    parser.add_argument("--price", type=float, default=0.05, help="dollars for a core and an hour")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args()
    if given.images <= 2 * FIRST:
        raise SystemExit(f"--images is {given.images}; expected more than {2 * FIRST}.")
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), given.images, given.size, given.coater)
        plan = planning(Path(folder), given.images, given.size)
    print(table(rows, given.price))
    print(f"planning: {plan * 1000:.2f} ms per image, in one process")
    if given.out is not None:
        found = {
            "command": "python benchmarks/scale.py",
            "coater": given.coater,
            "images": given.images,
            "size": given.size,
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "price_per_core_hour": given.price,
            "planning_seconds_per_image": round(plan, 6),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "peak_mb_of_a_worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
            "rows": rows,
        }
        write_json(given.out, found)


if __name__ == "__main__":
    main()
