"""All attacks by name, with their parameters, ranges and what they stand for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from siren_ext.attacks.attack import Attack, Parameter
from siren_ext.attacks.buckets import MAX_SIDE
from siren_ext.attacks.captions import drop_captions, replace_captions
from siren_ext.attacks.checks import image_batch, within
from siren_ext.attacks.codecs import jpeg, palette, webp
from siren_ext.attacks.colours import brightness, contrast, hue, saturation, sharpness
from siren_ext.attacks.editor import edit
from siren_ext.attacks.evade import evade
from siren_ext.attacks.handling import (
    aspect_bucket,
    colour_jitter,
    crop_jitter,
    mirror,
    platform_resize,
    several_resolutions,
)
from siren_ext.attacks.regenerate import (
    CODECS,
    img2img_denoise,
    learned_codec,
    regenerate,
    restore,
)
from siren_ext.attacks.rounding import half, int8
from siren_ext.attacks.transforms import (
    blur,
    centre_crop,
    noise,
    round_to_bits,
    super_resolution,
    text_overlay,
)
from siren_ext.attacks.uncoat import uncoat
from siren_ext.errors import ConfigError
from siren_ext.schema import shown


def _plain(function: Callable[..., Any]) -> dict[str, Parameter]:
    """Parameters with a function's own defaults."""
    return {
        name: Parameter(one.default)
        for name, one in inspect.signature(function).parameters.items()
        if one.kind is one.KEYWORD_ONLY
    }


def _edit(
    function: Callable[..., Any], stands_for: str, *, quick: bool = True, **known: Parameter
) -> Attack:
    return Attack(function, "edit", stands_for, _plain(function) | known, quick)


_FACTOR = Parameter(2.0, 0, 10, neutral=1.0, logarithmic=True)
_QUALITY = Parameter(50, 1, 100, neutral=100)

_EDITS: dict[str, Attack] = {
    "centre-crop": _edit(
        centre_crop,
        "cutting out a small part",
        keep=Parameter(0.1, 0.01, 1, neutral=1.0, logarithmic=True),
    ),
    "hue": _edit(hue, "shifting all colours", turn=Parameter(0.25, -0.5, 0.5, neutral=0.0)),
    "jpeg": Attack(
        jpeg, "codec", "saving at low quality", _plain(jpeg) | {"quality": _QUALITY}, True
    ),
    "noise": _edit(noise, "film grain", sigma=Parameter(0.05, 0, 1, neutral=0.0)),
    "brightness": _edit(brightness, "overexposing", factor=_FACTOR),
    "contrast": _edit(contrast, "raising the contrast", factor=_FACTOR),
    "palette": Attack(
        palette,
        "codec",
        "saving as GIF or 8-bit PNG",
        _plain(palette) | {"colours": Parameter(256, 2, 256)},
        True,
    ),
    "round": _edit(
        round_to_bits, "saving as an ordinary file", quick=False, bits=Parameter(8, 1, 8)
    ),
    "saturation": _edit(saturation, "stronger colours", factor=_FACTOR),
    "sharpness": _edit(sharpness, "sharpening", factor=_FACTOR),
    "blur": _edit(
        blur, "smoothing", kernel=Parameter(7, 1, 63), sigma=Parameter(1.4, 0, 20, neutral=0.0)
    ),
    "super-resolution": _edit(
        super_resolution,
        "shrinking, then upscaling again",
        shrink=Parameter(2.0, 1, 16, neutral=1.0, logarithmic=True),
    ),
    "text": _edit(text_overlay, "a caption or signature", height=Parameter(0.1, 0, 1, neutral=0.0)),
}


def combination(
    images: Tensor, generator: torch.Generator, *, count: int = 3, share: float = 0.5
) -> Tensor:
    """Several different edits of each image, in a random order, each at part of its strength.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator
        Draws the edits and what they draw.
    count : int
        Number of edits, from 0 to 12.
    share : float
        Their strength, from 0 to 1.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If a setting is out of range.
    ImageError
        If ``images`` is not a batch of images.
    MissingExtraError
        If kornia is not installed.

    References
    ----------
    SIREN (arXiv 2410.10437), Table X: three of the other transforms; their strength is not stated
    there, and half was chosen here.
    """
    names = [name for name in _EDITS if name != "round"]
    within("count", count, 0, len(names), whole=True)
    within("share", share, 0, 1)
    changed = []
    for image in torch.split(image_batch(images), 1):
        order = torch.randperm(len(names), generator=generator).tolist()
        for index in order[:count]:
            attack = _EDITS[names[index]]
            settings = attack.settings({"strength": share} if attack.scalable else {})
            if settings is not None:
                image = attack.function(image, generator, **settings)
        changed.append(image)
    return torch.cat(changed)


_GUIDANCE, _SIZE = Parameter(7.5, 1, 30), Parameter(0, 0, 4096)


_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("min_side", "max_side", "step"), (1, MAX_SIDE)),
    **dict.fromkeys(("rate", "brightness", "contrast", "saturation"), (0, 1)),
    "longest": (8, MAX_SIDE), "low": (0.01, 1), "high": (0.01, 1), "hue": (0, 180),
    "gamma": (0, 0.9),
}  # fmt: skip


