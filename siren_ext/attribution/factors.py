"""Gradients of every image of a batch with respect to the parameters of a merged LoRA.

A LoRA changes a weight by ``s up down``. If a layer is given x (B x L x in) and the gradient of the
output is g (B x L x out), the gradients of image b are ``s g_b^T (x_b down^T)`` for ``up`` and
``s (g_b up)^T x_b`` for ``down``. So one pass gives the gradients of all images, the adapter may be
merged, and the gradients of the frozen weights are never computed. Where the gradients of several
images are added up, their places are joined, so that the sum comes from one product of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from siren_ext.adapters.changes import LORA
from siren_ext.adapters.keys import TRANSFORMER, UNET
from siren_ext.adapters.merge import resolve
from siren_ext.adapters.read import Adapter
from siren_ext.adapters.summary import listing
from siren_ext.diffusion.load import Pipeline
from siren_ext.errors import AdapterError


@dataclass(frozen=True)
class Factor:
    """The two matrices of a LoRA in one layer.

    Attributes
    ----------
    name : str
        The layer's path in its network.
    module : torch.nn.Module
        The layer: linear, or an ungrouped 2-D convolution.
    down : Tensor
        rank x in; for a convolution ``in`` counts the places of the kernel too.
    up : Tensor
        out x rank.
    scale : float
        Multiplies ``up @ down``.
    """

    name: str
    module: nn.Module
    down: Tensor
    up: Tensor
    scale: float

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.up.numel() + self.down.numel()

    def add_gradient(self, given: Tensor, slope: Tensor, sums: Tensor) -> None:
        """Add the gradients of B images to m sums: B / m consecutive images to each.

        Parameters
        ----------
        given : Tensor
            The layer's input; its first dimension is B.
        slope : Tensor
            Gradient of the sum of all images' outputs with respect to what the layer returns.
        sums : Tensor
            m x :attr:`size`, float32: ``up``, then ``down``. Changed in place.
        """
        count, middle = len(sums), self.up.numel()
        up = sums[:, :middle].view(count, *self.up.shape)
        down = sums[:, middle:].view(count, *self.down.shape)
        g = _joined(_places(self.module, slope), count)
        outer = g @ self.up
        if not isinstance(self.module, nn.Conv2d) or _is_pointwise(self.module):
            x = _joined(_places(self.module, given), count)
            inner = x @ self.down.T
            down.baddbmm_(outer.transpose(1, 2), x, alpha=self.scale)
        else:
            inner = _joined(_places(self.module, self._lowered(given)), count)
            rows = outer.view(len(slope), *slope.shape[2:], -1)
            down.add_(_kernels(self.module, given, rows, count), alpha=self.scale)
        up.baddbmm_(g.transpose(1, 2), inner, alpha=self.scale)

    def _lowered(self, given: Tensor) -> Tensor:
        """What the first matrix makes of a convolution's input: B x rank x h x w."""
        module = self.module
        assert isinstance(module, nn.Conv2d)
        kernel = self.down.view(len(self.down), -1, *module.kernel_size)
        return functional.conv2d(
            given, kernel, None, module.stride, module.padding, module.dilation
        )


def _is_pointwise(module: nn.Conv2d) -> bool:
    """Whether a convolution does the same as a linear layer in every place."""
    return module.kernel_size == module.stride == (1, 1) and _padding(module) == (0, 0)


def _padding(module: nn.Conv2d) -> tuple[int, int]:
    """Rows and columns of zeros at each edge; "valid" is none, and "same" is refused before."""
    if isinstance(module.padding, str):
        return 0, 0
    high, wide = module.padding
    return high, wide


def _places(module: nn.Module, values: Tensor) -> Tensor:
    """What a layer is given or returns, as B x L x channels."""
    if isinstance(module, nn.Conv2d):
        return values.flatten(2).transpose(1, 2)
    return values.reshape(values.shape[0], -1, values.shape[-1])


def _joined(values: Tensor, count: int) -> Tensor:
    """The places of consecutive images together: count x (B / count) L x channels."""
    return values.reshape(count, -1, values.shape[-1])


def _kernels(module: nn.Conv2d, given: Tensor, outer: Tensor, count: int) -> Tensor:
    """Gradients of the first matrix of a convolution: count x rank x in, unscaled.

    Parameters
    ----------
    module : torch.nn.Conv2d
        The layer.
    given : Tensor
        B x channels x H x W.
    outer : Tensor
        B x h x w x rank: gradient with respect to what the first matrix returns.
    count : int
        Sums.

    Notes
    -----
    The sum over places is a product of two matrices, one of which holds a window of places in each
    row. Windows of ``outer`` are far smaller than those of the input, as it has only rank channels;
    they need steps of 1, and are mirrored: a place of the input meets the output before it.
    """
    high, wide = module.kernel_size
    rank = outer.shape[-1]
    margins = [
        step * (side - 1) - edge
        for side, step, edge in zip(
            module.kernel_size, module.dilation, _padding(module), strict=True
        )
    ]
    if module.stride != (1, 1) or min(margins) < 0:
        spread = functional.unfold(
            given,
            module.kernel_size,
            dilation=module.dilation,
            padding=_padding(module),
            stride=module.stride,
        )
        x = _joined(spread.transpose(1, 2), count)
        return torch.bmm(_joined(outer.flatten(1, 2), count).transpose(1, 2), x)
    top, left = margins
    framed = functional.pad(outer, (0, 0, left, left, top, top))
    windows = framed.unfold(1, module.dilation[0] * (high - 1) + 1, 1)
    windows = windows.unfold(2, module.dilation[1] * (wide - 1) + 1, 1)
    windows = windows[..., :: module.dilation[0], :: module.dilation[1]].permute(0, 1, 2, 4, 5, 3)
    rows = windows.reshape(count, -1, high * wide * rank)
    x = _joined(_places(module, given), count)
    found = torch.bmm(x.transpose(1, 2), rows).view(count, -1, high, wide, rank)
    return found.flip(2, 3).permute(0, 4, 1, 2, 3).reshape(count, rank, -1)


