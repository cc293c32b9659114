"""A coater: generator, extractor and centre that belong together, in one safetensors file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from siren_ext.coater.config import PRESETS, CoaterConfig
from siren_ext.coater.hypersphere import hsc_distance, message_centre
from siren_ext.coater.nets.blocks import IMAGENET_STD, normalise
from siren_ext.coater.nets.coarse import lay_tint
from siren_ext.coater.nets.extractor import Extractor
from siren_ext.coater.nets.generator import Generator
from siren_ext.coater.nets.jnd import jnd_map
from siren_ext.coater.nets.keyed import KeyedExtractor, KeyedGenerator
from siren_ext.coater.torch_files import import_advice, is_torch_file
from siren_ext.data.images import crop_view, square_view
from siren_ext.errors import CoaterError, ConfigError
from siren_ext.files import atomic

__all__ = ["PRESETS", "Coater", "CoaterConfig", "networks", "outputs"]

FORMAT = "siren_ext.coater"
FORMAT_VERSION = "1"
MAX_BYTES = 64 << 20
_REAL = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_WHOLE = (torch.int64,)


def networks(
    config: CoaterConfig,
) -> tuple[Generator | KeyedGenerator, Extractor | KeyedExtractor]:
    """An untrained generator and extractor of a shape, frozen to no mode or device."""
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
        outputs(config),
        use_linear=config.feature_layer == "linear",
        norm=config.norm,
        coarse=coarse,
    )
    return generator, extractor


def outputs(config: CoaterConfig) -> int:
    """Length of the extractor's result."""
    if config.message_bits:
        return config.message_bits
    return 1 if config.head == "binary" else config.features