def _handling(function: Callable[..., Any], stands_for: str, *, quick: bool = False) -> Attack:
    known = {
        name: Parameter(one.default, *_RANGES.get(name, ()))
        for name, one in _plain(function).items()
    }
    return Attack(function, "handling", stands_for, known, quick)


ATTACKS: Mapping[str, Attack] = {
    **_EDITS,
    "combination": _edit(
        combination,
        "several edits at once",
        count=Parameter(3, 0, 12, neutral=0),
        share=Parameter(0.5, 0, 1),
    ),
    "webp": Attack(
        webp, "codec", "saving as WebP", {"quality": Parameter(80, 0, 100, neutral=100)}, True
    ),
    "learned-codec": Attack(
        learned_codec,
        "codec",
        "a neural codec (needs CompressAI)",
        # neutral is the best quality that all codecs have
        _plain(learned_codec) | {"quality": Parameter(3, 1, 8, neutral=min(CODECS.values()))},
    ),
    "restore": Attack(
        restore,
        "regeneration",
        "degrading, then restoring",
        {
            "sigma": Parameter(0.03, 0, 1, neutral=0.0),
            "shrink": Parameter(1.5, 1, 16, neutral=1.0, logarithmic=True),
            "smooth": Parameter(0.1, 0, 1, neutral=0.0),
        },
        True,
    ),
    "regenerate": Attack(
        regenerate,
        "regeneration",
        "noise, removed by a diffusion model",
        _plain(regenerate)
        | {"step": Parameter(60, 0, 999, neutral=0), "guidance": _GUIDANCE, "size": _SIZE},
    ),
    "img2img": Attack(
        img2img_denoise,
        "regeneration",
        "image-to-image with a prompt",
        _plain(img2img_denoise)
        | {"strength": Parameter(0.35, 0, 1), "guidance": _GUIDANCE, "size": _SIZE},
    ),
    "edit": Attack(
        edit,
        "regeneration",
        "an image editor such as FLUX.1 Kontext (needs its folder)",
        _plain(edit) | {"steps": Parameter(28, 1, 1000), "guidance": Parameter(2.5, 0, 30)},
    ),
    "evade": Attack(
        evade,
        "evasion",
        "somebody who has a coater",
        _plain(evade)
        | {"radius": Parameter(8.0, 0, 64, neutral=0.0), "steps": Parameter(200, 1, 5000)},
    ),
    "uncoat": Attack(
        uncoat,
        "evasion",
        "somebody who trained a network on coated and clean pairs",
        {"file": Parameter("")},
    ),
    "resize": _handling(platform_resize, "publishing on a platform"),
    "crop": _handling(crop_jitter, "cropping a little", quick=True),
    "mirror": _handling(mirror, "mirrored training images"),
    "bucket": _handling(aspect_bucket, "training at fixed sizes"),
    "resolutions": _handling(several_resolutions, "training at several sizes"),
    "colour": _handling(colour_jitter, "training with colour jitter"),
    "replace-captions": Attack(
        replace_captions, "captions", "other captions", _plain(replace_captions)
    ),
    "drop-captions": Attack(
        drop_captions, "captions", "caption dropout", {"rate": Parameter(0.1, 0, 1)}
    ),
    "half": Attack(half, "weights", "a LoRA saved with 16 bits", _plain(half)),
    "int8": Attack(int8, "weights", "a LoRA rounded to 8 bits", {}),
}
"""Every attack by the name that commands, nodes and panels use."""


def attack_named(name: str) -> Attack:
    """Find an attack.

    Parameters
    ----------
    name : str
        A name in :data:`ATTACKS`.

    Returns
    -------
    Attack
        The attack.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    if name not in ATTACKS:
        raise ConfigError(
            f"There is no attack {shown(name)}; expected one of {', '.join(ATTACKS)}."
        )
    return ATTACKS[name]


def quick_attacks() -> tuple[str, ...]:
    """Names of the attacks on pictures that need no model and take a moment."""
    return tuple(name for name, attack in ATTACKS.items() if attack.quick)


def describe(name: str) -> str:
    """The settings of an attack in words, such as ``quality 50 (1 to 100)``.

    Parameters
    ----------
    name : str
        A name in :data:`ATTACKS`.

    Returns
    -------
    str
        All settings with defaults and ranges.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    parameters = attack_named(name).parameters
    return ", ".join(f"{key} {one.words()}" for key, one in parameters.items()) or "no settings"


def settings_named(name: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """The settings that are for one attack.

    Parameters
    ----------
    name : str
        A name in :data:`ATTACKS`.
    given : Mapping[str, Any]
        Settings by name. ``jpeg.quality`` is for the attack ``jpeg``; ``quality`` is for all
        attacks that have it.

    Returns
    -------
    settings : dict of str to Any
        By the attack's own names.
    used : set of str
        The keys of ``given`` that they come from.

    Raises
    ------
    ConfigError
        If there is no attack of that name.
    """
    names, prefix = attack_named(name).names, f"{name}."
    own = {key: value for key, value in given.items() if key in names}
    named = {key: value for key, value in given.items() if key.startswith(prefix)}
    used = {*own, *named}
    return own | {key.removeprefix(prefix): value for key, value in named.items()}, used
