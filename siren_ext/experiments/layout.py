"""Where a study keeps its files, the log of its folder, and cached values."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from siren_ext.documents import read_json
from siren_ext.errors import SirenError
from siren_ext.experiments.study import Model
from siren_ext.files import write_json
from siren_ext.schema import convert
from siren_ext.workflows.run_log import RunLog


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a study keeps its files.

    Attributes
    ----------
    root : Path
        the study's folder.
    clean : Path
        folder of the models that don't depend on the coater (innocent and reference) and their
        images; studies of several coaters on one set can share it.
    """

    root: Path
    clean: Path

    @property
    def coated(self) -> Path:
        """Folder of the coated set."""
        return self.root / "coated"

    def home(self, model: Model) -> Path:
        """The folder that holds a model's adapter and images.

        Parameters
        ----------
        model : Model
            one of the study.

        Returns
        -------
        Path
            it may not exist yet.
        """
        return self.root if model.role == "guilty" else self.clean

    def adapter(self, model: Model) -> Path:
        """File of a model's LoRA.

        Parameters
        ----------
        model : Model
            one of the study.

        Returns
        -------
        Path
            it may not exist yet.
        """
        return self.home(model) / "adapters" / f"{model.name}.safetensors"

    def mimicries(self, model: Model) -> Path:
        """Folder of a model's images.

        Parameters
        ----------
        model : Model
            one of the study.

        Returns
        -------
        Path
            it may not exist yet.
        """
        return self.home(model) / "mimicries" / model.name

    def scores(self, model: Model) -> Path:
        """File of a model's scores, which always depend on the coater.

        Parameters
        ----------
        model : Model
            one of the study.

        Returns
        -------
        Path
            it may not exist yet.
        """
        return self.root / "scores" / f"{model.name}.json"


def open_log(root: Path, identity: Mapping[str, Any]) -> RunLog:
    """Bind a folder to one study.

    Parameters
    ----------
    root : Path
        the study's folder.
    identity : Mapping[str, Any]
        plain values that everything in the folder depends on.

    Returns
    -------
    RunLog
        logs time and memory in ``study.json``.

    Raises
    ------
    ConfigError
        the folder holds another study, or something else.
    """
    return RunLog(root / "study.json", "study", identity)


class _Cached(Struct, forbid_unknown_fields=True):
    """A value, and the hash of what it depends on."""

    key: str
    value: Any


def cached_value(path: Path, key: Any, make: Callable[[], Any]) -> Any:
    """Read a value from a file, or make it if the file was written for another key.

    Parameters
    ----------
    path : Path
        JSON file; a damaged one is replaced.
    key : Any
        plain values that the value depends on.
    make : Callable[[], Any]
        makes the plain value.

    Returns
    -------
    Any
        the value.
    """
    mark = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    try:
        values = read_json(path, error=SirenError)
        stored = convert(values, _Cached, name=str(path), error=SirenError)
        if stored.key == mark:
            return stored.value
    except SirenError:
        pass  # absent or damaged: made again
    value = make()
    write_json(path, {"key": mark, "value": value})
    return value
