"""Make a coater from the two PyTorch files that SIREN's authors published.

The generator file contains ``conv_bns.*``, ``after_concat_layer.*``, ``final_layer.*`` and the
constant message ``msg``. The extractor file contains ``layers.*``, ``linear.*`` and, if the pair
was trained for a set of images, ``center``. Prefixes of ``DataParallel`` (``module.``) and training
states that nest the networks are handled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from siren_ext.coater.bundled import refuse_existing
from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coater.file import MAX_BYTES
from siren_ext.coater.torch_files import read_torch_file
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture, square_view, to_tensor
from siren_ext.errors import CoaterError
from siren_ext.files import sha256_file
from siren_ext.progress import NULL, Progress

# A name that each network must have; what comes before it is the prefix of the network's names.
_MARKS = {"generator": "final_layer.weight", "extractor": "linear.weight"}
_DEPTH = 4


@dataclass(frozen=True)
class ImportedCoater:
    """A coater made from two published files.

    Attributes
    ----------
    coater : Coater
        The pair with its centre.
    path : Path
        The file it was written to.
    images : ImageSet | None
        The images from which the centre was computed, with unreadable files in its ``problems``;
        None if the extractor file contains a centre.
    """

    coater: Coater
    path: Path
    images: ImageSet | None

    @property
    def summary(self) -> str:
        """Where the centre comes from and what that means for the user, in a sentence or two."""
        if self.images is None:
            return (
                "The centre comes from the extractor's file: the pair was trained for one set of "
                "images and is a coater for that set."
            )
        return (
            f"The centre was computed from {len(self.images)} images: the pair is a meta-learned "
            "start. Train a coater for your images from it before you coat them."
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
    """Make a coater file from two published files.

    Parameters
    ----------
    generator, extractor : Path | str
        As in :func:`load_official`.
    out : Path
        The file to write, ending in ``.safetensors``; it must not exist.
    data : Path | str | None
        Clean images (a folder or a dataset.toml) from which the centre is computed if the
        extractor's file has none; not read otherwise.
    device : torch.device | str
        Where the centre is computed.
    progress : Progress
        Counts images as they are checked and coated. If cancelled, nothing is written.

    Returns
    -------
    ImportedCoater
        The coater, and where its centre comes from.

    Raises
    ------
    CoaterError
        If ``out`` exists or has another ending, and as in :func:`load_official`.
    DatasetError
        If ``data`` has no readable image.
    Cancelled
        If the user stopped.
    """
    out = Path(out)
    if out.suffix.lower() != ".safetensors":
        raise CoaterError(f"{out} can't be a coater file; expected a name ending in .safetensors.")
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
        The encoder file of the published code, such as ``end_encoder.pth``.
    extractor : Path | str
        The decoder file that was saved together with it.
    images : ImageSet | None
        Clean images from which the centre is computed if the extractor's file has none (a
        meta-learned pair); unused otherwise.
    device : torch.device | str
        Where to put the coater and compute the centre.
    progress : Progress
        One unit per image of the centre.

    Returns
    -------
    Coater
        With the preset ``official``. Its ``provenance`` gives the SHA-256 of both files, and of the
        images that the centre was computed from.

    Raises
    ------
    CoaterError
        If a file is not a PyTorch file, is too large, or has missing or unknown weights; if the
        files are swapped; if the generator has no message; or if there is neither a centre nor
        images.
    ImageError
        If an image cannot be read; :meth:`ImageSet.checked` leaves such images out.
    Cancelled
        If the user stopped.
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
    """The centre of the published training: the mean feature of all coated images.

    Parameters
    ----------
    coater : Coater
        The pair; its own centre is not used.
    images : ImageSet
        Clean images of any size, each squashed to the working size first.
    progress : Progress
        One unit per image.

    Returns
    -------
    Tensor
        1 x k, on the coater's device.

    Raises
    ------
    ImageError
        If an image cannot be read.
    CoaterError
        If the features are not finite.

    Notes
    -----
    c = mean over i of f(x_i + coating(x_i)), without distortions, rounding or clamping. The
    authors' code computes it before training, at the start of each task of meta-learning, and after
    each epoch. In the paper (arXiv 2410.10437) c is the mean of a batch instead.
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
            "With these two files, the features of the images are not finite numbers; expected "
            "the weights of a trained pair. Download or copy both again."
        )
    return (total / len(images)).to(coater.center)


def _give_centre(coater: Coater, images: ImageSet, progress: Progress) -> None:
    """Compute the centre, and record the images in the provenance."""
    coater.center = mean_coated_feature(coater, images, progress=progress)
    coater.provenance |= {"center_images": len(images), "center_images_sha256": images.hash}


def _no_centre(extractor: Path | str) -> CoaterError:
    """The error for a pair without a centre."""
    return CoaterError(
        f"{extractor} contains no 'center', so the pair is meta-learned and was not trained for "
        "one set of images. Also give a folder of your clean images (--data FOLDER in the "
        "command), from which the centre is computed."
    )


def _read_pair(generator: Path, extractor: Path) -> tuple[Coater, bool]:
    """The coater, on the CPU, and whether the files contain its centre; if not, it is zero."""
    weights = _both_networks(generator, extractor)
    coater = Coater(CoaterConfig.preset("official"))
    own = coater.tensors()
    _rearrange(weights, own)
    missing = own.keys() - weights.keys()
    if "generator.msg" in missing and missing <= {"generator.msg", "center"}:
        reason = (
            "and the extractor only recognises the coating made with that message. Give the "
            "generator's file as it was saved by training."
            if "center" not in missing
            else "and the extractor has no centre: these are the weights that the authors "
            "start from (HiDDeN), which were not trained for any coating. Give the files "
            "of a trained or meta-learned pair, or train a coater of this shape: "
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
            f"The two files are swapped: {generator} contains the extractor and {extractor} the "
            "generator. Give the generator (encoder) first, then the extractor (decoder)."
        )
    weights: dict[str, Tensor] = {}
    for kind, network in found.items():
        if network is None:
            raise CoaterError(
                f"{paths[kind]} contains no {kind} in the published form; expected one set of "
                f"weights with {_MARKS[kind]}. Give the generator (encoder) first, then the "
                "extractor (decoder) that was saved together with it."
            )
        weights |= {f"{kind}.{name}": value for name, value in network.items()}
    return weights


def _rearrange(weights: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Rename the centre, make message and centre one row each, and add missing batch counts."""
    for old, new in (("generator.msg", "generator.msg"), ("extractor.center", "center")):
        if old in weights:
            row = weights.pop(old)
            plain = row.layout == torch.strided and not (row.is_meta or row.is_quantized)
            fits = plain and row.numel() == own[new].numel()
            weights[new] = row.reshape(own[new].shape).float() if fits else row
    for key in own:
        # files of very old PyTorch versions lack the counts, which are never used
        if key.endswith("num_batches_tracked"):
            weights.setdefault(key, own[key])


def _network(data: Any, mark: str) -> dict[str, Tensor] | None:
    """Weights of one network without prefixes; None unless there is exactly one."""
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
