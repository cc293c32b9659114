"""Merge adapters into a pipeline's weights, and undo it bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from siren_ext.adapters.changes import Change
from siren_ext.adapters.embeddings import EmbeddingSwap, install_embeddings
from siren_ext.adapters.names import Modules, Target
from siren_ext.adapters.originals import family_of
from siren_ext.adapters.read import Adapter, read_adapter
from siren_ext.adapters.summary import AdapterSummary, listing
from siren_ext.diffusion.load import Pipeline
from siren_ext.errors import AdapterError

_WITH_UNET = (
    "StableDiffusionPipeline", "StableDiffusionXLPipeline", "LatentConsistencyModelPipeline",
)  # fmt: skip
# supported for files that name modules as diffusers or the original does
_WITH_TRANSFORMER = (
    "StableDiffusion3Pipeline", "FluxPipeline", "Flux2Pipeline", "Flux2KleinPipeline",
    "QwenImagePipeline", "ZImagePipeline", "Lumina2Pipeline", "HiDreamImagePipeline",
)  # fmt: skip


@dataclass
class Merge:
    """A merged adapter.

    Attributes
    ----------
    adapter : Adapter
        The adapter.
    warnings : tuple of str
        What was left out, if that was allowed.
    kept : float
        How much of the change survives rounding to the number format in which the weights will be
        used: 1 for all, 0 for none.
    """

    adapter: Adapter
    warnings: tuple[str, ...]
    kept: float
    _saved: list[tuple[Tensor, slice, Tensor, int]] = field(default_factory=list, repr=False)
    _swap: EmbeddingSwap | None = field(default=None, repr=False)
    _undone: bool = field(default=False, repr=False)

    def undo(self) -> None:
        """Restore every weight bit for bit. Undo several merges in reverse order.

        Raises
        ------
        AdapterError
            If the merge was undone already, or the weights were changed or converted since.
        """
        if self._undone:
            raise AdapterError(f"The merge of {self.adapter.path.name} has already been undone.")
        for weight, rows, before, bits in self._saved:
            if weight.dtype != before.dtype or _bits(weight[rows]) != bits:
                raise AdapterError(
                    f"The weights were changed after {self.adapter.path.name} was merged, so the "
                    "merge can't be undone. Undo later merges first."
                )
        with torch.no_grad():
            for weight, rows, before, _ in self._saved:
                weight[rows].copy_(before)
        if self._swap is not None:
            self._swap.undo()
        self._undone = True


def load_adapter(
    pipeline: Pipeline, path: Path, *, scale: float = 1.0, allow_partial: bool = False
) -> AdapterSummary:
    """Merge an adapter into a pipeline's weights permanently: W += scale dW.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline to change.
    path : Path
        The adapter, as in :func:`siren_ext.adapters.read.read_adapter`.
    scale : float
        Strength; 1 for the adapter as trained.
    allow_partial : bool
        Leave out what is not understood or does not fit, instead of raising an error.

    Returns
    -------
    AdapterSummary
        What the adapter contains.

    Raises
    ------
    AdapterError
        If a key is not understood, a module is missing from the pipeline or a shape does not fit;
        the message names them, and nothing is changed.
    """
    adapter = read_adapter(path, allow_partial=allow_partial)
    merge_adapter(pipeline, adapter, scale=scale, allow_partial=allow_partial, keep=False)
    return adapter.summary()


def merge_adapter(
    pipeline: Pipeline,
    adapter: Adapter,
    *,
    scale: float = 1.0,
    allow_partial: bool = False,
    keep: bool = True,
    final_dtype: torch.dtype | None = None,
) -> Merge:
    """Merge an adapter into a pipeline's weights: W += scale dW.

    Kinds whose change depends on the weight itself (DoRA, (IA)^3) use the weight after earlier
    merges, and are interpolated linearly by ``scale``.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline to change.
    adapter : Adapter
        The adapter.
    scale : float
        Strength; 1 for the adapter as trained.
    allow_partial : bool
        Leave out what does not fit, instead of raising an error.
    keep : bool
        Keep a copy of the changed weights for :meth:`Merge.undo`.
    final_dtype : torch.dtype or None
        The number format to which the weights will be converted, for ``kept``.

    Returns
    -------
    Merge
        Undoes the change.

    Raises
    ------
    AdapterError
        As in :func:`load_adapter`, before anything is changed.
    """
    fits, warnings = resolve(pipeline, adapter, allow_partial=allow_partial)
    if adapter.embeddings and scale != 1:
        raise AdapterError(
            f"{adapter.path.name} is a textual inversion, which has no strength; leave the "
            "strength at 1."
        )
    kept = _check_result(adapter, fits, scale, final_dtype)
    merge = Merge(adapter, warnings, kept)
    if adapter.embeddings:
        merge._swap = install_embeddings(pipeline, adapter.path.name, adapter.embeddings)
    with torch.no_grad():
        for target, change in fits:
            for weight, rows, value in list(_changed(target, change, scale)):
                before = weight.detach()[rows].clone() if keep else None
                weight[rows].copy_(value)
                if before is not None:
                    merge._saved.append((weight, rows, before, _bits(weight[rows])))
    return merge


def resolve(
    pipeline: Pipeline, adapter: Adapter, *, allow_partial: bool = False
) -> tuple[list[tuple[Target, Change]], tuple[str, ...]]:
    """Find the modules that an adapter changes.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline.
    adapter : Adapter
        The adapter.
    allow_partial : bool
        Give warnings about what does not fit, instead of raising an error.

    Returns
    -------
    fits : list of (Target, Change)
        The modules and their changes.
    warnings : tuple of str
        What is left out.

    Raises
    ------
    AdapterError
        If a module is missing or has another shape (with ``allow_partial`` only if none fits), or
        if adapters for this model family are not supported.
    """
    _check_family(pipeline, adapter)
    known = Modules(pipeline)
    fits: list[tuple[Target, Change]] = []
    seen: dict[int, list[range]] = {}
    absent, wrong = [], []
    for change in adapter.changes:
        target = known.find(change.place)
        name = change.module or str(change.place)
        if isinstance(target, str):
            absent.append(f"{name} ({target})" if "more" in target else name)
            continue
        weight = target.shape("weight")
        misfit = "no weight" if weight is None else change.misfit(weight, target.shape("bias"))
        if misfit:
            wrong.append(f"{name} ({misfit})")
        elif _seen(target, seen):
            wrong.append(f"{name} (changed twice)")
        else:
            fits.append((target, change))
    if (absent or wrong) and (not allow_partial or not (fits or adapter.embeddings)):
        _refuse(adapter.path.name, type(pipeline).__name__, absent, wrong)
    name = adapter.path.name
    total = len(adapter.changes)
    notes = (
        ("keys were not understood", adapter.leftovers),
        (f"of {total} modules are not in this model", absent),
        (f"of {total} modules don't fit this model's shapes", wrong),
    )
    warnings = tuple(
        f"{name} was only loaded in part: {len(names)} {what} and were left out: {listing(names)}"
        for what, names in notes
        if names
    )
    return fits, warnings


def _seen(target: Target, seen: dict[int, list[range]]) -> bool:
    """Whether rows of a target were changed before; adds them."""
    twice = False
    for part in target.parts:
        rows = range(*(part.rows or (0, 1 << 62)))
        before = seen.setdefault(id(part.module), [])
        twice = twice or any(one.start < rows.stop and rows.start < one.stop for one in before)
        before.append(rows)
    return twice


def _check_family(pipeline: Pipeline, adapter: Adapter) -> None:
    """Refuse families whose module names in adapter files are ambiguous."""
    kind = type(pipeline).__name__
    if kind.endswith("Pipeline") and kind not in _WITH_UNET + _WITH_TRANSFORMER:
        raise AdapterError(
            f"{adapter.path.name} can't be loaded into a {kind}, because adapters for it are not "
            "supported. Expected Stable Diffusion 1.x, 2.x, XL or 3, LCM, Flux, Flux.2, "
            "Qwen-Image, Z-Image, Lumina 2 or HiDream. Merge the adapter with the program that "
            "made it, and use the merged model."
        )
    if kind in _WITH_TRANSFORMER and adapter.embeddings:
        raise AdapterError(
            f"{adapter.path.name} is a textual inversion, which {kind} would use with only one of "
            "its text encoders; expected a model with a UNet (Stable Diffusion 1.x, 2.x, XL)."
        )


def _bits(weight: Tensor) -> int:
    """A checksum over a tensor's bits."""
    whole = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return int(weight.detach().view(whole[weight.element_size()]).sum(dtype=torch.int64))


