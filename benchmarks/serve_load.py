"""Load `siren-ext serve` on this machine: requests a second, waiting times, refusals, memory.

Run: python benchmarks/serve_load.py [--seconds 10] [--coater samples]
         [--out docs/results/serve_load.json]

Clients in this process send the bundled images to a service in another process, each as soon as its
last answer has come. A client that gets 503 waits as long as Retry-After says. The clients use the
same cores as the service.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from siren_ext.files import write_json
from siren_ext.samples.folder import sample_folder

# workers, places in the queue, clients
RUNS = ((1, 16, 1), (1, 16, 2), (1, 16, 8), (2, 16, 1), (2, 16, 2), (2, 16, 8), (2, 2, 8))


@contextmanager
def service(folder: Path, coater: str, workers: int, queue: int) -> Iterator[tuple[int, int]]:
    """A running service; gives its port and process."""
    line = [sys.executable, "-m", "siren_ext", "serve", "--coater", coater, "--port", "0"]
    line += ["--journal", str(folder / "served.jsonl"), "--quiet"]
    line += ["--workers", str(workers), "--queue", str(queue)]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        if not first.startswith("Listening"):
            raise SystemExit("The service did not start; run 'siren-ext serve' to see why.")
        yield int(first.rpartition(":")[2]), process.pid
    finally:
        process.terminate()
        process.wait(120)
    if process.returncode:
        raise SystemExit(f"The service ended with {process.returncode}.")


class Client(threading.Thread):
    """Sends images one after another until a time."""

    def __init__(self, port: int, images: list[bytes], first: int, end: float) -> None:
        super().__init__()
        self.port, self.images, self.next, self.end = port, images, first, end
        self.seconds: list[float] = []
        self.refused = 0

    def run(self) -> None:
        """Send images over one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        while time.monotonic() < self.end:
            image = self.images[self.next % len(self.images)]
            begun = time.monotonic()
            connection.request("POST", "/coat", image)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status == 503:
                self.refused += 1
                left = self.end - time.monotonic()
                time.sleep(max(0.0, min(left, float(answer.headers["Retry-After"]))))
                continue
            if answer.status != 200 or not body:
                raise SystemExit(f"The service answered {answer.status}: {body[:200]!r}")
            self.seconds.append(time.monotonic() - begun)
            self.next += 1
        connection.close()


def load(port: int, images: list[bytes], clients: int, seconds: float) -> dict[str, Any]:
    """The figures of some clients that ask at the same time."""
    begun = time.monotonic()
    threads = [Client(port, images, 7 * number, begun + seconds) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - begun
    waits = sorted(wait for thread in threads for wait in thread.seconds)
    cuts = statistics.quantiles(waits, n=20, method="inclusive")
    return {
        "clients": clients,
        "images": len(waits),
        "images_per_second": round(len(waits) / took, 2),
        "p50_ms": round(1000 * statistics.median(waits), 1),
        "p95_ms": round(1000 * cuts[-1], 1),
        "refused_503": sum(thread.refused for thread in threads),
    }


def memory(process: int) -> float | None:
    """The most memory that a process had, in MB; None where the system does not tell."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    (peak,) = (line for line in lines if line.startswith("VmHWM:"))
    return round(int(peak.split()[1]) / 1000, 0)


def measure(seconds: float, coater: str) -> list[dict[str, Any]]:
    """All rows."""
    images = [path.read_bytes() for path in sorted(sample_folder().glob("*.png"))]
    rows = []
    for workers, queue, clients in RUNS:
        with (
            tempfile.TemporaryDirectory() as folder,
            service(Path(folder), coater, workers, queue) as (port, process),
        ):
            load(port, images, clients, 1.0)  # the first images load libraries
            row = {"workers": workers, "queue": queue, **load(port, images, clients, seconds)}
            row["memory_mb"] = memory(process)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| Workers | Queue | Clients | Images/s | Median | 95 % | 503 | Memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['workers']} | {row['queue']} | {row['clients']} "
            f"| {row['images_per_second']:.1f} | {row['p50_ms']:.0f} ms | {row['p95_ms']:.0f} ms "
            f"| {row['refused_503']} | {row['memory_mb']:.0f} MB |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print a table, and write the file."""
    parser = argparse.ArgumentParser(description="Load the HTTP service.")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds for each row")
    parser.add_argument("--coater", default="samples", help="as for siren-ext serve")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args()
    rows = measure(given.seconds, given.coater)
    print(table(rows))
    if given.out is not None:
        found = {
            "command": "python benchmarks/serve_load.py",
            "coater": given.coater,
            "images": "bundled, 256 x 256 pixels, PNG",
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "seconds": given.seconds,
            "rows": rows,
        }
        write_json(given.out, found)


if __name__ == "__main__":
    main()
