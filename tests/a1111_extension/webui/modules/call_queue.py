"""The lock that generation is done under."""

from __future__ import annotations

import threading

queue_lock = threading.Lock()