class Coater:
    """Adds the coating to images and scores images for it.

    Parameters
    ----------
    config : CoaterConfig
        network shapes and strength.
    seed : int
        of the initial weights and the constant message.
    """

    def __init__(self, config: CoaterConfig, *, seed: int = 0) -> None:
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.generator, self.extractor = networks(config)
        self.train(False)
        if isinstance(self.generator, Generator):
            self.generator.draw_message(torch.Generator().manual_seed(seed))
        self.center = torch.zeros(1, outputs(config))
        self.provenance: dict[str, Any] = {}

    @property
    def device(self) -> torch.device:
        """Where the networks live."""
        return self.center.device

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Coater:
        """Move both networks and the centre; returns self."""
        self.generator.to(device, dtype)
        self.extractor.to(device, dtype)
        self.center = self.center.to(device, dtype)
        return self

    def at_working_size(self, size: int) -> Coater:
        """A copy that sees images at another size; both networks are fully convolutional."""
        copy = Coater(dataclasses.replace(self.config, working_size=size))
        copy.load_tensors(self.tensors())
        return copy.to(self.device)

    def train(self, mode: bool = True) -> Coater:
        """Switch both networks to training or use; matters for ``running`` statistics alone."""
        self.generator.train(mode)
        self.extractor.train(mode)
        return self

    @property
    def keyed(self) -> bool:
        """Whether coatings carry a message."""
        return self.config.message_bits > 0

    def pattern(self, images: Tensor, message: Tensor | None = None) -> Tensor:
        """The generator's pattern in [-1,1] at the working size, before mask and strength."""
        view = normalise(square_view(images, self.config.working_size))
        given = self._inputs(message, len(images))
        out: Tensor = self.generator(view, *given)
        return out

    def _inputs(self, message: Tensor | None, count: int) -> tuple[Tensor, ...]:
        """The message as further input of the generator; its values are never told."""
        bits = self.config.message_bits
        if message is None:
            if bits:
                raise CoaterError(
                    f"This coater is keyed and no message was given; give a key of {bits} bits "
                    "('siren-ext key new' makes one)."
                )
            return ()
        shape = tuple(message.shape)
        if not bits:
            raise CoaterError("A key was given, but this coater takes none: it is not keyed.")
        if shape not in ((bits,), (count, bits)) or not bool((message.abs() == 1).all()):
            raise CoaterError(
                f"The message has shape {shape}; expected {bits} values of -1 or +1, or a row of "
                f"them for each of {count} images."
            )
        return (message.to(self.center).expand(count, bits),)

    def residual(self, images: Tensor, message: Tensor | None = None) -> Tensor:
        """The coating of ``images`` at their own size, to be added and clamped.

        The pattern is made at the working size and enlarged; the visibility mask is that of the
        full-size image, so its border stays exactly zero and no pixel changes by more than
        ``strength * std_k * jnd``, apart from the coarse pattern if there is one.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W in [0,1], H and W at least 16.
        message : Tensor | None
            k or B x k of -1 and +1, for a keyed coater and for no other.

        Returns
        -------
        Tensor
            B x 3 x H x W.

        Raises
        ------
        CoaterError
            the message is missing, or not one for this coater.
        """
        pattern = self.pattern(images, message)
        if pattern.shape[2:] != images.shape[2:]:
            pattern = F.interpolate(
                pattern, size=images.shape[2:], mode="bilinear", align_corners=False
            )
        std = torch.tensor(IMAGENET_STD, dtype=images.dtype, device=images.device)
        limits = self.config.strength * std.view(1, 3, 1, 1)
        mask = jnd_map(images)
        # a large photo has no room for further copies, but autograd needs them
        in_place = not torch.is_grad_enabled() and pattern.dtype == images.dtype
        if in_place:
            for channel in range(3):
                pattern[:, channel : channel + 1].mul_(limits[:, channel : channel + 1] * mask)
            change = pattern
        else:
            change = limits * mask * pattern
        del mask
        tint = self._tint(images, message)
        if tint is not None:
            change = change.add_(tint) if in_place else change + tint
        del tint
        if self.config.min_psnr:
            budget = 10 ** (-self.config.min_psnr / 20)
            power = change.square().mean((1, 2, 3), keepdim=True)
            scale = (budget / power.clamp_min(1e-12).sqrt()).clamp_max(1)
            change = change.mul_(scale) if in_place else change * scale
        return change

    def _tint(self, images: Tensor, message: Tensor | None) -> Tensor | None:
        """The pattern of coarse colour; it has no edges that a mask would have to hide."""
        pattern = self.generator.coarse
        if pattern is None:
            return None
        signs = images.new_ones(1, 1) if message is None else message.view(-1, message.shape[-1])
        return lay_tint(pattern, images, signs, self.config.coarse)

    def features(self, images: Tensor) -> Tensor:
        """B x k extractor features of B x 3 x H x W images in [0,1]."""
        size = self.config.working_size
        view = normalise(square_view(images, size))
        central = None
        if self.extractor.reader is not None and images.shape[2] != images.shape[3]:
            central = normalise(crop_view(images, size))
        out: Tensor = self.extractor(view, central)
        return out

    def distance(self, features: Tensor) -> Tensor:
        """Score of B x k features: pseudo-Huber distance to the centre, or the negated logit.

        A keyed coater has a centre per message; without the key the distance is that to the nearest
        one: small where an image shows *some* message clearly.
        """
        if self.keyed:
            nearest = torch.where(features < 0, -1.0, 1.0).to(features)
            return hsc_distance(features, message_centre(nearest))
        if self.config.head == "binary":
            return -features[:, 0]
        return hsc_distance(features, self.center)

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """B scores of B x 3 x H x W images in [0,1]; small means coated.

        The score is h(x) = sqrt(|f(x) - c|^2 + 1) - 1, a monotone transform of the paper's
        distance, so that rank tests give the same result.
        """
        return self.distance(self.features(images.to(self.center)))

    def tensors(self) -> dict[str, Tensor]:
        """All weights by name, contiguous and on the CPU."""
        named = {f"generator.{k}": v for k, v in self.generator.state_dict().items()}
        named |= {f"extractor.{k}": v for k, v in self.extractor.state_dict().items()}
        named["center"] = self.center
        return {k: v.detach().cpu().contiguous() for k, v in named.items()}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over shape settings and weights: the name of this coater in every artefact."""
        digest = hashlib.sha256(json.dumps(self.config.to_dict(), sort_keys=True).encode())
        for name, value in sorted(self.tensors().items()):
            digest.update(name.encode())
            digest.update(str(tuple(value.shape)).encode())
            digest.update(value.float().numpy().tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write a safetensors file with settings and provenance in its header."""
        meta = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "config": json.dumps(self.config.to_dict()),
            "provenance": json.dumps(self.provenance),
        }
        with atomic(Path(path)) as temporary:
            save_file(self.tensors(), temporary, metadata=meta)

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Coater:
        """Read a coater file; raises :class:`CoaterError` when it is not a whole, sane one."""
        path = Path(path)
        weights, meta = _read(path)
        if meta.get("format") != FORMAT or meta.get("version") != FORMAT_VERSION:
            raise CoaterError(
                f"{path} is marked {meta.get('format')!r} version {meta.get('version')!r}; "
                f"expected {FORMAT!r} version {FORMAT_VERSION!r}. Make one with 'siren-ext train'."
            )
        try:
            config = CoaterConfig.from_dict(_table(meta["config"]))
            provenance = _table(meta.get("provenance", "{}"))
            # before any memory is taken: the header of a small file may describe giant networks
            _check_fit(config, weights, str(path))
        except (ConfigError, KeyError, ValueError, TypeError, RecursionError) as error:
            raise CoaterError(f"{path} has unusable settings: {error}") from error
        coater = cls(config)
        coater.provenance = provenance
        coater.load_tensors(weights, name=str(path))
        return coater.to(device, dtype)

    def load_tensors(self, weights: dict[str, Tensor], *, name: str = "weights") -> None:
        """Take over named weights; raises :class:`CoaterError` on any missing or odd one."""
        _check_fit(self.config, weights, name)
        if not all(bool(torch.isfinite(v.float()).all()) for v in weights.values()):
            raise CoaterError(f"{name} holds values that are not finite numbers.")
        for part, module in (("generator", self.generator), ("extractor", self.extractor)):
            prefix = part + "."
            module.load_state_dict(
                {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}
            )
        self.center = weights["center"].to(self.center)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header texts of a safetensors file of a coater's size."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CoaterError(f"{path} can't be opened: {error.strerror}.") from error
    if size > MAX_BYTES:
        if is_torch_file(path):
            raise CoaterError(import_advice(path))
        raise CoaterError(f"{path} has {size} bytes; a coater has at most {MAX_BYTES}.")
    try:
        with safe_open(str(path), framework="pt") as stream:
            meta = stream.metadata() or {}
            weights = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    # number formats that this torch lacks come out as any of the latter
    except (SafetensorError, OSError, ValueError, RuntimeError, AttributeError, KeyError) as error:
        if is_torch_file(path):
            raise CoaterError(import_advice(path)) from error
        raise CoaterError(f"{path} is not a readable safetensors file: {error}") from error
    return weights, meta


def _table(text: str) -> dict[str, Any]:
    values = json.loads(text)
    if not isinstance(values, dict):
        raise TypeError(f"found {type(values).__name__}, expected names and values")
    return values


def _check_fit(config: CoaterConfig, weights: dict[str, Tensor], name: str) -> None:
    """Raise :class:`CoaterError` unless names, shapes and formats are those of ``config``."""
    with torch.device("meta"):
        parts = networks(config)
        own = {f"generator.{k}": v for k, v in parts[0].state_dict().items()}
        own |= {f"extractor.{k}": v for k, v in parts[1].state_dict().items()}
        own["center"] = torch.zeros(1, outputs(config))
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
        raise CoaterError(f"{name} does not fit its settings: {', '.join(wrong[:8])}.")
