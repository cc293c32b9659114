"""A suspect on this machine: a diffusion model, with or without adapters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from siren_ext.adapters.embeddings import count_lacking
from siren_ext.adapters.read import Adapter, read_adapter
from siren_ext.devices import pick_device, pick_dtype
from siren_ext.diffusion import families, pipelines
from siren_ext.diffusion.load import Pipeline
from siren_ext.diffusion.sampling import sample_latents, seeded_noise
from siren_ext.errors import AdapterError, ConfigError
from siren_ext.progress import NULL, Progress
from siren_ext.ranks import current
from siren_ext.suspects.base import Mimicry, PromptPlan
from siren_ext.suspects.merging import RoundedAwayError, merge_checked


@dataclass(frozen=True)
class WeightedAdapter:
    """An adapter and its strength.

    Attributes
    ----------
    path : Path
        The file or folder.
    weight : float
        The strength at which it is merged; 1 for the adapter as trained.
    """

    path: Path
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check the strength."""
        if not math.isfinite(self.weight):
            raise ConfigError(f"The strength of {self.path} is {self.weight}; expected a number.")

    @classmethod
    def parse(cls, text: str, weight: float = 1.0) -> WeightedAdapter:
        """Parse ``path`` or ``path:strength``.

        Parameters
        ----------
        text : str
            The text. If it is an existing path, a colon belongs to the path.
        weight : float
            The strength if the text gives none.

        Raises
        ------
        ConfigError
            If the strength is not finite.
        """
        head, colon, tail = text.rpartition(":")
        if colon and head and not Path(text).exists():
            try:
                return cls(Path(head), float(tail))
            except ValueError:
                pass  # a colon of the path itself
        return cls(Path(text), weight)


