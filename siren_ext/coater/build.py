"""The networks of a coater with given settings, and whether weights fit them."""

from __future__ import annotations

import torch
from torch import Tensor

from siren_ext.coater.config import CoaterConfig
from siren_ext.coater.nets.extractor import Extractor
from siren_ext.coater.nets.generator import Generator
from siren_ext.coater.nets.keyed import KeyedExtractor, KeyedGenerator
from siren_ext.errors import CoaterError

_REAL = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_WHOLE = (torch.int64,)


def networks(
    config: CoaterConfig,
) -> tuple[Generator | KeyedGenerator, Extractor | KeyedExtractor]:
    """An untrained generator and extractor.

    Parameters
    ----------
    config : CoaterConfig
        Their sizes; the keyed networks are built if ``message_bits`` is above 0.
    """
    coarse = config.coarse > 0
    if config.message_bits:
        bits, width = config.message_bits, config.channels
        return (
            KeyedGenerator(width, config.generator_blocks, bits, coarse=coarse),
            KeyedExtractor(width, config.extractor_blocks, bits, coarse=coarse),
        )
    generator = Generator(
        config.channels,
        config.generator_blocks,
        config.bits,
        config.norm,
        coarse=coarse,
    )
    extractor = Extractor(
        config.channels,
        config.extractor_blocks,
        config.features,
        feature_count(config),
        use_linear=config.feature_layer == "linear",
        norm=config.norm,
        coarse=coarse,
    )
    return generator, extractor


def feature_count(config: CoaterConfig) -> int:
    """Number of features that the extractor gives per image."""
    if config.message_bits:
        return config.message_bits
    return 1 if config.head == "binary" else config.features


def check_fit(config: CoaterConfig, weights: dict[str, Tensor], name: str) -> None:
    """Check names, shapes and number formats of a coater's weights; takes no memory for networks.

    Parameters
    ----------
    config : CoaterConfig
        Settings that the weights must fit.
    weights : dict of str to Tensor
        Weights by name, as :meth:`siren_ext.coater.coater.Coater.tensors` returns them.
    name : str
        Where they come from, for the error message.

    Raises
    ------
    CoaterError
        If a tensor is missing, unknown, or has another shape or number format.
    """
    with torch.device("meta"):
        parts = networks(config)
        own = {f"generator.{k}": v for k, v in parts[0].state_dict().items()}
        own |= {f"extractor.{k}": v for k, v in parts[1].state_dict().items()}
        own["center"] = torch.zeros(1, feature_count(config))
    wrong = sorted(
        key
        for key in own.keys() | weights.keys()
        if key not in own
        or key not in weights
        or own[key].shape != weights[key].shape
        or weights[key].dtype not in (_REAL if own[key].dtype.is_floating_point else _WHOLE)
        or weights[key].layout != torch.strided
        or weights[key].is_meta
    )
    if wrong:
        raise CoaterError(f"{name} does not match its settings: {', '.join(wrong[:8])}.")
