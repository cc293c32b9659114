"""What a program that generates images for a panel is asked, and what it offers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from siren_ext.errors import ConfigError
from siren_ext.progress import Progress
from siren_ext.suspects.a1111 import loads_network

Loras = tuple[tuple[str, float], ...]
"""LoRAs as (name, weight); empty for the checkpoint alone."""


@dataclass(frozen=True)
class ImageRequest:
    """Which images to generate. Image i uses prompt i (in turn) and seed + i.

    Attributes
    ----------
    checkpoint : str
        Title of the checkpoint, "" for the loaded one.
    loras : Loras
        The LoRAs and their weights.
    prompts : tuple[str, ...]
        One or more prompts.
    count : int
        Number of images.
    seed : int
        Seed of the first image.
    steps : int
        Sampling steps.
    guidance : float
        Classifier-free guidance (CFG) scale.
    size : int
        Width and height in pixels.
    negative : str
        Negative prompt.
    role : str
        Shown in the progress, such as ``reference``.

    Raises
    ------
    ConfigError
        The seed is negative, or a prompt loads a LoRA or hypernetwork by itself.
    """

    checkpoint: str
    loras: Loras
    prompts: tuple[str, ...]
    count: int
    seed: int
    steps: int
    guidance: float
    size: int
    negative: str = ""
    role: str = "suspicious model"

    def __post_init__(self) -> None:
        """Refuse what would make both sets of a test differ, or be alike, by itself."""
        if self.seed < 0:  # web UIs draw a random seed for -1
            raise ConfigError(
                f"The first seed is {self.seed}; expected 0 or more, so that both sets are made "
                "with the same seeds."
            )
        if any(loads_network(text) for text in (*self.prompts, self.negative)):
            raise ConfigError(
                "A prompt contains <lora:...>, <lyco:...> or <hypernet:...>, which would also be "
                "used for the reference; expected prompts without these. Remove it, and choose "
                "the LoRA from the list."
            )


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model.

    Attributes
    ----------
    checkpoint : Path
        The checkpoint.
    loras : tuple[tuple[Path, float], ...]
        The LoRAs and their weights.
    """

    checkpoint: Path
    loras: tuple[tuple[Path, float], ...] = ()


class ImageGenerator(Protocol):
    """A program that has checkpoints and LoRAs and can generate images with them."""

    def checkpoints(self) -> list[str]:
        """List the checkpoints.

        Returns
        -------
        list[str]
            Their titles, the loaded one first.
        """

    def loras(self) -> list[str]:
        """List the LoRA files.

        Returns
        -------
        list[str]
            Their names.
        """

    def files(self, checkpoint: str, loras: Loras) -> ModelFiles:
        """Find the files of a model.

        Parameters
        ----------
        checkpoint : str
            Title of the checkpoint, "" for the loaded one.
        loras : Loras
            The LoRAs and their weights.

        Returns
        -------
        ModelFiles
            Where they are.

        Raises
        ------
        ModelError, AdapterError
            There is no such checkpoint or LoRA.
        """

    def generate(self, request: ImageRequest, out: Path, progress: Progress) -> dict[str, Any]:
        """Generate images.

        Parameters
        ----------
        request : ImageRequest
            What to generate.
        out : Path
            Folder for ``request.count`` PNG files.
        progress : Progress
            Counts the images.

        Returns
        -------
        dict[str, Any]
            How the images were made, as plain values for the report.
        """
