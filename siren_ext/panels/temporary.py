"""Temporary folders of this process, and those that ended processes left.

Web UIs end at Ctrl-C without any last steps, and a console may be closed, so what is deleted when a
program ends is not enough: these folders hold copies of people's images.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from siren_ext.files import has_ended, owner_mark

_NAME = re.compile(r"siren_\w+_([0-9a-f]{8}-[0-9]{1,10})-")


def own_folder(kind: str) -> Path:
    """Create a folder that only this user can read; delete those of ended processes first.

    Parameters
    ----------
    kind : str
        Part of the folder's name, such as ``coat``.

    Returns
    -------
    Path
        The empty folder.
    """
    place = tempfile.gettempdir()
    _delete_left(place, os.getpid())
    return Path(tempfile.mkdtemp(prefix=f"siren_{kind}_{owner_mark()}-", dir=place))


@functools.cache
def _delete_left(place: str, _process: int) -> None:
    """Delete the folders of ended processes, once for each process; what can't be is left."""
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            owner = _NAME.match(entry.name)
            if owner and entry.is_dir(follow_symlinks=False) and has_ended(owner[1]):
                shutil.rmtree(entry.path, ignore_errors=True)
