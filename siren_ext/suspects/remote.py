"""Request pictures from another machine: one at a time, within limits, and check the answers."""

from __future__ import annotations

import math
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

# An adapter that works changes pixels by whole levels; rounding on a GPU changes them less.
SMALLEST_CHANGE = 0.25 / 255
_LONGEST_WAIT = 60.0
_TICK = 0.2

T = TypeVar("T")


@dataclass(frozen=True)
class RequestLimits(Config):
    """Limits of time, attempts and cost for black boxes.

    Attributes
    ----------
    timeout : float
        Seconds for one answer, and for one picture to be made.
    attempts : int
        Requests per picture before it counts as missed.
    backoff : float
        Seconds before the second attempt; doubled each time, up to a minute.
    pause : float
        Shortest time in seconds between the starts of two requests for pictures.
    give_up : int
        Number of missed pictures in a row after which the run stops.
    requests : int
        Most requests for pictures over all runs into one folder; 0 sets no limit.
    price : float
        Cost of one request, in any currency.
    budget : float
        Highest cost of all runs into one folder; 0 sets no limit.
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
    """Base class of all black boxes; subclasses request one picture.

    Servers may silently ignore an adapter that they do not find or that does not fit. So the first
    picture is also requested without it, with the same seed, and the run stops if both are the
    same.

    Parameters
    ----------
    limits : RequestLimits
        Limits of time, attempts and cost.
    adapter : str
        Name of the adapter on the server; empty for none.
    scale : float
        Its strength.

    Raises
    ------
    ConfigError
        If there is a budget but no price, or the strength is not finite.
    """

    def __init__(self, limits: RequestLimits, *, adapter: str = "", scale: float = 1.0) -> None:
        if limits.budget and not limits.price:
            raise ConfigError("A budget is set, but no price; also give the price of one request.")
        if not math.isfinite(scale):
            raise ConfigError(
                f"The strength of {adapter or 'an adapter'} is {scale}; expected a number."
            )
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
        """Refuse a plan that the server cannot carry out, before anything is spent.

        Raises
        ------
        ConfigError
            If it cannot.
        """

    @abstractmethod
    def draw(self, plan: PromptPlan, index: int, scale: float, progress: Progress) -> Tensor:
        """Request one picture.

        Parameters
        ----------
        plan : PromptPlan
            The plan.
        index : int
            The picture's number in the plan, from 0.
        scale : float
            Strength of the adapter; 0 leaves it out.
        progress : Progress
            Decides about cancelling while waiting.

        Returns
        -------
        Tensor
            3 x H x W in [0,1].

        Raises
        ------
        BadAnswer
            If the failure may be temporary.
        Refused
            If the server will not give this picture.
        SuspectError
            If trying again would not help.
        """

    def seed(self, plan: PromptPlan, index: int) -> int:
        """The seed of a picture, or -1 if the server takes none."""
        return plan.seed + index

    def scrub(self, text: str) -> str:
        """The text with secrets replaced by stars."""
        return text

    def generate(
        self, plan: PromptPlan, *, indices: Sequence[int] | None = None, progress: Progress = NULL
    ) -> Iterator[Mimicry | Missed]:
        """Request pictures of a plan.

        Parameters
        ----------
        plan : PromptPlan
            The plan.
        indices : sequence of int or None
            Request only these pictures; None requests all.
        progress : Progress
            One unit per picture.

        Yields
        ------
        Mimicry or Missed
            In rising order of the index; :class:`~siren_ext.suspects.base.Missed` if all attempts
            failed.

        Raises
        ------
        ConfigError
            If the server cannot carry out the plan.
        SuspectError
            If a request is wrong, ``give_up`` pictures in a row were missed, or the limit of
            requests or costs is reached.
        AdapterError
            If the adapter changes nothing.
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
                reason = self.scrub(str(error))
                yield Missed(index, reason)
                progress.advance()
                if missed >= self.limits.give_up:
                    raise SuspectError(
                        f"{missed} pictures in a row could not be made. The last error: {reason} "
                        "Finished pictures are kept; run the same call again to resume."
                    ) from error
                continue
            missed, self._trusted = 0, True
            yield Mimicry(image, index, plan.prompt(index), self.seed(plan, index))
            progress.advance()

    def trust_adapter(self, plan: PromptPlan, index: int, progress: Progress = NULL) -> None:
        """Request a picture with and without the adapter, unless it is known to have an effect.

        Parameters
        ----------
        plan, index, progress
            As in :meth:`draw`.

        Raises
        ------
        AdapterError
            If the adapter changes nothing.
        ConfigError, SuspectError
            As in :meth:`generate`.
        """
        if not self._trusted:
            self.check(plan)
            self._with_adapter_checked(plan, index, progress)
            self._trusted = True

    def _with_adapter_checked(self, plan: PromptPlan, index: int, progress: Progress) -> Tensor:
        """A picture, after checking that the adapter changes it."""
        progress.advance(0, note="checking the adapter")
        plain = self._ask(plan, index, 0.0, progress)
        image = self._ask(plan, index, self.scale, progress)
        same = plain.shape == image.shape
        change = float((plain - image).abs().mean()) if same else 1.0
        if not change > SMALLEST_CHANGE:
            raise AdapterError(
                f"{self.adapter} at strength {self.scale:g} changes nothing (mean change of a "
                f"picture: {change * 255:.2f} of 255 levels). The server ignored it, or it is "
                "untrained or made for another model. The pictures would be the same as those of "
                "the base model."
            )
        return image

    def _ask(self, plan: PromptPlan, index: int, scale: float, progress: Progress) -> Tensor:
        """A picture, with repeated attempts."""

        def once() -> Tensor:
            self._spend(progress)
            return self.draw(plan, index, scale, progress)

        return persistently(once, self.limits, progress)

    def _spend(self, progress: Progress) -> None:
        """Wait for the turn, check the limits and count one request."""
        limits, made = self.limits, self.usage.requests
        if limits.requests and made >= limits.requests:
            raise SuspectError(
                f"The limit of {limits.requests} requests has been reached. Finished pictures are "
                "kept; raise the limit to continue."
            )
        if limits.budget and (made + 1) * limits.price > limits.budget * (1 + 1e-9):
            raise SuspectError(
                f"The next request would exceed the budget of {limits.budget:g}: {made} requests "
                f"were made at {limits.price:g} each. Finished pictures are kept; raise the "
                "budget to continue."
            )
        pause(self._last_request + limits.pause - time.monotonic(), progress)
        self._last_request = time.monotonic()
        self.usage.requests += 1


