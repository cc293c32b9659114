"""Forge's one thread for generation: what fails there is printed and gives None."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable
from typing import Any

_WAITING: queue.Queue[tuple[Callable[[], Any], list[Any], threading.Event]] = queue.Queue()
IDENTITY: list[int] = []


def loop() -> None:
    IDENTITY.append(threading.get_ident())
    while True:
        work, result, done = _WAITING.get()
        try:
            result.append(work())
        except Exception:
            traceback.print_exc()
            result.append(None)
        done.set()


def run_and_wait_result(func, *args, **kwargs):
    result, done = [], threading.Event()
    _WAITING.put((lambda: func(*args, **kwargs), result, done))
    done.wait()
    return result[0]
