"""The coater: a generator, an extractor and a centre that belong together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from siren_ext.coater.build import check_fit, feature_count, networks
from siren_ext.coater.config import CoaterConfig
from siren_ext.coater.file import FORMAT, FORMAT_VERSION, read_coater_file
from siren_ext.coater.hypersphere import hsc_distance, message_centre
from siren_ext.coater.nets.blocks import IMAGENET_STD, normalise
from siren_ext.coater.nets.coarse import CoarsePattern, lay_tint
from siren_ext.coater.nets.generator import Generator
from siren_ext.coater.nets.jnd import jnd_map, jnd_strips
from siren_ext.coater.nets.keyed import KeyedGenerator
from siren_ext.coater.nets.tiles import enlarge
from siren_ext.data.images import crop_view, square_view
from siren_ext.errors import CoaterError
from siren_ext.files import atomic

_STRIP_ROWS = 256


class Coater:
    """Coats images, and scores images for the coating.

    A new coater is untrained. :func:`siren_ext.training.train.train_coater` trains one, and
    :meth:`load` reads a trained one.

    Parameters
    ----------
    config : CoaterConfig
        Network sizes and strength.
    seed : int
        Seed of the initial weights and of the constant message.

    Attributes
    ----------
    generator, extractor : torch.nn.Module
        The two networks.
    center : Tensor
        1 x k, the centre of the coated images in feature space; zero until training sets it.
    provenance : dict
        How the coater was made; plain values, stored in its file.
    """

    def __init__(self, config: CoaterConfig, *, seed: int = 0) -> None:
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.generator, self.extractor = networks(config)
        self.train(False)
        if isinstance(self.generator, Generator):
            self.generator.draw_message(torch.Generator().manual_seed(seed))
        self.center = torch.zeros(1, feature_count(config))
        self.provenance: dict[str, Any] = {}

    @property
    def device(self) -> torch.device:
        """The device that the networks are on."""
        return self.center.device

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Coater:
        """Move both networks and the centre; returns this coater.

        Parameters
        ----------
        device : torch.device or str
            Where to.
        dtype : torch.dtype
            Number format of all weights.
        """
        self.generator.to(device, dtype)
        self.extractor.to(device, dtype)
        self.center = self.center.to(device, dtype)
        return self

    def at_working_size(self, size: int) -> Coater:
        """A copy that works at another image size; both networks accept any.

        Parameters
        ----------
        size : int
            The new ``working_size`` in pixels.

        Raises
        ------
        ConfigError
            If ``size`` is out of range.
        """
        copy = Coater(dataclasses.replace(self.config, working_size=size))
        copy.load_tensors(self.tensors())
        return copy.to(self.device)

    def train(self, mode: bool = True) -> Coater:
        """Switch both networks between training and use; returns this coater.

        It matters only for the norm ``running``, whose statistics change in training.

        Parameters
        ----------
        mode : bool
            True for training.
        """
        self.generator.train(mode)
        self.extractor.train(mode)
        return self

    @property
    def keyed(self) -> bool:
        """Whether the coating carries a message, so that coating needs a key."""
        return self.config.message_bits > 0

    def pattern(self, images: Tensor, message: Tensor | None = None) -> Tensor:
        """The generator's pattern, before mask and strength.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W in [0,1].
        message : Tensor | None
            As in :meth:`residual`.

        Returns
        -------
        Tensor
            B x 3 x s x s in [-1,1], where s is the working size.

        Raises
        ------
        CoaterError
            If the message is missing, or does not suit this coater.
        """
        view = normalise(square_view(images, self.config.working_size))
        given = self._inputs(message, len(images))
        out: Tensor = self.generator(view, *given)
        return out

    def _inputs(self, message: Tensor | None, count: int) -> tuple[Tensor, ...]:
        """The message as a further input of the generator; its values never appear in errors."""
        bits = self.config.message_bits
        if message is None:
            if bits:
                raise CoaterError(
                    f"This coater is keyed, but no message was given; give a key of {bits} bits "
                    "('siren-ext key new' makes one)."
                )
            return ()
        shape = tuple(message.shape)
        if not bits:
            raise CoaterError("A key was given, but this coater is not keyed; leave the key out.")
        # derivatives with respect to the message are taken at any point, such as zero
        signs = message.requires_grad or bool((message.abs() == 1).all())
        if shape not in ((bits,), (count, bits)) or not signs:
            raise CoaterError(
                f"The message has shape {shape}; expected {bits} values of -1 or +1, or a row of "
                f"them for each of {count} images."
            )
        return (message.to(self.center).expand(count, bits),)

    def residual(self, images: Tensor, message: Tensor | None = None) -> Tensor:
        """The coating of the images, to be added to them and clamped to [0,1].

        The pattern is made at the working size and then enlarged or reduced; the visibility mask is
        calculated at full size. So the outermost pixels stay unchanged and no pixel of channel k
        changes by more than ``strength * std_k * jnd``, apart from coarse colour if the coater has
        it. A coating below ``min_psnr`` is scaled down to it.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W in [0,1], H and W at least 16.
        message : Tensor | None
            k or B x k of -1 and +1 (any numbers if it requires a gradient); needed by a keyed
            coater, and None for any other.

        Returns
        -------
        Tensor
            B x 3 x H x W.

        Raises
        ------
        CoaterError
            If the message is missing, or does not suit this coater.

        References
        ----------
        SIREN (arXiv 2410.10437); its code coats by N^-1(N(x) + 1.5 J(x) G(N(x))), with N the
        ImageNet normalisation, J the mask and G the generator.
        """
        in_place = not torch.is_grad_enabled()  # saves memory with large photos
        coarse = self.generator.coarse
        if in_place and coarse is not None and self.symmetric:
            self._inputs(message, len(images))  # nothing but colour is laid, or left to mask
            change = self._tint(coarse, images, message)
        else:
            change = self._masked(images, message)
            if coarse is not None:
                tint = self._tint(coarse, images, message)
                alike = in_place and change.dtype == tint.dtype
                change = change.add_(tint) if alike else change + tint
                del tint
        if self.config.min_psnr:
            budget = 10 ** (-self.config.min_psnr / 20)
            # by strips, so that the squares of a photo need no memory of its size
            strips = torch.split(change, _STRIP_ROWS, dim=2)
            squares = [strip.square().mean((1, 2, 3)) * strip.shape[2] for strip in strips]
            power = (torch.stack(squares).sum(0) / change.shape[2]).view(-1, 1, 1, 1)
            scale = (budget / power.clamp_min(1e-12).sqrt()).clamp_max(1)
            change = change.mul_(scale) if in_place else change * scale
        return change

    def _masked(self, images: Tensor, message: Tensor | None) -> Tensor:
        """The generator's pattern at full size, times strength and mask."""
        pattern = self.pattern(images, message)
        if pattern.shape[2:] != images.shape[2:]:
            pattern = enlarge(pattern, (images.shape[2], images.shape[3]))
        limits = self.config.strength * images.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
        if torch.is_grad_enabled() or pattern.dtype != images.dtype:
            return limits * jnd_map(images) * pattern
        for rows, mask in jnd_strips(images) if pattern.any() else ():
            pattern[:, :, rows].mul_(limits * mask)
        return pattern

    @property
    def symmetric(self) -> bool:
        """Whether it lays coarse colour alone, which equals its mirror image."""
        made = self.generator
        return isinstance(made, KeyedGenerator) and made.coarse is not None and made.silent

    def _tint(self, pattern: CoarsePattern, images: Tensor, message: Tensor | None) -> Tensor:
        """The change by coarse colour; it is smooth, so it is not masked."""
        signs = images.new_ones(1, 1) if message is None else message.view(-1, message.shape[-1])
        return lay_tint(pattern, images, signs, self.config.coarse)

    def features(self, images: Tensor) -> Tensor:
        """Extractor features.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W in [0,1], of any size.

        Returns
        -------
        Tensor
            B x k; for a keyed coater logits, one per bit of the message.
        """
        size = self.config.working_size
        view = normalise(square_view(images, size))
        central = None
        if self.extractor.reader is not None and images.shape[2] != images.shape[3]:
            central = normalise(crop_view(images, size))
        out: Tensor = self.extractor(view, central)
        return out

    def distance(self, features: Tensor) -> Tensor:
        """Scores of features: pseudo-Huber distance to the centre, or the negated logit.

        A keyed coater has a centre per message. Without the key the distance is the one to the
        nearest centre, which is small if an image shows *some* message clearly.

        Parameters
        ----------
        features : Tensor
            B x k, from :meth:`features`.

        Returns
        -------
        Tensor
            B scores; small means coated. From 0 upwards, except for the head ``binary``.
        """
        if self.keyed:
            nearest = torch.where(features < 0, -1.0, 1.0).to(features)
            return hsc_distance(features, message_centre(nearest))
        if self.config.head == "binary":
            return -features[:, 0]
        return hsc_distance(features, self.center)

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Coating scores of images; small means coated.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W in [0,1], of any size.

        Returns
        -------
        Tensor
            B scores; see :meth:`distance`.

        Notes
        -----
        The score is h(x) = sqrt(|f(x) - c|^2 + 1) - 1. It is a monotone transform of the paper's
        distance |f(x) - c|, so rank tests give the same result.
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
        """SHA-256 of settings and weights, which identifies the coater in every other file."""
        digest = hashlib.sha256(json.dumps(self.config.to_dict(), sort_keys=True).encode())
        for name, value in sorted(self.tensors().items()):
            digest.update(name.encode())
            digest.update(str(tuple(value.shape)).encode())
            digest.update(value.float().numpy().tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write a safetensors file with settings and provenance in its header.

        Parameters
        ----------
        path : Path
            The file; an existing one is replaced.
        """
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
        """Read a coater file.

        Parameters
        ----------
        path : Path or str
            A file that :meth:`save` wrote.
        device : torch.device or str
            Where to put the coater.
        dtype : torch.dtype
            Number format of its weights.

        Raises
        ------
        CoaterError
            If the file cannot be read, is damaged, or is not a coater.
        """
        path = Path(path)
        weights, config, provenance = read_coater_file(path)
        coater = cls(config)
        coater.provenance = provenance
        coater.load_tensors(weights, name=str(path))
        return coater.to(device, dtype)

    def load_tensors(self, weights: dict[str, Tensor], *, name: str = "weights") -> None:
        """Replace all weights.

        Parameters
        ----------
        weights : dict of str to Tensor
            By name, as :meth:`tensors` returns them.
        name : str
            Where they come from, for the error message.

        Raises
        ------
        CoaterError
            If a tensor is missing, unknown, of another shape or number format, or not finite.
        """
        check_fit(self.config, weights, name)
        if not all(bool(torch.isfinite(v.float()).all()) for v in weights.values()):
            raise CoaterError(f"{name} contains values that are not finite numbers.")
        for part, module in (("generator", self.generator), ("extractor", self.extractor)):
            prefix = part + "."
            module.load_state_dict(
                {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}
            )
        self.center = weights["center"].to(self.center)
