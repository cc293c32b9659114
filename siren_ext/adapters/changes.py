"""What an adapter does to one module, as a difference of its weight and bias.

Sources: LoRA (Hu et al. 2021, Eq. 3), LoHa (Hyeon-Woo et al. 2022, Eq. 5 and its Tucker form for
convolutions), LoKr (Yeh et al. 2024, section 3.2), DoRA (Liu et al. 2024, Eq. 5), (IA)^3 (Liu et
al. 2022, section 3.3), OFT and BOFT (:mod:`siren_ext.adapters.orthogonal`), SVDiff (Han et al.
2023, section 3.2), whole weights as in Custom Diffusion (Kumari et al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from siren_ext.adapters.keys import Place
from siren_ext.adapters.orthogonal import rotated, rotation_misfit

LORA, LOHA, LOKR, FULL, IA3, OFT = "lora", "loha", "lokr", "full", "ia3", "oft"
SPECTRAL, WHOLE = "svdiff", "whole"


@dataclass(frozen=True)
class Change:
    """The factors of an adapter for one module.

    Attributes
    ----------
    place : Place
        The module.
    kind : {"lora", "loha", "lokr", "full", "ia3", "oft", "svdiff", "whole"}
        What the factors are.
    parts : mapping of str to Tensor
        The factors by name.
    scale : float
        Multiplies their product: alpha / rank.
    on_input : bool
        For (IA)^3 and OFT: change the channels of the input instead of the output.
    with_bias : bool
        For (IA)^3: scale the bias with the output, as peft does and LyCORIS does not.
    module : str
        The module as the file names it, for messages.
    """

    place: Place
    kind: str
    parts: Mapping[str, Tensor] = field(repr=False)
    scale: float = 1.0
    on_input: bool = False
    with_bias: bool = False
    module: str = ""

    @property
    def rank(self) -> int | None:
        """Rank of the (larger) low-rank factor; None if there is none."""
        return rank_of(self.parts)

    @property
    def name(self) -> str:
        """The kind of change, with ``+tucker`` and ``+dora`` if they apply."""
        words = [self.kind]
        if any(part in self.parts for part in ("mid", "hada_t1", "lokr_t2")):
            words.append("tucker")
        if "dora" in self.parts:
            words.append("dora")
        if self.kind == OFT and self.parts["rotation"].ndim == 4:
            words = ["boft"]
        return "+".join(words)

    def misfit(self, weight: Tensor, bias: Tensor | None) -> str | None:
        """Why the change does not fit a module, or None if it does.

        Parameters
        ----------
        weight, bias : Tensor
            Of a linear layer, convolution or norm; only shapes are compared. ``bias`` may be None.
        """
        shift = self._shift()
        if shift is not None and (bias is None or shift.shape != bias.shape):
            return f"bias {_dims(shift)}, the model has {_dims(bias)}"
        if self.kind == IA3:
            side = weight.shape[int(self.on_input)] if weight.ndim > 1 else 0
            good = self.parts["ia3"].numel() == side
            return None if good else f"{_dims(self.parts['ia3'])}, the model has {side}"
        if self.kind == FULL and "diff" not in self.parts:
            return None
        if self.kind == SPECTRAL:
            shifts, count = self.parts["delta"], min(_folded(weight).shape)
            good = tuple(shifts.shape) == (count,)
            return None if good else f"{_dims(shifts)} shifts, the model has {count}"
        new_bias = self.parts.get("whole_b")
        if new_bias is not None and (bias is None or new_bias.shape != bias.shape):
            return f"bias {_dims(new_bias)}, the model has {_dims(bias)}"
        if self.kind == OFT:
            return self._rotation_misfit(weight)
        found = _product_shape(self.kind, self.parts)
        if found is None or not _same(found, tuple(weight.shape), self.kind):
            factors = ", ".join(f"{name} {_dims(part)}" for name, part in self.parts.items())
            return f"{factors}, weight {_dims(weight)}"
        dora = self.parts.get("dora")
        if dora is not None and _dora_axis(dora, weight) is None:
            return f"dora scale {_dims(dora)}, weight {_dims(weight)}"
        return None

    def delta(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Differences of weight and bias at strength 1.

        Parameters
        ----------
        weight, bias : Tensor
            Of the module before the change; ``bias`` may be None.

        Returns
        -------
        weight, bias : Tensor or None
            float32, in the shapes of the arguments; None if unchanged.
        """
        parts = {name: part.to(weight.device).float() for name, part in self.parts.items()}
        shift = self._shift()
        moved = None if shift is None else shift.to(weight.device).float()
        if self.kind == IA3:
            return _ia3(parts["ia3"], weight.float(), bias, self.on_input, self.with_bias)
        if self.kind == FULL:
            whole = parts.get("diff")
            return None if whole is None else whole.reshape(weight.shape), moved
        if self.kind == SPECTRAL:
            change = spectral_shift(spectral_parts(weight), parts["delta"])
            return change.reshape(weight.shape), None
        if self.kind == WHOLE:
            moved = None if bias is None or "whole_b" not in parts else parts["whole_b"] - bias
            return parts["whole"].reshape(weight.shape) - weight.float(), moved
        if self.kind == OFT:
            old = weight.float()
            turned = rotated(old, parts["rotation"], parts.get("rescale"), on_input=self.on_input)
            return turned - old, None
        product = {LORA: _lora, LOHA: _loha, LOKR: _lokr}[self.kind](parts)
        change = self.scale * product.reshape(weight.shape)
        if "dora" in parts:
            change = _decompose(weight.float(), change, parts["dora"])
        return change, moved

    def _rotation_misfit(self, weight: Tensor) -> str | None:
        """Why rotations do not fit a weight."""
        rotation, rescale = self.parts["rotation"], self.parts.get("rescale")
        if self.on_input and math.prod(weight.shape[2:]) > 1:
            # peft's merge and its forward pass differ for them
            return f"rotations of peft, convolution {_dims(weight)}"
        channels = weight.shape[1] if self.on_input and weight.ndim > 1 else weight.shape[0]
        if weight.ndim > 1 and not rotation_misfit(rotation, rescale, channels):
            return None
        extra = f", rescale {_dims(rescale)}" if rescale is not None else ""
        return f"rotations {_dims(rotation)}{extra}, weight {_dims(weight)}"

    def _shift(self) -> Tensor | None:
        """The difference of the bias."""
        if "up_bias" in self.parts:
            return self.scale * self.parts["up_bias"].float()
        return self.parts.get("diff_b")


