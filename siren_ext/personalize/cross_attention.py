"""Custom Diffusion: train keys and values of the cross-attention, and a new word.

Source: Kumari et al. (2023), "Multi-concept customization of text-to-image diffusion" (arXiv
2212.04488), sections 3.2 and 3.3. The keys in the file are those of diffusers' attention
processors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from siren_ext.diffusion.load import Pipeline
from siren_ext.errors import ModelError
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.word import WordWeights

_LAYERS = ("to_k", "to_v")


class CustomWeights(WordWeights):
    """The vectors of a new word, and the key and value matrices of all cross-attentions.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline, whose weights are trained in place.
    config : PersonalizeConfig
        Gives the new word.

    Raises
    ------
    ConfigError
        If the word is known already.
    ModelError
        If the UNet has no cross-attention.
    """

    def __init__(self, pipeline: Pipeline, config: PersonalizeConfig) -> None:
        found = cross_layers(pipeline.unet)
        self.names = list(found)
        super().__init__(pipeline, config, [layer.weight for layer in found.values()])
        for layer in found.values():
            layer.register_forward_hook(_first_token_fixed)

    def tensors(self) -> dict[str, Tensor]:
        """The matrices by diffusers' key, such as ``...attn2.processor.to_k_custom_diffusion``."""
        tensors: dict[str, Tensor] = {}
        for path, value in zip(self.names, self.pieces()[1:], strict=True):
            attention, _, layer = path.rpartition(".")
            tensors[f"{attention}.processor.{layer}_custom_diffusion.weight"] = value.clone()
        return tensors


def cross_layers(unet: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers of a UNet that make keys and values of the prompt, by path.

    Parameters
    ----------
    unet : torch.nn.Module
        A diffusers UNet.

    Raises
    ------
    ModelError
        If there is none.
    """
    found = {
        path: module
        for path, module in sorted(unet.named_modules())
        if isinstance(module, nn.Linear)
        and path.rpartition(".")[2] in _LAYERS
        and path.split(".")[-2] == "attn2"
    }
    if not found:
        raise ModelError(
            "The model's UNet has no cross-attention layers attn2.to_k and attn2.to_v; expected a "
            "UNet like that of Stable Diffusion."
        )
    return found


def _first_token_fixed(_: nn.Module, __: tuple[Tensor, ...], result: Tensor) -> Tensor:
    """Pass no gradient through the start token, as the authors' code does; values are the same."""
    return torch.cat([result[:, :1].detach(), result[:, 1:]], 1)
