"""Options that name a model's file and the clean models beside it, and the models themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.common import explain
from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from siren_ext.scoring.score_set import ScoreSet
    from siren_ext.suspects.local import LocalSuspect

Controls = Annotated[
    list[str] | None,
    typer.Option(
        "--control",
        metavar="MODEL",
        help="Clean model to subtract: a LoRA that you trained on the originals, or another "
        "model; several are averaged. By default nothing is subtracted.",
    ),
]
Others = Annotated[
    list[str] | None,
    typer.Option(
        "--other",
        metavar="LORA",
        help="LoRA of other people's images for the same base model, for example from a sharing "
        "site; give a dozen. What these LoRAs have learnt too then counts little, so a "
        "coating shows more clearly.",
    ),
]
Scale = Annotated[
    float, typer.Option("--scale", help="Weight of adapters that are given without a weight.")
]


@dataclass(frozen=True)
class ModelFile:
    """A suspicious model and its controls, as options name them.

    Attributes
    ----------
    base : str
        The base model, or the suspicious checkpoint.
    adapters : Sequence[str]
        ``FILE[:WEIGHT]``.
    controls : Sequence[str]
        Adapters for ``base``, other models, or "base".
    scale : float
        Weight of adapters that are given without one.
    allow_partial : bool
        Load the parts of the suspicious adapters that fit.
    device : str
        Where to run.
    others : Sequence[str]
        Adapters of other people's images for ``base``.
    """

    base: str
    adapters: Sequence[str] = ()
    controls: Sequence[str] = ()
    scale: float = 1.0
    allow_partial: bool = False
    device: str = "auto"
    others: Sequence[str] = ()

    def suspect(self) -> LocalSuspect:
        """The suspicious model, in 32-bit numbers, which small differences need.

        Raises
        ------
        ConfigError
            A weight or the device is not valid.
        """
        import torch

        from siren_ext.suspects.local import LocalSuspect, WeightedAdapter

        merged = [WeightedAdapter.parse(text, self.scale) for text in self.adapters]
        return LocalSuspect(
            self.base,
            merged,
            allow_partial=self.allow_partial,
            device=self.device,
            dtype=torch.float32,
        )

    def clean(self) -> list[LocalSuspect]:
        """The clean models, in the order of the options."""
        import torch

        from siren_ext.suspects.local import LocalSuspect
        from siren_ext.suspects.open import needs_base

        found = []
        for name in self.controls:
            adapter = Path(name) if needs_base(name) else None
            model = self.base if adapter or name == "base" else name
            found.append(LocalSuspect(model, adapter, device=self.device, dtype=torch.float32))
        return found

    def strangers(self) -> list[LocalSuspect]:
        """The base model with each adapter of other people's images, in the order of the options.

        Raises
        ------
        ConfigError
            One of them is no adapter.
        """
        import torch

        from siren_ext.suspects.local import LocalSuspect
        from siren_ext.suspects.open import needs_base

        for name in self.others:
            if not needs_base(name):
                what = "is no adapter" if Path(name).exists() else "does not exist"
                raise ConfigError(
                    f"--other {name} {what}; expected a LoRA or another adapter of other people's "
                    "images, for the same base model."
                )
        return [
            LocalSuspect(self.base, Path(name), device=self.device, dtype=torch.float32)
            for name in self.others
        ]


def report_left_out(scores: ScoreSet) -> None:
    """Tell on stderr what the suspicious model was measured without.

    Parameters
    ----------
    scores : ScoreSet
        The measurement of :func:`siren_ext.preference.measure.measure_preference`.
    """
    for warning in scores.source["provenance"]["suspect"].get("warnings", ()):
        explain(f"Warning: {warning}")


def require_options(
    given: Mapping[str, object], missing: Mapping[str, object], because: str
) -> None:
    """Check that options are there, and that others are not.

    Parameters
    ----------
    given : Mapping[str, object]
        Values of options that don't fit, by name; all should be None, False or empty.
    missing : Mapping[str, object]
        Values of options that are needed; none should be None.
    because : str
        A clause for the message, such as "with --model".

    Raises
    ------
    ConfigError
        An option is there, or is not.
    """
    if lost := [name for name, value in missing.items() if value is None]:
        verb = "is" if len(lost) == 1 else "are"
        raise ConfigError(
            f"{' and '.join(lost)} {verb} missing, but needed {because}; add what is missing."
        )
    if extra := [name for name, value in given.items() if value]:
        verb, them = ("does", "it") if len(extra) == 1 else ("do", "them")
        raise ConfigError(f"{' and '.join(extra)} can't be used {because}; leave {them} out.")