def find_factors(
    pipeline: Pipeline, adapter: Adapter, *, weight: float = 1.0, allow_partial: bool = False
) -> tuple[tuple[Factor, ...], tuple[str, ...]]:
    """The layers of a denoiser that a LoRA changes.

    Parameters
    ----------
    pipeline : Pipeline
        The model, in float32.
    adapter : Adapter
        A LoRA; its layers of text encoders are left out.
    weight : float
        Its strength.
    allow_partial : bool
        Leave out what can't be differentiated, instead of raising an error.

    Returns
    -------
    factors : tuple[Factor, ...]
        Sorted by name.
    notes : tuple[str, ...]
        What is left out.

    Raises
    ------
    AdapterError
        If the adapter does not fit the model, has changes that are no plain LoRA, or changes no
        layer of the denoiser.
    """
    found: list[Factor] = []
    texts, others = 0, []
    for target, change in resolve(pipeline, adapter, allow_partial=allow_partial)[0]:
        if target.component not in (UNET, TRANSFORMER):
            texts += 1
            continue
        plain = change.kind == LORA and set(change.parts) <= {"down", "up", "alpha"}
        whole = not target.more and target.rows is None
        if not plain or not whole or not _is_supported(target.module):
            others.append(f"{target} ({change.name})")
            continue
        device = target.module.get_parameter("weight").device
        down, up = (change.parts[part].float().flatten(1).to(device) for part in ("down", "up"))
        found.append(Factor(target.path, target.module, down, up, change.scale * weight))
    if others and not (allow_partial and found):
        raise AdapterError(
            f"{adapter.path.name} changes {listing(others)}; expected a plain LoRA, whose "
            "gradients are known. Leave out --adapter to compare patches of pictures instead."
        )
    if not found:
        raise AdapterError(
            f"{adapter.path.name} changes no layer of the network that removes noise; expected at "
            "least one. Leave out --adapter to compare patches of pictures instead."
        )
    notes = (
        (f"{texts} layers of text encoders are left out of the gradients.", texts),
        (f"{len(others)} layers that are no plain LoRA are left out of the gradients.", others),
    )
    factors = tuple(sorted(found, key=lambda factor: factor.name))
    return factors, tuple(note for note, needed in notes if needed)


def _is_supported(module: nn.Module) -> bool:
    """Whether the gradient's formula holds for a layer."""
    if isinstance(module, nn.Conv2d):
        return module.groups == 1 and module.padding_mode == "zeros" and module.padding != "same"
    return isinstance(module, nn.Linear)


class Recorder(AbstractContextManager["Recorder"]):
    """While it lasts, backward passes leave the gradients of every image.

    Parameters
    ----------
    factors : sequence of Factor
        The layers.
    """

    def __init__(self, factors: Sequence[Factor]) -> None:
        self._factors = tuple(factors)
        self._handles: list[Any] = []
        ends = np.cumsum([0, *(factor.size for factor in self._factors)])
        self._starts = [int(end) for end in ends]
        self._sums: Tensor | None = None

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self._starts[-1]

    def __enter__(self) -> Recorder:
        self._handles = [
            factor.module.register_forward_hook(partial(self._forward, place))
            for place, factor in enumerate(self._factors)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def add(self, outputs: Tensor, sums: Tensor) -> None:
        """Differentiate the output of each image, and add the gradients to sums.

        Parameters
        ----------
        outputs : Tensor
            (B,), the i-th of which depends on image i only.
        sums : Tensor
            m x :attr:`size`, float32, for B / m consecutive images each: for each layer ``up``,
            then ``down``. Changed in place; nothing is added for layers that were not used.
        """
        self._sums = sums
        try:
            outputs.sum().backward()  # type: ignore[no-untyped-call]
        finally:
            self._sums = None

    def _forward(
        self, place: int, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> Tensor:
        """Keep the input; begin a graph here if nothing before depends on a parameter."""
        if not torch.is_grad_enabled():
            return output
        if not output.requires_grad:
            output = output.detach().requires_grad_(True).clone()
        backward = partial(self._backward, place, inputs[0].detach())
        output.register_hook(backward)  # type: ignore[no-untyped-call]
        return output

    def _backward(self, place: int, given: Tensor, slope: Tensor) -> None:
        if self._sums is None:
            return
        start, end = self._starts[place : place + 2]
        with torch.no_grad():
            self._factors[place].add_gradient(given, slope, self._sums[:, start:end])
