"""The weights that SIREN's authors published, made into a coater: two pickled PyTorch files.

The generator file holds ``conv_bns.*``, ``after_concat_layer.*``, ``final_layer.*`` and the
constant message ``msg``; the extractor file ``layers.*``, ``linear.*`` and, once the pair was
trained for a set of images, ``center``. Wrappings by ``DataParallel`` (``module.``) or by a
training state that nests the networks are taken off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from siren_ext.coater.bundled import refuse_existing
from siren_ext.coater.coater import MAX_BYTES, Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coater.torch_files import read_torch_file
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture, square_view, to_tensor
from siren_ext.errors import CoaterError
from siren_ext.files import sha256_file
from siren_ext.progress import NULL, Progress

# a name that each network surely has and that tells what stands before it
_MARKS = {"generator": "final_layer.weight", "extractor": "linear.weight"}
_DEPTH = 4


@dataclass(frozen=True)
class ImportedCoater:
    """A coater made from two published files.

    Attributes
    ----------
    coater : Coater
        the pair with its centre.
    path : Path
        the file it was written to.
    images : ImageSet | None
        what the centre was computed from, with the files that could not be read in its
        ``problems``; None where the extractor file holds a centre.
    """

    coater: Coater
    path: Path
    images: ImageSet | None

    @property
    def summary(self) -> str:
        """Where the centre comes from and what that means for its use, in a sentence or two."""
        if self.images is None:
            return (
                "The centre is that of the extractor's file: the pair was trained for a set of "
                "images, and is a coater for that set."
            )
        return (
            f"The centre was computed from {len(self.images)} images: the pair is meta-learned, a "
            "start. Train a coater for your images from it before you coat."
        )


def import_official(
    generator: Path | str,
    extractor: Path | str,
    out: Path,
    data: Path | str | None = None,
    *,
    device: torch.device | str = "cpu",
    progress: Progress = NULL,
) -> ImportedCoater:
    """Make a coater file of two published files.

    Parameters
    ----------
    generator, extractor : Path | str
        as in :func:`load_official`.
    out : Path
        the file to write, ending in ``.safetensors``; an existing one is an error.
    data : Path | str | None
        clean images (a folder or a dataset.toml) from which the centre is computed where the
        extractor's file has none; not opened where it has one.
    device : torch.device | str
        where the centre is computed.
    progress : Progress
        images checked and coated; a stop writes nothing.

    Returns
    -------
    ImportedCoater
        the coater, and where its centre comes from.

    Raises
    ------
    CoaterError
        ``out`` exists or has another ending, and as in :func:`load_official`.
    DatasetError
        ``data`` holds no readable image.
    Cancelled
        the user stopped.
    """
    out = Path(out)
    if out.suffix.lower() != ".safetensors":
        raise CoaterError(f"{out} would be a coater file; expected a name ending in .safetensors.")
    refuse_existing(out)
    coater, centred = _read_pair(Path(generator), Path(extractor))
    images = None
    if not centred:
        if data is None:
            raise _no_centre(extractor)
        images = ImageSet.open(data).checked(progress=progress)
        _give_centre(coater.to(device), images, progress)
    refuse_existing(out)
    coater.save(out)
    return ImportedCoater(coater, out, images)


def load_official(
    generator: Path | str,
    extractor: Path | str,
    images: ImageSet | None = None,
    *,
    device: torch.device | str = "cpu",
    progress: Progress = NULL,
) -> Coater:
    """A coater with published weights.

    Parameters
    ----------
    generator : Path | str
        the encoder file of the published code, such as ``end_encoder.pth``.
    extractor : Path | str
        the decoder file saved together with it; a pair belongs together.
    images : ImageSet | None
        clean images from which the centre is computed where the extractor's file has none (a
        meta-learned pair); unused where it has one.
    device : torch.device | str
        where the coater is put, and the centre computed.
    progress : Progress
        one unit for each image of the centre.

    Returns
    -------
    Coater
        of the preset ``official``; ``provenance`` names the SHA-256 of both files, and of the
        images that the centre was computed from.

    Raises
    ------
    CoaterError
        a file is no PyTorch file, too large, lacks weights or has others; the files are swapped;
        the generator has no message; or there is neither a centre nor images.
    ImageError
        an image can't be read; :meth:`ImageSet.checked` leaves such images out.
    Cancelled
        the user stopped.
    """
    coater, centred = _read_pair(Path(generator), Path(extractor))
    coater.to(device)
    if not centred:
        if images is None:
            raise _no_centre(extractor)
        _give_centre(coater, images, progress)
    return coater


@torch.no_grad()
def mean_coated_feature(coater: Coater, images: ImageSet, *, progress: Progress = NULL) -> Tensor:
    """The centre that the published training uses: the mean feature of all coated images.

    Parameters
    ----------
    coater : Coater
        the pair; its own centre is not used.
    images : ImageSet
        clean images of any size, each squashed to the working size first.
    progress : Progress
        one unit for each image.

    Returns
    -------
    Tensor
        1 x k, on the coater's device.

    Raises
    ------
    ImageError
        an image can't be read.
    CoaterError
        the pair gives something else than finite numbers.

    Notes
    -----
    c = mean over i of f(x_i + coating(x_i)), undistorted, neither rounded nor clamped: what the
    authors' code computes before a training, at the start of each task of meta-learning, and after
    each epoch. In the paper's text c is the mean of a batch instead.
    """
    total = torch.zeros_like(coater.center, dtype=torch.float64, device="cpu")
    progress.stage("Computing the centre", len(images))
    for item in images.items:
        whole = to_tensor(read_picture(item.path).rgb)
        view = square_view(whole, coater.config.working_size).to(coater.center)
        total += coater.features(view + coater.residual(view)).double().cpu()
        progress.advance(1, item.name)
    if not bool(torch.isfinite(total).all()):
        raise CoaterError(
            "The two files give no finite features for these images; expected weights of a "
            "trained pair. Download or copy both again."
        )
    return (total / len(images)).to(coater.center)


def _give_centre(coater: Coater, images: ImageSet, progress: Progress) -> None:
    """Compute the centre and write down from what."""
    coater.center = mean_coated_feature(coater, images, progress=progress)
    coater.provenance |= {"center_images": len(images), "center_images_sha256": images.hash}


def _no_centre(extractor: Path | str) -> CoaterError:
    return CoaterError(
        f"{extractor} holds no 'center', so the pair is meta-learned and was not trained for a set "
        "of images. Give a folder of your clean images as well (--data FOLDER in the command), "
        "from which the centre is computed."
    )


def _read_pair(generator: Path, extractor: Path) -> tuple[Coater, bool]:
    """The coater on the CPU and whether the files hold its centre; without one, it is zero."""
    weights = _both_networks(generator, extractor)
    coater = Coater(CoaterConfig.preset("official"))
    own = coater.tensors()
    _rearrange(weights, own)
    missing = own.keys() - weights.keys()
    if "generator.msg" in missing and missing <= {"generator.msg", "center"}:
        reason = (
            "and the extractor knows only the coating that this very message makes. Give the "
            "generator's file as the training saved it."
            if "center" not in missing
            else "and the extractor holds no centre: these are weights from which the authors "
            "start (HiDDeN), not trained for any coating. Give the files of a training or of "
            "meta-learning, or train a coater of this shape: "
            "'siren-ext train --preset official --start none'."
        )
        raise CoaterError(f"{generator} lacks the constant message 'msg', {reason}")
    centred = "center" not in missing
    if not centred:
        weights["center"] = own["center"]
    coater.load_tensors(weights, name=f"{generator} with {extractor}")
    coater.provenance = {
        "source": "official",
        "generator_sha256": sha256_file(generator),
        "extractor_sha256": sha256_file(extractor),
    }
    return coater, centred


def _both_networks(generator: Path, extractor: Path) -> dict[str, Tensor]:
    """The weights of both files under ``generator.`` and ``extractor.``."""
    paths = {"generator": generator, "extractor": extractor}
    held = {kind: read_torch_file(path, MAX_BYTES) for kind, path in paths.items()}
    found = {kind: _network(held[kind], mark) for kind, mark in _MARKS.items()}
    if all(network is None for network in found.values()) and (
        _network(held["generator"], _MARKS["extractor"]) is not None
        and _network(held["extractor"], _MARKS["generator"]) is not None
    ):
        raise CoaterError(
            f"The two files are swapped: {generator} holds the extractor and {extractor} the "
            "generator. Give the generator (encoder) first, then the extractor (decoder)."
        )
    weights: dict[str, Tensor] = {}
    for kind, network in found.items():
        if network is None:
            raise CoaterError(
                f"{paths[kind]} holds no {kind} of the published kind; expected one set of weights "
                f"with {_MARKS[kind]}. Give the generator (encoder) first, then the extractor "
                "(decoder) that was saved together with it."
            )
        weights |= {f"{kind}.{name}": value for name, value in network.items()}
    return weights


def _rearrange(weights: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Centre beside the networks, message and centre as one row, batch counts if absent."""
    for old, new in (("generator.msg", "generator.msg"), ("extractor.center", "center")):
        if old in weights:
            row = weights.pop(old)
            plain = row.layout == torch.strided and not (row.is_meta or row.is_quantized)
            fits = plain and row.numel() == own[new].numel()
            weights[new] = row.reshape(own[new].shape).float() if fits else row
    for key in own:
        # files of very old PyTorch versions lack the counts; nothing reads them
        if key.endswith("num_batches_tracked"):
            weights.setdefault(key, own[key])


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
