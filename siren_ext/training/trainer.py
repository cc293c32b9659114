"""One run of coater training, step by step: which objective, rehearsals, epochs and the centre."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.errors import ConfigError, ModelError
from siren_ext.progress import NULL, Progress
from siren_ext.training import losses
from siren_ext.training.coarse_fit import fit_coarse
from siren_ext.training.objectives import budget_step, draw_messages, keyed_step, published_step
from siren_ext.training.state import Pictures, TrainerState, run_signature

if TYPE_CHECKING:
    from siren_ext.training.config import TrainConfig
    from siren_ext.training.rehearsal import Rehearsal
    from siren_ext.training.surrogate import Surrogate

_OBJECTIVES = {"budget": budget_step, "published": published_step, "sum": published_step}


class CoaterTrainer:
    """A run of coater training; each step is a function of (seed, step) and of the state.

    Parameters
    ----------
    data : Pictures
        The owner's clean images.
    surrogate : Surrogate
        The model to train against.
    config : TrainConfig
        Settings of the run.
    coater : CoaterConfig or None
        Shape of a new pair; ignored with ``start``.
    start : Coater or None
        A trained coater to adapt; it is not changed.
    device : str
        ``auto`` or a torch device name.

    Attributes
    ----------
    state : TrainerState
        Networks, optimisers, schedule and figures.
    consistent : bool
        Whether no step is half done, so that the state can be saved.

    Raises
    ------
    ConfigError
        There is nothing to train or fit, or a keyed coater with another objective than budget.
    ModelError
        Rehearsals are asked for and the surrogate can't be trained.
    """

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
        self.config = config
        pair = Coater(coater or CoaterConfig(), seed=config.seed)
        if start is not None:
            pair = Coater(start.config)
            pair.load_tensors(start.tensors())
        if pair.keyed and config.objective != "budget":
            raise ConfigError(
                f"A keyed coater was asked for with objective {config.objective!r}; it can be "
                "trained with 'budget' only."
            )
        self._advance = keyed_step if pair.keyed else _OBJECTIVES[config.objective]
        self.state = TrainerState(data, surrogate, config, pair, device=device)
        self.state.rehearsal = self._rehearsal()
        self.consistent = True
        self._begun = False
        self._fresh = start is None
        # decided before the weights change, and without figures that depend on the machine
        self._run = run_signature(
            config.to_dict(),
            pair.config.to_dict(),
            self.state.data_hash,
            surrogate.prompt,
            surrogate.resolution,
            surrogate.identity,
            None if start is None else start.fingerprint,
        )

    def _rehearsal(self) -> Rehearsal | None:
        state, config = self.state, self.config
        if not config.rehearse_every:
            return None
        message = None
        if state.coater.keyed:
            message = self._message(1, torch.Generator().manual_seed(config.seed))[0]
        rehearsal = state.surrogate.rehearsal(seed=config.seed, message=message)
        if rehearsal is None:
            raise ModelError(
                f"Rehearsals train the surrogate, but a {type(state.surrogate).__name__} can't be "
                "trained; set rehearse_every = 0."
            )
        return rehearsal

    def _message(self, count: int, generator: torch.Generator) -> Tensor:
        bits = self.state.coater.config.message_bits
        return draw_messages(count, bits, generator).to(self.state.device)

    def begin(self, progress: Progress = NULL) -> None:
        """Before the first step: patterns of coarse colour, their reader, and the centre."""
        state = self.state
        self._begun = True
        if self._fresh:
            fit_coarse(
                state.coater,
                state.images,
                state.surrogate,
                self._message if state.coater.keyed else lambda count, generator: None,
                torch.Generator().manual_seed(self.config.seed),
                progress=progress,
            )
        if self._fresh or self.config.objective != "budget":
            self._recentre()
        state.agree()

    def advance(self) -> str:
        """One optimisation step.

        Returns
        -------
        str
            The running figures in a short line.

        Raises
        ------
        ModelError
            The loss is no longer a finite number.
        """
        state = self.state
        self.consistent = False
        if not self._begun and state.step == 0:
            self.begin()
        generator = state.generator(state.step)
        clean = state.batch(state.step_picks(generator), generator)
        self._rehearse(generator)
        state.clear_gradients()
        state.coater.train()
        self._advance(state, clean, generator)
        state.exchange()
        self._update()
        state.coater.train(False)
        state.step += 1
        self._end_of_epoch()
        self.consistent = True
        return ", ".join(f"{name} {value:.3g}" for name, value in state.average.items())

    def _update(self) -> None:
        """A step of both optimisers; the budget objective warms up, cools down and clips."""
        state, config = self.state, self.config
        budget = config.objective == "budget"
        scale = 1.0
        if budget:
            left = (config.steps - state.step) / max(1, 0.3 * config.steps)
            scale = min(1.0, (state.step + 1) / 20) * min(1.0, left)
        pair = (state.coater.generator, state.coater.extractor)
        rates = (config.learning_rate, config.extractor_rate)
        for network, optimiser, rate in zip(pair, state.optimisers, rates, strict=True):
            if budget:
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            for group in optimiser.param_groups:
                group["lr"] = rate * scale
            optimiser.step()

    # -- rehearsals ------------------------------------------------------------------------------

    def _rehearse(self, generator: torch.Generator) -> None:
        """Let the twins learn from what the coater writes now, and put their pictures in the pool.

        Unkeyed: coated against clean images. Keyed: one message against its opposite, and another
        message every ``rehearse_rounds`` rehearsals.
        """
        config, state, rehearsal = self.config, self.state, self.state.rehearsal
        since = state.step - config.warmup
        if rehearsal is None or since < 0 or since % config.rehearse_every:
            return
        keyed = state.coater.keyed
        first = since == 0
        if keyed:
            first = since // config.rehearse_every % config.rehearse_rounds == 0
            if first:
                rehearsal.begin(self._message(1, generator)[0])
        for _ in range(self.rehearsal_steps(first=first)):
            picks = state.random_picks(generator, config.batch_size)
            images = state.batch(picks, generator)
            pair = (
                (state.coated(images, rehearsal.message), state.coated(images, -rehearsal.message))
                if keyed
                else (state.coated(images), images)
            )
            seed = int(torch.randint(2**62, (), generator=generator))
            state.note("guilty", rehearsal.learn(pair, picks, seed=seed, together=state.together))
        seed = int(torch.randint(2**62, (), generator=generator))
        guidance = 1 + 3 * float(torch.rand((), generator=generator))
        picks = state.random_picks(generator, config.rehearse_images)
        fresh = rehearsal.mimicries(picks, seed=seed, guidance=guidance)
        self._judge(fresh, rehearsal.message)
        rehearsal.keep(fresh, at_most=4 * config.rehearse_images)

    def rehearsal_steps(self, *, first: bool) -> int:
        """Steps of the twins in a rehearsal; the first one has most to learn."""
        if not first:
            return self.config.rehearse_steps
        return self.config.rehearse_first or 4 * self.config.rehearse_steps

    def _judge(self, fresh: tuple[Tensor, Tensor], message: Tensor) -> None:
        """Note how well the twins' pictures are told apart before the extractor learns from them.

        This is the figure that matters: it says what the extractor makes of an infringing model.
        """
        state = self.state
        if state.coater.keyed:
            with torch.no_grad():
                read = state.coater.features(fresh[0]) - state.coater.features(fresh[1])
            figure = float((read * message > 0).float().mean())
            state.note("mimicry bits", figure, memory=0.5)
            return
        area = losses.separation(state.coater.score(fresh[0]), state.coater.score(fresh[1]))
        state.note("mimicry auc", area, memory=0.5)

    # -- epochs ----------------------------------------------------------------------------------

    def _end_of_epoch(self) -> None:
        """The published schedule's switches, radius and centre (SIREN's code, end of an epoch)."""
        state = self.state
        if state.step % state.epoch_steps:
            return
        state.schedule.end_epoch(state.seen)
        state.radius.end_epoch()
        if self.config.objective != "budget":
            self._recentre()

    @torch.no_grad()
    def _recentre(self) -> None:
        """Centre = mean feature of all coated images, undistorted; a key gives keyed centres."""
        state = self.state
        if state.coater.keyed:
            return
        total = torch.zeros_like(state.coater.center)
        for part in torch.split(state.images, state.config.batch_size):
            if not state.ranks.count(0, len(part)):
                continue
            own = part[state.own(slice(0, len(part)))]
            clean = (own.float() / 255).to(state.device)
            coated = state.rounded(clean + state.coater.residual(clean))
            total += state.coater.features(coated).sum(0)
        state.ranks.add(total)
        state.coater.center = total / len(state.images)

    # -- state -----------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write everything that the next step depends on."""
        self.state.save(path, self._run)

    def restore(self, path: Path) -> None:
        """Continue from a saved state of the same run; without a file nothing changes.

        Raises
        ------
        CoaterError
            The file is damaged or another run's.
        """
        self.state.restore(path, self._run)

    def finish(self) -> Coater:
        """The trained coater, with how it was made; the surrogate is as it was before the run."""
        state = self.state
        state.coater.provenance = {
            "training": self.config.to_dict(),
            "images": len(state.images),
            "images_sha256": state.data_hash,
            "prompt": state.surrogate.prompt,
            "steps": state.step,
            "figures": {name: round(value, 5) for name, value in state.average.items()},
        }
        for network in (state.coater.generator, state.coater.extractor):
            network.requires_grad_(False)
        self.close()
        return state.coater

    def close(self) -> None:
        """Take the rehearsal's twins out of the surrogate; the run can't continue afterwards."""
        if self.state.rehearsal is not None:
            self.state.rehearsal.close()


def require_work(config: TrainConfig, coater: CoaterConfig | None, start: Coater | None) -> None:
    """Raise :class:`ConfigError` where there is nothing to train and nothing to fit either."""
    coarse = start is None and coater is not None and coater.coarse
    if not config.steps and not coarse:
        raise ConfigError(
            "TrainConfig.steps is 0; expected at least 1, because only a new coater with coarse "
            "colour is fitted beforehand. Other coaters need training steps."
        )
