"""Low-rank adapters inside a frozen pipeline, made by peft, and their export to kohya's format."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from siren_ext.adapters.keys import UNET_PREFIX
from siren_ext.adapters.names import adaptable, text_name
from siren_ext.diffusion.load import Pipeline
from siren_ext.errors import MissingExtraError, ModelError
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.weights import VectorWeights

ADAPTER = "default"
_TEXT_LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


def unet_targets(unet: nn.Module, config: PersonalizeConfig) -> dict[str, tuple[int, float]]:
    """The modules of a UNet that get an adapter: those of kohya's network.

    These are all linear layers and 1x1 convolutions inside ``Transformer2DModel`` and, with
    ``conv_rank``, the 3x3 convolutions of residual blocks and samplers.

    Parameters
    ----------
    unet : torch.nn.Module
        A diffusers UNet.
    config : PersonalizeConfig
        Gives ranks and alphas.

    Returns
    -------
    dict of str to (int, float)
        Rank and alpha by module path.

    Raises
    ------
    ModelError
        If the UNet has no transformer blocks.
    """
    inside = tuple(
        path + "." for path, m in unet.named_modules() if type(m).__name__ == "Transformer2DModel"
    )
    wide = tuple(
        path + "."
        for path, m in unet.named_modules()
        if type(m).__name__ in ("ResnetBlock2D", "Downsample2D", "Upsample2D")
    )
    targets: dict[str, tuple[int, float]] = {}
    for full, module in adaptable(unet):
        if ".lora_" in full:
            continue  # part of another adapter
        path = full.removesuffix(".base_layer")
        kernel = module.kernel_size if isinstance(module, nn.Conv2d) else (1, 1)
        if path.startswith(inside) and kernel == (1, 1):
            targets[path] = (config.rank, config.alpha)
        elif config.conv_rank and path.startswith(wide) and kernel == (3, 3):
            targets[path] = (config.conv_rank, config.conv_alpha)
    if not targets:
        raise ModelError(
            "The model's UNet has no transformer blocks; expected a UNet with cross-attention, "
            "like that of Stable Diffusion."
        )
    return targets


def text_targets(
    text_encoder: nn.Module, config: PersonalizeConfig
) -> dict[str, tuple[int, float]]:
    """Rank and alpha by module path, for the attention and feed-forward layers of CLIP."""
    return {
        path: (config.rank, config.alpha)
        for path, _ in adaptable(text_encoder)
        if path.rpartition(".")[2] in _TEXT_LAYERS
    }


def insert_lora(
    network: nn.Module, targets: dict[str, tuple[int, float]], adapter: str = ADAPTER
) -> list[Any]:
    """Insert untrained adapters into a frozen network; they have its number format.

    Parameters
    ----------
    network : torch.nn.Module
        The network to change.
    targets : dict of str to (int, float)
        Rank and alpha by module path.
    adapter : str
        Name of the adapter in the network.

    Returns
    -------
    list of (str, peft layer)
        Module paths and layers, sorted by path.

    Raises
    ------
    MissingExtraError
        If peft is not installed.
    ModelError
        If peft leaves out a module.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer
    except ImportError as error:
        raise MissingExtraError(error.name or "peft") from error
    dtype = next(network.parameters()).dtype
    settings = LoraConfig(
        r=1,
        lora_alpha=1,
        target_modules=sorted(targets),
        rank_pattern={path: rank for path, (rank, _) in targets.items()},
        alpha_pattern={path: alpha for path, (_, alpha) in targets.items()},
        lora_dropout=0.0,
        bias="none",
    )
    # peft draws initial weights from the global generator, but LoraWeights replaces them. It also
    # warns about a second adapter in a network, which is intended here.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")
        inject_adapter_in_model(settings, network, adapter_name=adapter)
    layers = {path: m for path, m in network.named_modules() if isinstance(m, LoraLayer)}
    layers = {path: m for path, m in layers.items() if adapter in m.lora_A}
    absent = sorted(set(targets) - set(layers))
    if absent:
        raise ModelError(
            f"peft added no adapter to {', '.join(absent)}; use a newer peft (>= 0.11)."
        )
    for path in sorted(layers):
        for part in (layers[path].lora_A, layers[path].lora_B):
            part[adapter].to(dtype=dtype).requires_grad_(True)
    return [(path, layers[path]) for path in sorted(layers)]


def _lora_layers(network: nn.Module) -> list[tuple[str, Any]]:
    """Paths and layers of all adapters in a network."""
    # hasattr is slow where it is false, which it is for nearly all modules
    return [(path, m) for path, m in network.named_modules() if "lora_A" in m._modules]


def adapter_names(network: nn.Module) -> set[str]:
    """Names of the adapters in a network."""
    return {name for _, layer in _lora_layers(network) for name in layer.lora_A}


def switch_lora(network: nn.Module, adapter: str | None, *, trainable: bool = False) -> None:
    """Let one adapter of a network take part, or none; the others stay where they are.

    Parameters
    ----------
    network : nn.Module
        A network with adapters, or without any.
    adapter : str or None
        Name of the adapter; None for the network as it was before adapters.
    trainable : bool
        Whether the adapter's weights receive gradients.
    """
    _switch(_lora_layers(network), adapter, trainable=trainable)