def lora_delta(down: Tensor, up: Tensor, alpha: float, mid: Tensor | None = None) -> Tensor:
    """The weight difference of a LoRA: (alpha / rank) up @ down.

    Parameters
    ----------
    down : Tensor
        (rank, in) or, for a convolution, (rank, in, k, k).
    up : Tensor
        (out, rank) or (out, rank, 1, 1).
    alpha : float
        The adapter's alpha.
    mid : Tensor or None
        (rank, rank, k, k) for LoCon's form, in which ``down`` is (rank, in, 1, 1).

    Returns
    -------
    Tensor
        float32, in the shape of the weight.

    References
    ----------
    Hu et al. (2021), "LoRA" (arXiv 2106.09685), Eq. 3.
    """
    parts = {"down": down.float(), "up": up.float()}
    if mid is not None:
        parts["mid"] = mid.float()
    return (alpha / down.shape[0]) * _lora(parts)


def rank_of(parts: Mapping[str, Tensor]) -> int | None:
    """The rank that divides alpha, or None if no factor is low-rank.

    With LoKr it is the rank of the second factor if both are low-rank.
    """
    for name in ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
        if name in parts and parts[name].ndim:  # a single number fits no weight
            return parts[name].shape[0]
    return None


def _lora(parts: Mapping[str, Tensor]) -> Tensor:
    """up @ down."""
    down, up = parts["down"], parts["up"]
    if "mid" in parts:
        return _tucker(parts["mid"], up.flatten(1).T, down.flatten(1))
    return (up.flatten(1) @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])


def _loha(parts: Mapping[str, Tensor]) -> Tensor:
    """Element-wise product of two low-rank matrices."""
    halves = []
    for half in "12":
        a, b = parts[f"hada_w{half}_a"], parts[f"hada_w{half}_b"]
        core = parts.get(f"hada_t{half}")
        halves.append(a @ b if core is None else _tucker(core, a, b))
    return halves[0] * halves[1]


def _lokr(parts: Mapping[str, Tensor]) -> Tensor:
    """Kronecker product of two matrices."""
    first = parts["lokr_w1"] if "lokr_w1" in parts else parts["lokr_w1_a"] @ parts["lokr_w1_b"]
    if "lokr_w2" in parts:
        second = parts["lokr_w2"]
    elif "lokr_t2" in parts:
        second = _tucker(parts["lokr_t2"], parts["lokr_w2_a"], parts["lokr_w2_b"])
    else:
        second = parts["lokr_w2_a"] @ parts["lokr_w2_b"].flatten(1)
    first = first.reshape(*first.shape, *(1,) * (second.ndim - 2))
    product: Tensor = torch.kron(first, second.contiguous())
    return product


def _tucker(core: Tensor, out: Tensor, into: Tensor) -> Tensor:
    """``core`` (r, r, ...) times ``out`` (r, out) and ``into`` (r, in): (out, in, ...)."""
    product: Tensor = torch.einsum("ij...,io,jn->on...", core, out, into)
    return product


def _ia3(
    factor: Tensor, weight: Tensor, bias: Tensor | None, on_input: bool, with_bias: bool
) -> tuple[Tensor, Tensor | None]:
    """Differences of weight and bias when channels are scaled by 1 + factor."""
    shape = [1] * weight.ndim
    shape[int(on_input)] = -1
    shift = None
    if with_bias and bias is not None and not on_input:
        shift = bias.float() * factor.flatten()
    return weight * factor.reshape(shape), shift


