"""What the service counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters of one service.

    Parameters
    ----------
    inside : Callable[[], int]
        Number of requests that are admitted now.

    Attributes
    ----------
    answers : Counter
        Answers to POST /coat by ``status``.
    images, pixels : Counter
        Coated images, and their pixels.
    received, sent : Counter
        Bytes of uploads and of coated images.
    seconds : Histogram
        Seconds by ``stage``: receive, wait, coat, send.
    """

    def __init__(self, inside: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        self.answers = Counter(
            "siren_answers", "Answers to POST /coat.", ["status"], registry=registry
        )
        self.images = Counter("siren_images", "Images coated.", registry=registry)
        self.pixels = Counter("siren_pixels", "Pixels of coated images.", registry=registry)
        self.received = Counter("siren_received_bytes", "Bytes received.", registry=registry)
        self.sent = Counter("siren_sent_bytes", "Bytes of coated images.", registry=registry)
        self.seconds = Histogram(
            "siren_seconds", "Seconds by stage.", ["stage"], buckets=_SECONDS, registry=registry
        )
        Gauge(
            "siren_requests", "Requests being handled or waiting now.", registry=registry
        ).set_function(inside)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

    def text(self) -> tuple[bytes, str]:
        """The page for Prometheus, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
