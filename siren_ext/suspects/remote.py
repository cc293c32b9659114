"""Asking a machine elsewhere for pictures: in turn, politely, within a budget, and sceptically."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from msgspec import Meta
from torch import Tensor

from siren_ext.config import Config
from siren_ext.errors import AdapterError, ConfigError
from siren_ext.progress import NULL, Progress
from siren_ext.suspects.base import Mimicry, Missed, PromptPlan, Usage
from siren_ext.suspects.responses import BadAnswer, Refused, SuspectError
from siren_ext.text import printable

# An adapter that works moves pixels by whole levels; another order of sums on a GPU does not.
SMALLEST_CHANGE = 0.25 / 255
_LONGEST_WAIT = 60.0
_TICK = 0.2

T = TypeVar("T")


@dataclass(frozen=True)
class RequestLimits(Config):
    """How hard a black box is asked, and when to stop.

    Attributes
    ----------
    timeout : float
        seconds for one answer, and for one picture to be made.
    attempts : int
        requests per picture before it is given up.
    backoff : float
        seconds before the second attempt; doubles each time, up to a minute.
    pause : float
        least seconds between the beginnings of two requests for pictures.
    give_up : int
        pictures given up one after the other before the run stops.
    requests : int
        most requests for pictures over all runs into one folder; 0 is no limit.
    price : float
        what one request costs, in any currency.
    budget : float
        most that all runs into one folder may cost; 0 is no limit.
    """

    timeout: Annotated[float, Meta(ge=0.01, le=86_400)] = 300.0
    attempts: Annotated[int, Meta(ge=1, le=100)] = 4
    backoff: Annotated[float, Meta(ge=0, le=3600)] = 2.0
    pause: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    give_up: Annotated[int, Meta(ge=1, le=1_000_000)] = 3
    requests: Annotated[int, Meta(ge=0, le=10**9)] = 0
    price: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    budget: Annotated[float, Meta(ge=0, le=1e12)] = 0.0


class RemoteSuspect(ABC):
    """What every black box shares; a kind of box says how it draws one picture.

    An adapter is never taken on trust: servers leave out one that they don't find or don't fit
    without a word. The first picture is therefore also drawn without it, from the same seed, and
    the run is refused when both are alike.
    """

    def __init__(self, limits: RequestLimits, *, adapter: str = "", scale: float = 1.0) -> None:
        if limits.budget and not limits.price:
            raise ConfigError("A budget is set but no price; give the price of one request too.")
        self.limits = limits
        self.usage = Usage()
        self.adapter = adapter
        self.scale = scale
        self._trusted = not adapter
        self._last_request = float("-inf")

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Plain values for the record, see :class:`siren_ext.suspects.base.Suspect`."""

    @abstractmethod
    def check(self, plan: PromptPlan) -> None:
        """Refuse a plan that can't be carried out there, before anything is spent."""

    @abstractmethod
    def draw(self, plan: PromptPlan, index: int, scale: float, progress: Progress) -> Tensor:
        """One picture (3, H, W) in [0,1] with the adapter at strength ``scale`` (0: without it)."""

    def seed(self, plan: PromptPlan, index: int) -> int:
        """The seed of picture ``index``, -1 where the other side takes none."""
        return plan.seed + index

    def scrub(self, text: str) -> str:
        """``text`` without secrets."""
        return text

    def generate(
        self, plan: PromptPlan, *, indices: Sequence[int] | None = None, progress: Progress = NULL
    ) -> Iterator[Mimicry | Missed]:
        """The plan's pictures, or those of ``indices`` alone, in rising order.

        A picture that can't be had after all attempts comes as :class:`Missed`. Raises
        :class:`SuspectError` when asking on is pointless: a wrong request, ``give_up`` misses in a
        row, or the limit of requests or costs; and :class:`AdapterError` when the adapter changes
        nothing.
        """
        wanted = sorted(range(plan.count) if indices is None else set(indices))
        if not wanted:
            return
        self.check(plan)
        missed = 0
        for index in wanted:
            try:
                if self._trusted:
                    image = self._ask(plan, index, self.scale, progress)
                else:
                    image = self._with_adapter_checked(plan, index, progress)
            except (BadAnswer, Refused) as error:
                missed += 1
                reason = printable(self.scrub(str(error)))
                yield Missed(index, reason)
                progress.advance()
                if missed >= self.limits.give_up:
                    raise SuspectError(
                        f"{missed} pictures in a row could not be had; the last: {reason} What was "
                        "finished is kept; the same call goes on from there."
                    ) from error
                continue
            missed, self._trusted = 0, True
            yield Mimicry(image, index, plan.prompt(index), self.seed(plan, index))
            progress.advance()

    def _with_adapter_checked(self, plan: PromptPlan, index: int, progress: Progress) -> Tensor:
        """Picture ``index``, after it was seen that the adapter changes it."""
        progress.advance(0, note="checking the adapter")
        plain = self._ask(plan, index, 0.0, progress)
        image = self._ask(plan, index, self.scale, progress)
        same = plain.shape == image.shape
        change = float((plain - image).abs().mean()) if same else 1.0
        if not change > SMALLEST_CHANGE:
            raise AdapterError(
                f"{self.adapter} at strength {self.scale:g} changes nothing there (mean change of "
                f"a picture: {change * 255:.2f} of 255 levels). The server ignored it, or it is "
                "untrained or made for another model; pictures would be the base model's."
            )
        return image

    def _ask(self, plan: PromptPlan, index: int, scale: float, progress: Progress) -> Tensor:
        def once() -> Tensor:
            self._spend(progress)
            return self.draw(plan, index, scale, progress)

        return persistently(once, self.limits, progress)

    def _spend(self, progress: Progress) -> None:
        """Wait for the turn, check the limits and count one request."""
        limits, made = self.limits, self.usage.requests
        if limits.requests and made >= limits.requests:
            raise SuspectError(
                f"The limit of {limits.requests} requests is reached. What was finished is kept; "
                "raise the limit to go on."
            )
        if limits.budget and (made + 1) * limits.price > limits.budget * (1 + 1e-9):
            raise SuspectError(
                f"The next request would exceed the budget of {limits.budget:g}: {made} were made "
                f"at {limits.price:g} each. What was finished is kept; raise the budget to go on."
            )
        pause(self._last_request + limits.pause - time.monotonic(), progress)
        self._last_request = time.monotonic()
        self.usage.requests += 1


def persistently(work: Callable[[], T], limits: RequestLimits, progress: Progress = NULL) -> T:
    """``work()``, repeated after growing waits while it raises :class:`BadAnswer`."""
    wait = limits.backoff
    for attempt in range(1, limits.attempts + 1):
        try:
            return work()
        except BadAnswer as error:
            if attempt == limits.attempts:
                raise
            pause(max(wait, error.wait), progress, note=f"attempt {attempt + 1} follows")
            wait = min(2 * wait, _LONGEST_WAIT)
    raise SuspectError("No attempt was allowed.")


def pause(seconds: float, progress: Progress = NULL, note: str = "") -> None:
    """Wait, noticing within a fraction of a second when the user stops the run."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        progress.advance(0, note)
        time.sleep(min(left, _TICK))