def _refuse(name: str, kind: str, absent: list[str], wrong: list[str]) -> None:
    """Raise an error that names the modules that do not fit."""
    if absent:
        also = f" {len(wrong)} more don't fit its shapes: {listing(wrong)}." if wrong else ""
        raise AdapterError(
            f"{name} changes {len(absent)} modules that are not in this model: {listing(absent)}."
            f"{also} {_origin(kind, absent)} Load it with its own base model."
        )
    raise AdapterError(
        f"{name} doesn't fit this model's shapes: {listing(wrong)}. Load it with the base model "
        "that it was trained on."
    )


def _origin(kind: str, absent: list[str]) -> str:
    """A sentence about the family for which names were probably made."""
    families = list(dict.fromkeys(family for name in absent if (family := family_of(name))))
    model = f"; the model is a {kind}" if kind.endswith("Pipeline") else ""
    if not families:
        return f"These names do not belong to any model family that is known here{model}."
    return f"These names are used by {' and '.join(families)}{model}."


def _changed(
    target: Target, change: Change, scale: float
) -> Iterator[tuple[Tensor, slice, Tensor]]:
    """The parameters that a change affects, their rows, and the new values of these."""
    weight = target.tensor("weight")
    if weight is None:
        return
    deltas = change.delta(weight, target.tensor("bias"))
    for name, delta in zip(("weight", "bias"), deltas, strict=True):
        start = 0
        for part in target.parts:
            old: Tensor | None = getattr(part.module, name, None)
            if old is None or delta is None:
                continue
            rows = slice(*(part.rows or (0, old.shape[0])))
            stop = start + rows.stop - rows.start
            yield old, rows, (old[rows].float() + scale * delta[start:stop]).to(old.dtype)
            start = stop


@torch.no_grad()
def _check_result(
    adapter: Adapter,
    fits: list[tuple[Target, Change]],
    scale: float,
    final_dtype: torch.dtype | None,
) -> float:
    """Refuse weights that are not finite; returns how much of the change the format keeps."""
    broken = []
    along = total = 0.0
    for target, change in fits:
        for weight, rows, new in _changed(target, change, scale):
            old = weight[rows]
            if not bool(torch.isfinite(new).all()):
                broken.append(str(target))
            elif final_dtype not in (None, old.dtype):
                wanted = new.float() - old.float()
                got = new.to(final_dtype).float() - old.to(final_dtype).float()
                along += float((wanted * got).sum())
                total += float((wanted * wanted).sum())
    if broken:
        raise AdapterError(
            f"{adapter.path.name} at strength {scale:g} gives infinite weights in "
            f"{listing(broken)}. The file is damaged or the strength is too large."
        )
    return along / total if total else 1.0