def _switch(
    layers: Iterable[tuple[str, Any]], adapter: str | None, *, trainable: bool = False
) -> None:
    """:func:`switch_lora` of the layers that were found."""
    for _, layer in layers:
        layer.enable_adapters(adapter is not None)
        if adapter is not None:
            layer.set_adapter([adapter])
            for part in (layer.lora_A, layer.lora_B):
                part[adapter].requires_grad_(trainable)


def active_lora(network: nn.Module) -> str | None:
    """Name of the adapter that takes part in a network; None where none does."""
    return _active(_lora_layers(network))


def _active(layers: Iterable[tuple[str, Any]]) -> str | None:
    for _, layer in layers:
        return None if layer.disable_adapters else str(layer.active_adapters[0])
    return None


class ActiveLora(AbstractContextManager[None]):
    """While it lasts, one adapter takes part (see :func:`switch_lora`); then the one before.

    Parameters
    ----------
    network : nn.Module
        A network with adapters, or without any.
    adapter : str or None
        Name of the adapter; None for the network as it was before adapters.
    trainable : bool
        Whether the adapter's weights receive gradients.
    """

    def __init__(self, network: nn.Module, adapter: str | None, *, trainable: bool = False) -> None:
        self._network, self._adapter, self._trainable = network, adapter, trainable
        self._before: list[tuple[list[tuple[str, Any]], str | None]] = []

    def __enter__(self) -> None:
        # looked for once: in a large network this takes as long as a part of a training step
        layers = _lora_layers(self._network)
        self._before.append((layers, _active(layers)))
        _switch(layers, self._adapter, trainable=self._trainable)

    def __exit__(self, *_: object) -> None:
        _switch(*self._before.pop())


def remove_lora(network: nn.Module, adapter: str) -> None:
    """Remove an adapter from a network; removing the last one restores the original network.

    Parameters
    ----------
    network : torch.nn.Module
        The network.
    adapter : str
        Name of the adapter.
    """
    known: dict[str, Any] = getattr(network, "peft_config", {})
    known.pop(adapter, None)
    for path, layer in _lora_layers(network):
        if adapter in layer.lora_A:
            with warnings.catch_warnings():  # peft warns that another adapter becomes active
                warnings.simplefilter("ignore")
                layer.delete_adapter(adapter)
            layer.enable_adapters(False)
        if not layer.lora_A:
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, layer.get_base_layer())


class LoraWeights(VectorWeights):
    """All adapters of a run, and one float32 vector with their weights.

    Parameters
    ----------
    pipeline : Pipeline
        The pipeline to insert the adapters into.
    config : PersonalizeConfig
        Gives ranks, alphas and the seed.
    adapter : str
        Name of the adapters in the networks.

    Attributes
    ----------
    vector : torch.nn.Parameter
        All weights, float32.

    Raises
    ------
    MissingExtraError
        If peft is not installed.
    ModelError
        If the model has no modules for adapters.
    """

    def __init__(
        self, pipeline: Pipeline, config: PersonalizeConfig, *, adapter: str = ADAPTER
    ) -> None:
        self.adapter = adapter
        self.names: list[str] = []
        self.alphas: list[float] = []
        self.layers: list[Any] = []
        live: list[Tensor] = []
        for path, layer in insert_lora(pipeline.unet, unet_targets(pipeline.unet, config), adapter):
            live += self._add(UNET_PREFIX + path.replace(".", "_"), layer)
        if config.train_text_encoder:
            text = pipeline.text_encoder
            for path, layer in insert_lora(text, text_targets(text, config), adapter):
                live += self._add(text_name(path), layer)
        super().__init__(live)
        self._initialise(torch.Generator().manual_seed(config.seed))

    def _add(self, name: str, layer: Any) -> list[Tensor]:
        """Register one module's adapter under kohya's name; returns its weights."""
        self.names.append(name)
        self.layers.append(layer)
        self.alphas.append(float(layer.lora_alpha[self.adapter]))
        return [layer.lora_A[self.adapter].weight, layer.lora_B[self.adapter].weight]

    def _initialise(self, generator: torch.Generator) -> None:
        """``down`` uniform up to 1/sqrt(fan in), as kohya does; ``up`` zero, so no change yet."""
        with torch.no_grad():
            self.vector.zero_()
            for down in self.pieces()[::2]:
                bound = 1 / math.sqrt(down[0].numel())
                down.copy_(torch.empty(down.shape).uniform_(-bound, bound, generator=generator))
        self.push()

    def modules(self) -> dict[str, tuple[Tensor, Tensor, float]]:
        """(down, up, alpha) by kohya's module name; float32."""
        pieces = self.pieces()
        pairs = zip(pieces[::2], pieces[1::2], strict=True)
        return {
            name: (down, up, alpha)
            for name, (down, up), alpha in zip(self.names, pairs, self.alphas, strict=True)
        }
