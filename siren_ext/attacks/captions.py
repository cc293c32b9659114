"""What ordinarily happens to captions."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from siren_ext.attacks.checks import within
from siren_ext.errors import ConfigError


def replace_captions(
    captions: Sequence[str], generator: torch.Generator, *, texts: Sequence[str] = ("an image",)
) -> list[str]:
    """Give every image another caption, as someone who downloads images without captions does.

    Parameters
    ----------
    captions : Sequence[str]
        One per image.
    generator : torch.Generator
        Draws a text for each image; on the CPU.
    texts : Sequence[str]
        The texts to choose from. One trigger phrase for all images is usual, for example in
        DreamBooth (arXiv 2208.12242, section 3.2: "a [identifier] [class noun]").

    Returns
    -------
    list[str]
        As many as there were captions.

    Raises
    ------
    ConfigError
        If ``texts`` is empty or not a list of texts.
    """
    good = not isinstance(texts, str) and all(isinstance(text, str) for text in texts)
    if not good or not texts:
        raise ConfigError(f"texts is {texts!r}; expected a list of at least one text.")
    draws = torch.randint(len(texts), (len(captions),), generator=generator)
    return [texts[int(draw)] for draw in draws]


def drop_captions(
    captions: Sequence[str], generator: torch.Generator, *, rate: float = 0.1
) -> list[str]:
    """Replace some captions with the empty text (sd-scripts: ``--caption_dropout_rate``).

    Parameters
    ----------
    captions : Sequence[str]
        One per image.
    generator : torch.Generator
        Draws which ones; on the CPU.
    rate : float
        Probability for each caption, from 0 to 1. sd-scripts drops none by default; 0.1 is what
        Stable Diffusion 1.5 was trained with, for guidance (arXiv 2207.12598, algorithm 1).

    Returns
    -------
    list[str]
        As many as there were captions.

    Raises
    ------
    ConfigError
        If ``rate`` is out of range.
    """
    within("rate", rate, 0, 1)
    draws = torch.rand(len(captions), generator=generator)
    return ["" if float(draw) < rate else text for draw, text in zip(draws, captions, strict=True)]
