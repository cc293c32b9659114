"""Fewer bits for the weights of a model, as files for sharing and small graphics cards have them.

Each function takes a float tensor of two or more axes and returns one of the same shape.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from siren_ext.errors import ConfigError
from siren_ext.schema import shown

_FORMS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def half(
    weights: Tensor,
    generator: torch.Generator | None = None,
    *,
    form: Literal["float16", "bfloat16"] = "float16",
) -> Tensor:
    """Round weights to 16 bits.

    Parameters
    ----------
    weights : Tensor
        Of a float type.
    generator : torch.Generator | None
        Not used.
    form : {"float16", "bfloat16"}
        The format.

    Returns
    -------
    Tensor
        In that format; values beyond its range become its largest.

    Raises
    ------
    ConfigError
        If there is no such format.

    References
    ----------
    SIREN (arXiv 2410.10437) reports that casting all weights to 16 bits changes nothing.
    """
    if form not in _FORMS:
        raise ConfigError(f"form is {shown(form)}; expected one of {', '.join(_FORMS)}.")
    most = torch.finfo(_FORMS[form]).max
    return weights.float().clamp(-most, most).to(_FORMS[form])


def int8(weights: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Round weights to whole numbers from -127 to 127, with one scale for each row.

    Parameters
    ----------
    weights : Tensor
        Of a float type; rows are along the first axis, and a vector is one row.
    generator : torch.Generator | None
        Not used.

    Returns
    -------
    Tensor
        The rounded values times their scales, of the same type as before, so that all programs
        read them.

    References
    ----------
    Dettmers et al. (2022), "LLM.int8()" (arXiv 2208.07339), section 2.1: absmax quantisation.
    """
    rows = weights.float().flatten(1) if weights.ndim > 1 else weights.float().reshape(1, -1)
    scale = rows.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / 127
    return ((rows / scale).round() * scale).view(weights.shape).to(weights)
