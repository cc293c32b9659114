"""Several processes of one run on the GPUs of a machine, as ``accelerate launch`` starts them.

Every process (rank) runs the same code with the same random numbers, and computes its own share of
the rows of each batch: rank r of n takes the rows r, r + n, r + 2n and so on. Gradients and results
are put together again, so that the result is that of one process but for rounding. Rank 0, the main
one, alone writes and prints. Without a launcher there is one rank, and nothing here costs anything.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from siren_ext.errors import Cancelled, ConfigError, SirenError
from siren_ext.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

SECONDS = 600.0
"""So long a rank waits for the others before it gives up."""
_ASKING_SECONDS = 5.0
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

T = TypeVar("T")
R = TypeVar("R")


class RankLostError(SirenError):
    """Another process of the same run has ended, or does not answer."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, seen from one of them.

    Attributes
    ----------
    rank : int
        This process, from 0.
    size : int
        Number of processes.
    local : int
        This process among those on its machine: the number of its GPU.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    _control: Any = None  # a group of all ranks that passes objects through the CPU

    @property
    def main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def own(self, start: int, stop: int) -> slice:
        """This rank's share of the rows from ``start`` to ``stop``.

        Shares of any range differ by one row at most, so each kind of work is split evenly even if
        it is done for the first rows of a batch only. A share may be empty.
        """
        return slice(start + (self.rank - start) % self.size, stop, self.size)

    def count(self, start: int, stop: int) -> int:
        """Number of rows in :meth:`own`."""
        own = self.own(start, stop)
        return len(range(own.start, own.stop, own.step))

    def add(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over all ranks, in one exchange.

        Parameters
        ----------
        *tensors : Tensor
            Float tensors of the same shapes on every rank, all on its device.

        Raises
        ------
        RankLostError
            Another rank has ended.
        """
        if self.size == 1 or not tensors:
            return
        import torch
        from torch import distributed

        flat = [one.detach().float().flatten() for one in tensors]
        whole = flat[0] if len(flat) == 1 else torch.cat(flat)  # a large one is not copied
        sent = whole if distributed.get_backend() == "nccl" else whole.cpu()
        with _answering():
            distributed.all_reduce(sent)
        with torch.no_grad():
            parts = torch.split(sent, [one.numel() for one in tensors])
            for one, part in zip(tensors, parts, strict=True):
                one.copy_(part.view(one.shape))

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in their order; raises :class:`RankLostError`."""
        if self.size == 1:
            return [value]
        from torch import distributed

        found: list[Any] = [None] * self.size
        with _answering():
            distributed.all_gather_object(found, value, group=self._control)
        return found

    def first(self, make: Callable[[], T]) -> T:
        """What ``make`` gives on the main rank, for all ranks; it runs there only.

        Raises :class:`RankLostError`, and what ``make`` raises.
        """
        if self.size == 1:
            return make()
        from torch import distributed

        given = [make() if self.main else None]
        with _answering():
            distributed.broadcast_object_list(given, src=0, group=self._control)
        return given[0]  # type: ignore[return-value]

    def wait(self) -> None:
        """Go on when all ranks are here; raises :class:`RankLostError`."""
        self.gather(None)

    def mapped(self, function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """``function(rows)``, each rank computing its own rows; no gradient passes.

        Parameters
        ----------
        function : callable
            From n rows to n rows, each of which depends on its own row only.
        rows : Tensor
            The same on all ranks.

        Raises
        ------
        RankLostError
            Another rank has ended.
        """
        if self.size == 1:
            return function(rows)
        import torch

        mine = function(rows[self.own(0, len(rows))]) if self.count(0, len(rows)) else None
        parts = self.gather(None if mine is None else mine.detach().cpu())
        like = next(part for part in parts if part is not None)
        whole = torch.empty(len(rows), *like.shape[1:], dtype=like.dtype)
        for rank, part in enumerate(parts):
            if part is not None:
                whole[rank :: self.size] = part
        return whole.to(rows.device)

    def shared(self, work: Iterable[T], compute: Callable[[T], R]) -> Iterator[tuple[T, R]]:
        """What ``compute`` gives for each piece of work, each rank computing every n-th.

        Parameters
        ----------
        work : iterable
            The same pieces on all ranks.
        compute : callable
            Gives plain values, arrays, or tensors on the CPU.

        Yields
        ------
        tuple
            A piece and its result, in order, on all ranks.

        Raises
        ------
        RankLostError
            Another rank has ended.
        """
        pieces = iter(work)
        while turn := list(itertools.islice(pieces, self.size)):
            mine = compute(turn[self.rank]) if self.rank < len(turn) else None
            yield from zip(turn, self.gather(mine), strict=False)  # type: ignore[misc]

    def watched(self, progress: Progress) -> Progress:
        """A progress that stops all ranks after the same unit of work.

        Parameters
        ----------
        progress : Progress
            This rank's own. Every rank must report the same units in the same order.
        """
        return progress if self.size == 1 else _Together(progress, self)

    def device(self, name: str) -> str:
        """The torch device of this rank; ``name`` unless that means GPUs.

        Raises
        ------
        ConfigError
            There are fewer GPUs than ranks, or one GPU is named for all of them.
        """
        if self.size == 1 or name == "cpu":
            return name
        import torch

        cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if name == "auto" and not cards:
            return "cpu"
        if name not in ("auto", "cuda"):
            raise ConfigError(
                f"Device {name!r} was given to {self.size} processes; expected auto, cuda or cpu, "
                "because each process uses its own GPU."
            )
        if self.local >= cards:
            raise ConfigError(
                f"{self.size} processes were started, but there are {cards} GPUs; expected one "
                f"GPU for each process. Use --num_processes {max(1, cards)}, or --device cpu."
            )
        return f"cuda:{self.local}"


_ALONE = Ranks()
_now = _ALONE


def current() -> Ranks:
    """The ranks of this run; a single one outside :func:`joined`."""
    return _now


def launched(environment: Mapping[str, str] = os.environ) -> tuple[int, int, int] | None:
    """What a launcher says about this process.

    Parameters
    ----------
    environment : mapping
        The environment of the process.

    Returns
    -------
    tuple of int or None
        Rank, number of ranks, and rank on this machine; None if this process is alone.
    """
    found = [environment.get(name, "") for name in _VARIABLES]
    if not all(found) or not all(text.isdigit() for text in found[:3]) or int(found[1]) < 2:
        return None
    return int(found[0]), int(found[1]), int(found[2])


@contextmanager
def joined(device: str = "auto") -> Iterator[Ranks]:
    """Run as one of the processes that a launcher has started; alone if there was none.

    Parameters
    ----------
    device : str
        ``auto`` or a torch device name. GPUs exchange gradients through NCCL, all others Gloo.

    Yields
    ------
    Ranks
        What :func:`current` gives meanwhile.

    Raises
    ------
    ConfigError
        The device does not suit several processes.
    RankLostError
        Another rank has ended, or never came.
    """
    global _now
    place = launched()
    if place is None or _now.size > 1:
        yield _now
        return
    found = _join(*place, device)
    _now = found
    try:
        yield found
        found.wait()  # no rank ends while others need it
        _leave()
    finally:
        _now = _ALONE


def _join(rank: int, size: int, local: int, device: str) -> Ranks:
    """Meet the other ranks."""
    import torch
    from torch import distributed

    place = Ranks(rank, size, local).device(device)
    gpu = place.startswith("cuda")
    if gpu:
        torch.cuda.set_device(place)
    limit = timedelta(seconds=SECONDS)
    with _answering():
        # a launcher that starts the ranks again may have kept what the earlier ones wrote
        meeting = _store(limit, host=rank == 0)
        store = distributed.PrefixStore(_turn(), meeting)  # type: ignore[attr-defined]
        distributed.init_process_group(
            "nccl" if gpu else "gloo", store=store, rank=rank, world_size=size, timeout=limit
        )
        control = distributed.new_group(backend="gloo", timeout=limit)
    return Ranks(rank, size, local, control)


def _leave() -> None:
    """Close the connections."""
    from torch import distributed

    distributed.destroy_process_group()


def _turn() -> str:
    """Names this start of the ranks."""
    return f"siren_ext/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


def _store(limit: timedelta, *, host: bool) -> Any:
    """The table through which ranks meet; the launcher keeps it, or else rank 0."""
    from torch import distributed

    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return distributed.TCPStore(  # type: ignore[attr-defined]
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=host and not kept,
        wait_for_workers=False,
        timeout=limit,
    )


def is_first_to_end() -> bool:
    """Whether no other rank of this run has asked this; that one says why the run ends.

    The launcher keeps the answer. If it has ended too, the main rank is the first.
    """
    place = launched()
    if place is None:
        return True
    with suppress(RuntimeError, ValueError):
        store = _store(timedelta(seconds=_ASKING_SECONDS), host=False)
        return bool(store.add(f"{_turn()}/ended", 1) == 1)
    return place[0] == 0


@contextmanager
def _answering() -> Iterator[None]:
    """Errors of an exchange are those of a lost rank."""
    try:
        yield
    except RuntimeError as error:
        raise RankLostError(
            "Another process of this run has ended or does not answer. It may have been killed, "
            "often because there was not enough memory. Finished work is kept; run the same "
            "command again to resume."
        ) from error


class _Together(Progress):
    """Asks all ranks after each unit of work whether one of them wants to stop."""

    def __init__(self, inner: Progress, ranks: Ranks) -> None:
        super().__init__()
        self._inner, self._ranks = inner, ranks

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        self._inner.stage(label, total, done)

    def advance(self, units: int = 1, note: str = "") -> None:
        stop: Cancelled | None = None
        try:
            self._inner.advance(units, note)
        except Cancelled as error:
            stop = error
        if any(self._ranks.gather(stop is not None)):
            raise stop or Cancelled("Stopped, because another process of this run stopped.")

    def notice(self, text: str) -> None:
        self._inner.notice(text)

    def close(self) -> None:
        self._inner.close()
