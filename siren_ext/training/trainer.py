"""One run of coater training, step by step: networks, objective, distortions and state."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.images import quantise
from siren_ext.devices import pick_device, pick_dtype
from siren_ext.errors import ConfigError, ModelError
from siren_ext.progress import NULL, Progress
from siren_ext.training import losses
from siren_ext.training.coarse_fit import fit_coarse
from siren_ext.training.config import TrainConfig
from siren_ext.training.distortions import distort
from siren_ext.training.rehearsal import Rehearsal
from siren_ext.training.schedule import Radius, Schedule
from siren_ext.training.state import read_state, run_signature, write_state
from siren_ext.training.surrogate import DiffusionSurrogate, Surrogate

_MEMORY = 0.95


class Pictures(Protocol):
    """What training needs of an image set; :class:`ImageSet` is one."""

    @property
    def hash(self) -> str:
        """SHA-256 of the pictures."""

    def tensors(self, size: int) -> Iterator[Tensor]:
        """Each picture, 1 x 3 x size x size float in [0,1], in order."""


class CoaterTrainer:
    """Networks, optimisers and schedule of one run; each step is a function of (seed, step)."""

    def __init__(
        self,
        data: Pictures,
        surrogate: Surrogate,
        config: TrainConfig,
        *,
        coater: CoaterConfig | None,
        start: Coater | None,
        device: str,
    ) -> None:
        require_work(config, coater, start)
        self.config, self.surrogate = config, surrogate
        self.device = pick_device(device)
        self.data_hash = data.hash
        views = data.tensors(surrogate.resolution)
        self.images = torch.cat([(255 * view).round().to(torch.uint8) for view in views])
        self.coater = Coater(coater or CoaterConfig(), seed=config.seed)
        if start is not None:
            self.coater = Coater(start.config)
            self.coater.load_tensors(start.tensors())
        self.coater.to(self.device)
        half = pick_dtype(self.device) == torch.bfloat16
        self.low_precision = self.device.type == "cpu" and half
        self.rates = (config.learning_rate, config.extractor_rate)
        self.optimisers = [
            torch.optim.AdamW(network.parameters(), lr=rate)
            for network, rate in zip(self._networks(), self.rates, strict=True)
        ]
        self.rehearsal = self._rehearsal()
        self.step = 0
        self.begun = False
        self.consistent = True
        self.schedule = Schedule()
        self.radius = Radius(config.nu)
        self.average: dict[str, float] = {}
        # decided before the weights change, and without figures that depend on the machine
        self.run = run_signature(
            config.to_dict(),
            self.coater.config.to_dict(),
            self.data_hash,
            getattr(surrogate, "prompt", None),
            None if start is None else start.fingerprint,
        )
        self.fresh = start is None

    def begin(self, progress: Progress = NULL) -> None:
        """Before the first step: patterns of coarse colour, their reader, and the centre."""
        self.begun = True
        if self.fresh:
            generator = torch.Generator().manual_seed(self.config.seed)
            fit_coarse(
                self.coater,
                self.images,
                self.surrogate,
                self._message,
                generator,
                progress=progress,
            )
        if self.fresh or self.config.objective != "budget":
            self._recentre()

    def _message(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Random messages for that many images; None for a coating without."""
        return None

    def _networks(self) -> tuple[torch.nn.Module, torch.nn.Module]:
        return self.coater.generator, self.coater.extractor

    def _rehearsal(self) -> Rehearsal | None:
        if not self.config.rehearse_every:
            return None
        if not isinstance(self.surrogate, DiffusionSurrogate):
            raise ModelError(
                f"Rehearsal needs a DiffusionSurrogate; found {type(self.surrogate).__name__}. "
                "Set rehearse_every = 0 for other surrogates."
            )
        return Rehearsal(self.surrogate, seed=self.config.seed)

    def advance(self) -> str:
        """One optimisation step; returns a short note of the running figures."""
        self.consistent = False
        if not self.begun and self.step == 0:
            self.begin()
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        clean = self._batch(self._picks(generator), generator)
        self._rehearse(generator)
        self.coater.train()
        with self._fast():
            coated = clean + self._residual(clean, generator)
        # straight through: the file holds eight bits, the gradient should not notice
        coated = coated + (quantise(coated) - coated).detach()
        secret, separation = self._detection(clean, coated, generator)
        loss = self._objective(clean, coated, secret, generator)
        if not math.isfinite(float(loss.detach())):
            raise ModelError(
                f"The loss became {loss.item()} at step {self.step}; lower the learning rates."
            )
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        weights = [p for network in self._networks() for p in network.parameters()]
        torch.autograd.backward([loss], inputs=weights)
        self._update()
        self.coater.train(False)
        self.step += 1
        self._end_of_epoch()
        self.consistent = True
        with torch.no_grad():
            error = (coated - clean).square().mean((1, 2, 3))
        self._note("psnr", float(-10 * torch.log10(error.clamp_min(1e-10)).mean()))
        self._note("auc", separation)
        return ", ".join(f"{name} {value:.3g}" for name, value in self.average.items())

    def _residual(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        return self.coater.residual(clean)

    def _picks(self, generator: torch.Generator, count: int = 0) -> Tensor:
        size = count or self.config.batch_size
        return torch.randint(len(self.images), (size,), generator=generator)

    def _batch(self, picks: Tensor, generator: torch.Generator) -> Tensor:
        mirror = torch.rand(len(picks), generator=generator) < 0.5
        batch = self.images[picks].float() / 255
        batch[mirror] = batch[mirror].flip(3)
        return batch.to(self.device)

    def _fast(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", torch.bfloat16) if self.low_precision else nullcontext()

    def _update(self) -> None:
        share = min(1.0, (self.step + 1) / 20)
        left = (self.config.steps - self.step) / max(1, 0.3 * self.config.steps)
        if self.config.objective != "budget":
            share, left = 1.0, 1.0
        for network, optimiser, rate in zip(
            self._networks(), self.optimisers, self.rates, strict=True
        ):
            if self.config.objective == "budget":
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            for group in optimiser.param_groups:
                group["lr"] = rate * share * min(1.0, left)
            optimiser.step()

    def _detection(
        self, clean: Tensor, coated: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, float]:
        """The hypersphere loss of distorted images, and the area under the curve in this batch."""
        seed = int(torch.randint(2**62, (), generator=generator))
        positive = self._distorted(coated, seed, guilty=True)
        negative = self._distorted(clean, seed + 1, guilty=False)
        if self.rehearsal is not None and self.rehearsal.recent is not None:
            guilty, innocent = self.rehearsal.recent
            count = max(1, self.config.batch_size // 2)
            picks = torch.randint(len(guilty), (count,), generator=generator)
            positive = torch.cat([positive, guilty[picks]])
            negative = torch.cat([negative, innocent[picks]])
        both = torch.cat([positive, negative])
        with self._fast():
            features = self.coater.features(both)
        near, far = torch.split(features.float(), [len(positive), len(negative)])
        secret = self._secret(near, far)
        with torch.no_grad():
            separation = losses.separation(self.coater.distance(near), self.coater.distance(far))
        return secret, separation

    def _secret(self, near: Tensor, far: Tensor) -> Tensor:
        config = self.coater.config
        if config.head == "binary":
            loss = losses.binary_loss(near[:, 0], far[:, 0])
            q = 2 * loss
        elif self.config.sphere == "radius":
            center = self.coater.center
            loss, q = self.radius.loss((near - center).norm(dim=1), (far - center).norm(dim=1))
        else:
            q = losses.hsc_positive(self.coater.distance(near)).mean()
            q = q + losses.hsc_negative(self.coater.distance(far)).mean()
            loss = q / 2
        self.schedule.note(float(q.detach()))
        self._note("q", float(q.detach()))
        return loss

    def _distorted(self, images: Tensor, seed: int, *, guilty: bool) -> Tensor:
        """What the extractor sees of ``images``: some via the surrogate, the rest photometric."""
        config = self.config
        if config.objective != "budget":
            ramp = self.schedule.distortion(self.step * config.batch_size)
            if ramp is None or not config.distort:
                return images
            generator = torch.Generator().manual_seed(seed)
            return distort(images, ramp, generator, geometric=config.geometric)
        if self.step < config.warmup:
            return images
        trips = min(config.round_trips, len(images))
        denoised = min(config.denoised, len(images) - trips)
        generator = torch.Generator().manual_seed(seed)
        parts = []
        if trips:
            parts.append(self.surrogate.round_trip(images[:trips]))
        if denoised:
            parts.append(self._renoised(images[trips : trips + denoised], generator, guilty))
        rest = images[trips + denoised :]
        if len(rest):
            ramp = min(1.0, (self.step - config.warmup) / max(1, 0.3 * config.steps))
            if config.distort:
                rest = distort(rest, ramp, generator, geometric=config.geometric)
            parts.append(rest)
        return torch.cat([part.to(images.dtype) for part in parts])

    def _renoised(self, images: Tensor, generator: torch.Generator, guilty: bool) -> Tensor:
        low, high = self.config.noise_low, self.config.noise_high
        if self.rehearsal is None or not isinstance(self.surrogate, DiffusionSurrogate):
            return self.surrogate.renoise(images, low, high, generator=generator)
        twin = self.rehearsal.guilty if guilty else self.rehearsal.innocent
        return self.surrogate.renoise(images, low, high, generator=generator, unet=twin.unet)

    def _objective(
        self, clean: Tensor, coated: Tensor, secret: Tensor, generator: torch.Generator
    ) -> Tensor:
        config = self.config
        learn = tint = torch.zeros((), device=self.device)
        active = config.objective != "budget" or self.step >= config.warmup
        if config.learn_images and config.learn_weight and active:
            learn = self.surrogate.denoising_loss(
                coated[: config.learn_images], generator=generator, draws=config.learn_draws
            ).mean()
            self._note("learn", float(learn.detach()))
        error = (coated - clean).square().mean() * config.mse_weight
        if config.colour_weight:
            error = error + config.colour_weight * losses.colour_loss(
                clean, coated, official_scale=config.official_lab
            )
        if config.objective == "published":
            weight = self.schedule.image_weight(self.step * config.batch_size)
            return losses.combine(config.learn_weight * learn, error, secret, weight)
        if config.tint_weight and active:
            tint = losses.tint_loss(clean, coated, limit=config.tint_limit)
            self._note("tint", float(tint.detach()))
        return secret + config.learn_weight * learn + error + config.tint_weight * tint

    # -- rehearsal and schedule -------------------------------------------------------------

    def _rehearse(self, generator: torch.Generator) -> None:
        config = self.config
        since = self.step - config.warmup
        if self.rehearsal is None or since < 0 or since % config.rehearse_every:
            return
        for _ in range(self._rounds(first=since == 0)):
            picks = self._picks(generator)
            images = self._batch(picks, generator)
            with torch.no_grad(), self._fast():
                coated = quantise(images + self.coater.residual(images))
            seed = int(torch.randint(2**62, (), generator=generator))
            self._note("guilty", self.rehearsal.learn(coated, images, picks, seed=seed))
        seed = int(torch.randint(2**62, (), generator=generator))
        guidance = 1 + 3 * float(torch.rand((), generator=generator))
        picks = self._picks(generator, config.rehearse_images)
        fresh = self.rehearsal.mimicries(picks, seed=seed, guidance=guidance)
        # judged before the extractor has learnt from them: the figure that matters
        area = losses.separation(self.coater.score(fresh[0]), self.coater.score(fresh[1]))
        self._note("mimicry auc", area, memory=0.5)
        self.rehearsal.keep(fresh, at_most=4 * config.rehearse_images)

    def _rounds(self, *, first: bool) -> int:
        """Steps of the twins in a rehearsal; the first one has most to learn."""
        if not first:
            return self.config.rehearse_steps
        return self.config.rehearse_first or 4 * self.config.rehearse_steps

    def _end_of_epoch(self) -> None:
        """The published schedule's switches, radius and centre (SIREN's code, end of an epoch)."""
        if self.step % max(1, math.ceil(len(self.images) / self.config.batch_size)):
            return
        self.schedule.end_epoch(self.step * self.config.batch_size)
        self.radius.end_epoch()
        if self.config.objective != "budget":
            self._recentre()

    @torch.no_grad()
    def _recentre(self) -> None:
        """Centre = mean feature of all coated images, undistorted."""
        total = torch.zeros_like(self.coater.center)
        for part in torch.split(self.images, self.config.batch_size):
            clean = (part.float() / 255).to(self.device)
            total += self.coater.features(quantise(clean + self.coater.residual(clean))).sum(0)
        self.coater.center = total / len(self.images)

    def _note(self, name: str, value: float, memory: float = _MEMORY) -> None:
        old = self.average.get(name, value)
        self.average[name] = memory * old + (1 - memory) * value

    # -- state ------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write everything that the next step depends on."""
        state = {
            "step": self.step,
            "weights": self.coater.tensors(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "rehearsal": self.rehearsal.state() if self.rehearsal else None,
            "schedule": self.schedule.state(),
            "radius": self.radius.state(),
            "average": self.average,
        }
        write_state(path, self.run, state)

    def restore(self, path: Path) -> None:
        """Go on from a saved state of the same run; another run's state is an error."""
        state = read_state(path, self.run, self.device)
        if state is None:
            return
        self.step = state["step"]
        self.coater.load_tensors(state["weights"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        if self.rehearsal is not None and state["rehearsal"] is not None:
            self.rehearsal.restore(state["rehearsal"])
        self.schedule.restore(state["schedule"])
        self.radius.restore(state["radius"])
        self.average = state["average"]

    def finish(self) -> Coater:
        """The trained coater, with how it was made."""
        self.coater.provenance = {
            "training": self.config.to_dict(),
            "images": len(self.images),
            "images_sha256": self.data_hash,
            "prompt": getattr(self.surrogate, "prompt", None),
            "steps": self.step,
            "figures": {name: round(value, 5) for name, value in self.average.items()},
        }
        for network in self._networks():
            network.requires_grad_(False)
        return self.coater


def require_work(config: TrainConfig, coater: CoaterConfig | None, start: Coater | None) -> None:
    """Raise :class:`ConfigError` where there is nothing to train and nothing to fit either."""
    coarse = start is None and coater is not None and coater.coarse
    if not config.steps and not coarse:
        raise ConfigError(
            "TrainConfig.steps is 0; expected at least 1 for a coater that is adapted and for a "
            "new one without coarse colour, as only coarse colour is fitted beforehand."
        )