def persistently(work: Callable[[], T], limits: RequestLimits, progress: Progress = NULL) -> T:
    """Call a function, and again after growing waits while it raises :class:`BadAnswer`.

    Parameters
    ----------
    work : callable
        The function; its result is returned.
    limits : RequestLimits
        Gives the number of attempts and the first wait.
    progress : Progress
        Decides about cancelling while waiting.

    Raises
    ------
    BadAnswer
        If all attempts failed.
    """
    wait = limits.backoff
    for attempt in range(1, limits.attempts + 1):
        try:
            return work()
        except BadAnswer as error:
            if attempt == limits.attempts:
                raise
            pause(max(wait, error.wait), progress, note=f"waiting for attempt {attempt + 1}")
            wait = min(2 * wait, _LONGEST_WAIT)
    raise SuspectError("No attempt was allowed.")


def pause(seconds: float, progress: Progress = NULL, note: str = "") -> None:
    """Wait, but stop within a fraction of a second if the user cancels.

    Parameters
    ----------
    seconds : float
        How long; 0 or less returns at once.
    progress : Progress
        Decides about cancelling.
    note : str
        Shown while waiting.

    Raises
    ------
    Cancelled
        If the user has asked to stop.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        progress.advance(0, note)
        time.sleep(min(left, _TICK))
