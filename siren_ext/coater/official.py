"""Read the weights that SIREN's authors published: two pickled PyTorch files.

The generator file holds ``conv_bns.*``, ``after_concat_layer.*``, ``final_layer.*`` and the
constant message ``msg``; the extractor file ``layers.*``, ``linear.*`` and ``center``. Wrappings by
``DataParallel`` (``module.``) or by a training state that nests the networks are taken off.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from siren_ext.coater.coater import MAX_BYTES, Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.errors import CoaterError
from siren_ext.files import sha256_file

# a name that each network surely has and that tells what stands before it
_GENERATOR_MARK = "final_layer.weight"
_EXTRACTOR_MARK = "linear.weight"
_DEPTH = 4


def load_official(generator: Path | str, extractor: Path | str) -> Coater:
    """A coater with published weights.

    Parameters
    ----------
    generator : Path | str
        the encoder file of the published code, such as ``end_encoder.pth``.
    extractor : Path | str
        the decoder file saved together with it; a pair belongs together.

    Raises
    ------
    CoaterError
        a file is no PyTorch file, too large, lacks weights or has others.
    """
    weights: dict[str, Tensor] = {}
    for kind, path, mark in (
        ("generator", Path(generator), _GENERATOR_MARK),
        ("extractor", Path(extractor), _EXTRACTOR_MARK),
    ):
        found = _network(_read(path), mark)
        if found is None:
            raise CoaterError(
                f"{path} holds no {kind} of the published kind: expected one set of weights with "
                f"{mark}. Were the two files given in the wrong order?"
            )
        weights |= {f"{kind}.{name}": value for name, value in found.items()}
    coater = Coater(CoaterConfig.preset("official"))
    _rearrange(weights, coater.tensors())
    missing = coater.tensors().keys() - weights.keys()
    if missing <= {"generator.msg", "center"} and missing:
        raise CoaterError(
            f"{generator} and {extractor} lack {', '.join(sorted(missing))}: these are weights "
            "from which the authors start, not a trained pair. Give the files of a training."
        )
    coater.load_tensors(weights, name=f"{generator} with {extractor}")
    coater.provenance = {
        "source": "official",
        "generator_sha256": sha256_file(Path(generator)),
        "extractor_sha256": sha256_file(Path(extractor)),
    }
    return coater


def _rearrange(weights: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Centre beside the networks, message and centre as one row, batch counts if absent."""
    for old, new in (("generator.msg", "generator.msg"), ("extractor.center", "center")):
        if old in weights:
            row = weights.pop(old)
            fits = row.numel() == own[new].numel()
            weights[new] = row.reshape(own[new].shape).float() if fits else row
    for key in own:
        # files of very old PyTorch versions lack the counts; nothing reads them
        if key.endswith("num_batches_tracked"):
            weights.setdefault(key, own[key])


def _read(path: Path) -> Any:
    """What a ``torch.save`` file holds, reading numbers and containers only.

    Only the zip form (PyTorch 1.6 and newer) is read: the older form could run code in spite of
    ``weights_only`` before PyTorch 2.6, and announces sizes that can't be checked beforehand.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CoaterError(f"{path} has {size} bytes; expected at most {MAX_BYTES}.")
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except OSError as error:
        raise CoaterError(f"{path} can't be opened: {error.strerror}.") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CoaterError(
            f"{path} is not a file that torch.save of PyTorch 1.6 or newer writes. If it is an "
            "older one that you trust, load it and save it again."
        ) from error
    if unpacked > MAX_BYTES:
        raise CoaterError(f"{path} unpacks to {unpacked} bytes; expected at most {MAX_BYTES}.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, TypeError) as error:
        raise CoaterError(f"{path} holds more than weights, or is damaged: {error}") from error
    except (LookupError, AttributeError, EOFError, OSError) as error:
        raise CoaterError(f"{path} is damaged: {error}") from error


def _network(data: Any, mark: str) -> dict[str, Tensor] | None:
    """Weights of one network without wrappings; None unless exactly one is there."""
    found = []
    for table in _tables(data, _DEPTH):
        for key in table:
            if not (key == mark or key.endswith("." + mark)):
                continue
            prefix = key[: -len(mark)]
            inside = [name for name in table if name.startswith(prefix)]
            found.append({name[len(prefix) :]: table[name] for name in inside})
    return found[0] if len(found) == 1 else None


def _tables(data: Any, depth: int) -> Iterator[dict[str, Tensor]]:
    """Every dictionary of named tensors inside nested dictionaries."""
    if not isinstance(data, Mapping) or not depth:
        return
    named = {k: v for k, v in data.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if named:
        yield named
    for value in data.values():
        yield from _tables(value, depth - 1)