class LocalSuspect:
    """Generates pictures with a model on this machine. It is loaded when first needed.

    Stable Diffusion 1.x and 2.x are sampled by DDIM or another one of ``sampling.SAMPLERS``, other
    families one picture at a time with their own sampler. The noise of picture i depends only on
    ``plan.seed + i``, and batches start at fixed numbers, so a resumed plan gives the same pictures
    bit for bit. Another ``batch_size`` may change the last bits of some.

    Parameters
    ----------
    model : str or Path
        ``pocket``, a diffusers folder of any text-to-image family, or a single-file checkpoint.
    adapter : Path, sequence of WeightedAdapter, or None
        An adapter that is merged at strength ``scale``, or several, merged in that order.
    scale : float
        Strength of a single adapter.
    allow_partial : bool
        Load the parts of an adapter that fit; the record says what was left out.
    device : str
        Where to run; ``auto`` as in :func:`siren_ext.devices.pick_device`.
    dtype : torch.dtype or None
        Number format; None takes the fastest format of the device, or float32 if that would round
        most of an adapter's change away.
    batch_size : int
        Pictures per batch, for Stable Diffusion 1.x and 2.x.

    Raises
    ------
    ConfigError
        If ``batch_size``, a strength or the device is invalid.
    """

    def __init__(
        self,
        model: str | Path,
        adapter: Path | Sequence[WeightedAdapter] | None = None,
        *,
        scale: float = 1.0,
        allow_partial: bool = False,
        device: str = "auto",
        dtype: torch.dtype | None = None,
        batch_size: int = 8,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; expected 1 or more.")
        self.model = model
        if isinstance(adapter, (str, Path)):
            adapter = [WeightedAdapter(Path(adapter), scale)]
        self.adapters: tuple[WeightedAdapter, ...] = tuple(adapter or ())
        self.allow_partial = allow_partial
        self.device = pick_device(device)
        self._given, self._format = dtype, dtype
        self.batch_size = batch_size

    @property
    def pipeline(self) -> Pipeline:
        """The model with the adapters merged; loads it if needed.

        Raises
        ------
        ModelError
            If the model cannot be loaded.
        AdapterError
            If an adapter cannot be merged or has no effect.
        """
        return self._loaded[0]

    @property
    def dtype(self) -> torch.dtype:
        """The number format; the model is loaded if it depends on what rounding leaves."""
        if self._format is None:
            fastest = pick_dtype(self.device)
            if fastest == torch.float32 or not self.adapters:
                self._format = fastest
            else:
                _ = self.pipeline
        assert self._format is not None
        return self._format

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the adapters; loads the model if needed."""
        return self._loaded[1]

    def release(self) -> None:
        """Free the memory of the loaded model; it is loaded again when needed."""
        self.__dict__.pop("_loaded", None)

    @cached_property
    def _loaded(self) -> tuple[Pipeline, tuple[str, ...]]:
        """The model with the adapters merged, and warnings."""
        wanted = self._format or pick_dtype(self.device)
        try:
            loaded = self._merged(wanted)
        except RoundedAwayError as error:
            if self._given is not None:
                raise AdapterError(f"{error} Use float32 instead.") from error
            wanted = torch.float32
            pipeline, warnings = self._merged(wanted)
            loaded = pipeline, (f"{error} So the pictures are made in float32.", *warnings)
        self._format = wanted
        return loaded

    def _merged(self, dtype: torch.dtype) -> tuple[Pipeline, tuple[str, ...]]:
        if not self.adapters:
            return families.load_any_pipeline(self.model, device=self.device, dtype=dtype), ()
        # merged in float32, because rounding to 16 bits twice would lose small changes
        loaded = families.load_any_pipeline(self.model, device=self.device, dtype=torch.float32)
        warnings: list[str] = []
        for (_, adapter), used in zip(self._adapters, self.adapters, strict=True):
            warnings += merge_checked(
                loaded, adapter, used.weight, self.allow_partial, final_dtype=dtype
            ).warnings
        families.place(loaded, self.device, dtype)
        return loaded, tuple(warnings)

    @cached_property
    def _adapters(self) -> list[tuple[WeightedAdapter, Adapter]]:
        """The adapters and their content."""
        return [
            (used, read_adapter(used.path, allow_partial=self.allow_partial))
            for used in self.adapters
        ]

    def missing_words(self, texts: Sequence[str]) -> Iterator[tuple[str, str, int]]:
        """Adapter, new word, and number of texts that lack it, where some do."""
        for _, adapter in self._adapters:
            for word in adapter.words:
                if lacking := count_lacking(word, texts):
                    yield adapter.path.name, word, lacking

    def describe(self) -> dict[str, Any]:
        """The record: kind, model name and fingerprint, adapters, number format and sampler.

        For families other than Stable Diffusion 1.x and 2.x also the family and the settings of a
        plan that it ignores. With ``allow_partial`` also the warnings, for which the model is
        loaded.

        Raises
        ------
        ModelError, AdapterError
            If the model or an adapter cannot be read.
        """
        facts = {
            "kind": "local",
            "model": pipelines.model_name(self.model),
            "model_fingerprint": self._fingerprint,
            "adapters": [
                {**adapter.summary().to_dict(), "weight": used.weight}
                for used, adapter in self._adapters
            ],
            "format": str(self.dtype).removeprefix("torch."),
            **families.describe_model(self.model),
        }
        if self.allow_partial and self.warnings:
            facts["warnings"] = list(self.warnings)
        return facts

    @cached_property
    def _fingerprint(self) -> str:
        """Fingerprint of the model, which takes time to calculate."""
        return pipelines.model_fingerprint(self.model)

    def generate(
        self, plan: PromptPlan, *, indices: Sequence[int] | None = None, progress: Progress = NULL
    ) -> Iterator[Mimicry]:
        """Generate pictures of a plan.

        Parameters
        ----------
        plan : PromptPlan
            The plan.
        indices : sequence of int or None
            Generate only these pictures; None generates all.
        progress : Progress
            One unit per picture.

        Yields
        ------
        Mimicry
            In rising order of the index.

        Raises
        ------
        ConfigError
            If the plan or the indices do not suit the model.
        ModelError, AdapterError
            If the model or an adapter cannot be loaded.
        """
        wanted = sorted(range(plan.count) if indices is None else set(indices))
        if wanted and not 0 <= wanted[0] <= wanted[-1] < plan.count:
            raise ConfigError(
                f"Pictures {wanted[0]} to {wanted[-1]} were requested; expected numbers from 0 to "
                f"{plan.count - 1}, because the plan has {plan.count} pictures."
            )
        self._check_words(plan)
        draw = self._in_batches if families.is_stable(self.pipeline) else self._one_by_one
        for index, image in draw(plan, wanted):
            yield Mimicry(image, index, plan.prompt(index), plan.seed + index)
            progress.advance()

    def _one_by_one(self, plan: PromptPlan, wanted: list[int]) -> Iterator[tuple[int, Tensor]]:
        """Pictures of other families, each with its index."""
        families.check_request(
            self.pipeline, size=plan.size, negative=plan.negative, sampler=plan.sampler
        )
        settings = ("steps", "guidance", "size", "negative")
        chosen = {name: getattr(plan, name) for name in settings}

        def drawn(index: int) -> Tensor:
            prompt, seed = plan.prompt(index), plan.seed + index
            return families.draw(self.pipeline, prompt, seed, **chosen).cpu()

        yield from current().shared(wanted, drawn)

    def _in_batches(self, plan: PromptPlan, wanted: list[int]) -> Iterator[tuple[int, Tensor]]:
        """Pictures of Stable Diffusion 1.x and 2.x, each with its index."""
        negative = pipelines.encode_prompts(self.pipeline, [plan.negative]) if wanted else None
        chosen = set(wanted)
        firsts = sorted({index - index % self.batch_size for index in wanted})
        batches = [range(at, min(at + self.batch_size, plan.count)) for at in firsts]
        drawn = partial(self._draw, plan, negative)
        for batch, images in current().shared(batches, drawn):
            yield from (pair for pair in zip(batch, images, strict=True) if pair[0] in chosen)

    def _check_words(self, plan: PromptPlan) -> None:
        """Refuse prompts without the word of a textual inversion, which would have no effect."""
        for name, word, _ in self.missing_words(plan.prompts):
            raise AdapterError(
                f"{name} only affects prompts with the word {word!r}; put this word into every "
                "prompt."
            )

    @torch.no_grad()
    def _draw(self, plan: PromptPlan, negative: Any, batch: Sequence[int]) -> Tensor:
        """The pictures of a batch, B x 3 x H x W in [0,1]."""
        pipeline = self.pipeline
        size = plan.size or pipelines.native_size(pipeline)
        embeds = pipelines.encode_prompts(pipeline, [plan.prompt(index) for index in batch])
        seeds = [plan.seed + index for index in batch]
        latents = sample_latents(
            pipeline,
            seeded_noise(pipeline, seeds, size),
            embeds,
            negative,
            steps=plan.steps,
            guidance=plan.guidance,
            sampler=plan.sampler,
            seeds=seeds,
        )
        return pipelines.decode_latents(pipeline, latents).cpu()
