"""peft's settings of an adapter that determine how its weights are applied."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from siren_ext.errors import AdapterError

# settings that need no special treatment when the weights are applied
_HARMLESS = {
    "task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path",
    "revision", "inference_mode", "r", "target_modules", "exclude_modules", "lora_alpha", "alpha",
    "lora_dropout", "use_rslora", "layers_to_transform", "layers_pattern", "rank_pattern",
    "alpha_pattern", "megatron_core", "use_dora", "qalora_group_size", "lora_bias",
    "rank_dropout", "module_dropout", "rank_dropout_scale", "use_effective_conv2d",
    "decompose_both", "decompose_factor", "feedforward_modules", "eva_config", "runtime_config",
    "oft_block_size", "block_share", "eps", "use_cayley_neumann", "num_cayley_neumann_terms",
}  # fmt: skip
# initialisations that leave the base model's weights unchanged
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal", "lycoris")
_STARTS = ("init_lora_weights", "init_weights", "init_ia3_weights")
_TYPES = ("LORA", "LOHA", "LOKR", "IA3", "OFT")
_MOST_TERMS = 100


class PeftSettings:
    """The scale of each module of a peft adapter.

    Parameters
    ----------
    config : mapping
        Content of ``adapter_config.json``.
    source : str
        Name of the file, for messages.

    Raises
    ------
    AdapterError
        If a setting is unknown or malformed.
    """

    def __init__(self, config: Mapping[str, Any], source: str) -> None:
        self.source = source
        self.kind = str(config.get("peft_type", "LORA")).rpartition(".")[2].upper()
        if self.kind not in _TYPES:
            raise AdapterError(
                f"{source} is a {self.kind} adapter of peft; expected one of {', '.join(_TYPES)}. "
                "Merge it with peft and use the merged model instead."
            )
        active = [
            f"{name} = {value!r}"[:80]
            for name, value in config.items()
            if name not in _HARMLESS and name not in _STARTS and value not in (None, False, "none")
            and value not in ([], {}, "")
        ]  # fmt: skip
        active += [
            f"{name} = {config[name]!r}"[:80]
            for name in _STARTS
            if config.get(name, True) not in _PLAIN_STARTS
        ]
        if config.get("use_dora") and config.get("lora_bias"):
            active.append("use_dora with lora_bias")
        if active:
            raise AdapterError(
                f"{source} uses settings that aren't supported: {', '.join(active)}. Ignoring them "
                "would give wrong results: merge the adapter with peft and use the merged model "
                "instead."
            )
        self.rank = _number(config, "r", source)
        self.alpha = _number(config, "lora_alpha" if self.kind == "LORA" else "alpha", source)
        self.ranks = _pattern(config, "rank_pattern", source)
        self.alphas = _pattern(config, "alpha_pattern", source)
        self.neumann_terms = _neumann_terms(config, source)
        self.root = bool(config.get("use_rslora"))
        self.feedforward = config.get("feedforward_modules")

    @property
    def facts(self) -> dict[str, object]:
        """All that determines how weights are applied, as plain values."""
        return {name: value for name, value in vars(self).items() if name != "source"}

    def scale(self, path: str, rank: int | None) -> float:
        """The factor of a module: alpha / rank, or alpha / sqrt(rank) for rsLoRA.

        Parameters
        ----------
        path : str
            The module's path.
        rank : int or None
            Rank of its factors; None takes the rank of the settings.

        Raises
        ------
        AdapterError
            If the settings give no rank or alpha.

        References
        ----------
        Kalajdzievski (2023), "A rank stabilization scaling factor for fine-tuning with LoRA" (arXiv
        2312.03732).
        """
        if self.kind == "IA3":
            return 1.0
        alpha = _lookup(self.alphas, path, self.alpha)
        divisor = rank if rank is not None else _lookup(self.ranks, path, self.rank)
        if alpha is None or not divisor:
            raise AdapterError(
                f"{self.source} gives no rank or alpha for {path}; expected both. Download or copy "
                "it again."
            )
        return alpha / (math.sqrt(divisor) if self.root else divisor)

    def scales_input(self, path: str, shape: tuple[int, ...]) -> bool:
        """Whether an (IA)^3 vector scales a module's input, as in feed-forward modules.

        Parameters
        ----------
        path : str
            The module's path.
        shape : tuple of int
            Shape of the vector.

        Raises
        ------
        AdapterError
            If the settings name the feed-forward modules by a pattern.
        """
        if len(shape) == 2:
            return shape[0] == 1
        if self.feedforward is None or isinstance(self.feedforward, list):
            return any(path.endswith(str(name)) for name in self.feedforward or ())
        raise AdapterError(
            f"{self.source} gives its feed-forward modules as a pattern; expected a list of "
            "names. Merge it with peft and use the merged model instead."
        )


def _number(config: Mapping[str, Any], name: str, source: str) -> float | None:
    """A setting that is a finite number; None if it is absent."""
    value = config.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise AdapterError(f"{source} has {name} = {value!r}; expected a number.")
    return float(value)


def _neumann_terms(config: Mapping[str, Any], source: str) -> int:
    """Terms of the series by which OFT inverts; 0 for an exact inverse, as before peft had it."""
    if not config.get("use_cayley_neumann"):
        return 0
    terms = _number(config, "num_cayley_neumann_terms", source)
    if terms is None or terms != int(terms) or not 1 <= terms <= _MOST_TERMS:
        raise AdapterError(
            f"{source} has num_cayley_neumann_terms = {terms!r}; expected a whole number from 1 "
            f"to {_MOST_TERMS}."
        )
    return int(terms)


def _pattern(config: Mapping[str, Any], name: str, source: str) -> dict[str, float]:
    """A table of numbers by module name."""
    table = config.get(name) or {}
    if not isinstance(table, dict):
        raise AdapterError(
            f"{source} has {name} = {table!r}; expected a table of names and numbers."
        )
    # peft reads the names as regular expressions, which in a malicious file could run for ever
    strange = [key for key in table if set(key.removeprefix("^")) & set("^$*+?()[]{}|\\")]
    if strange:
        raise AdapterError(
            f"{source} has patterns in {name}: {', '.join(strange[:4])[:200]}; expected plain "
            "module names. Merge it with peft and use the merged model instead."
        )
    return {key: value for key in table if (value := _number(table, key, source)) is not None}


def _lookup(table: Mapping[str, float], path: str, default: float | None) -> float | None:
    """The number for a module: by its whole path (after ^) or by the end of it."""
    for key, value in table.items():
        if path == key.removeprefix("^") or (not key.startswith("^") and path.endswith(f".{key}")):
            return value
    return default