def spectral_parts(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U, s and V of a weight whose kernel is folded into its columns, float32.

    Parameters
    ----------
    weight : Tensor
        out x in, out x in x height x width, or the vector of a norm, which is one row.

    Returns
    -------
    U, s, V : Tensor
        out x r, r and r x (in height width), with r the smaller side; s is descending.

    References
    ----------
    Han et al. (2023), "SVDiff" (arXiv 2303.11305), section 3.2.
    """
    left, values, right = torch.linalg.svd(_folded(weight).float(), full_matrices=False)
    return left, values, right


def spectral_shift(parts: tuple[Tensor, Tensor, Tensor], delta: Tensor) -> Tensor:
    """U diag(relu(s + delta) - s) V, which SVDiff adds to a weight; differentiable in delta.

    Parameters
    ----------
    parts : (Tensor, Tensor, Tensor)
        From :func:`spectral_parts`.
    delta : Tensor
        r shifts.
    """
    left, values, right = parts
    return (left * (torch.relu(values + delta) - values)) @ right


def _folded(weight: Tensor) -> Tensor:
    """A weight as a matrix."""
    return weight.reshape(1, -1) if weight.ndim == 1 else weight.flatten(1)


def _decompose(weight: Tensor, change: Tensor, magnitude: Tensor) -> Tensor:
    """DoRA: m (W + dW) / |W + dW| - W, with the norm of each output (or input) channel."""
    merged = weight + change
    axis = _dora_axis(magnitude, weight)
    kept = [dim for dim in range(weight.ndim) if dim != axis]
    norm = torch.linalg.vector_norm(merged, dim=kept, keepdim=True)
    shape = [1] * weight.ndim
    shape[axis or 0] = -1
    factor: Tensor = magnitude.reshape(shape) / (norm + torch.finfo(norm.dtype).eps)
    return merged * factor - weight


def _dora_axis(magnitude: Tensor, weight: Tensor) -> int | None:
    """0 for a magnitude per output channel (out, 1, ...), 1 per input channel (1, in, ...)."""
    shape = tuple(magnitude.shape)
    if shape in ((weight.shape[0],), (weight.shape[0], *(1,) * (weight.ndim - 1))):
        return 0
    return 1 if shape == (1, weight.shape[1], *(1,) * (weight.ndim - 2)) else None


def _product_shape(kind: str, parts: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """Shape of a product; (rows, columns) if the kernel is folded into the columns."""
    shapes = {name: tuple(part.shape) for name, part in parts.items()}
    if kind in (FULL, WHOLE):
        return shapes["diff" if kind == FULL else "whole"]
    if kind == LORA:
        return _lora_shape(shapes)
    if kind == LOHA:
        halves = {_pair(shapes, f"hada_w{h}_a", f"hada_w{h}_b", f"hada_t{h}") for h in "12"}
        return halves.pop() if len(halves) == 1 else None
    if "lokr_w2_b" in shapes and "lokr_t2" not in shapes:  # may have a kernel of its own
        shapes["lokr_w2_b"] = _as_matrix(shapes["lokr_w2_b"])
    first, second = (
        shapes[name] if name in shapes else _pair(shapes, f"{name}_a", f"{name}_b", core)
        for name, core in (("lokr_w1", ""), ("lokr_w2", "lokr_t2"))
    )
    if first is None or second is None or len(first) != 2 or len(second) < 2:
        return None
    return (first[0] * second[0], first[1] * second[1], *second[2:])


def _lora_shape(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """Shape of a LoRA product; None if the factors do not fit each other."""
    down, up, mid = shapes["down"], shapes["up"], shapes.get("mid")
    if len(down) < 2 or len(up) != len(down) or any(side != 1 for side in up[2:]):
        return None
    if mid is None:
        return (up[0], *down[1:]) if up[1] == down[0] else None
    fits = mid[:2] == (up[1], down[0]) and all(side == 1 for side in down[2:])
    return (up[0], down[1], *mid[2:]) if fits else None


def _pair(
    shapes: Mapping[str, tuple[int, ...]], a: str, b: str, core: str
) -> tuple[int, ...] | None:
    """Shape of the product of two factors, or of a Tucker product; None if they do not fit."""
    one, two, t = shapes[a], shapes[b], shapes.get(core)
    if len(one) != 2 or len(two) != 2:
        return None
    if t is None:
        return (one[0], two[1]) if one[1] == two[0] else None
    fits = len(t) > 2 and t[:2] == (one[0], two[0])
    return (one[1], two[1], *t[2:]) if fits else None


def _as_matrix(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a factor whose kernel is folded into its columns."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 2 else shape


def _same(found: tuple[int, ...], weight: tuple[int, ...], kind: str) -> bool:
    """Whether shapes agree; 1x1 kernels may be missing, and LyCORIS folds kernels into columns."""
    if found == weight:
        return True
    if len(weight) > 1 and all(side == 1 for side in (*found[2:], *weight[2:])):
        return found[:2] == weight[:2]
    folded = kind in (LOHA, LOKR) and len(found) == 2 and len(weight) > 1
    return folded and found == (weight[0], math.prod(weight[1:]))


def _dims(tensor: Tensor | None) -> str:
    """A shape for messages, such as 320x4."""
    if tensor is None:
        return "none"
    return "x".join(str(side) for side in tensor.shape) or "a single number"
