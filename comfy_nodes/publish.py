"""What was coated, in words, and the node that saves coated images for publication."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from comfy_api.latest import io
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from . import convert, example_key, paths, shown
from .types import CATEGORY, Coating, CoatingSocket, schema

PROTECTED = "Protected"
TRY_OUT = "Public coater: try-out only"
_NO_KEY = (
    "This coating has no key, so a later test can only compare a model with a reference. A keyed "
    "coater with a key of your own gives a stronger test."
)
_NOTHING = (
    "Nothing was added to {which}: the mask covers the whole image, or the strength is 0. Where "
    "you paint the mask, no coating is added."
)


def is_public(coater: Any) -> bool:
    """Whether everybody has this coater, under whatever file name.

    Parameters
    ----------
    coater : Coater
        A coater.

    Returns
    -------
    bool
        True for the bundled ones.
    """
    from siren_ext.coater.bundled import public_coaters

    return coater.fingerprint in public_coaters()


def protection(coater: Any, *, key: bool) -> tuple[str, list[str]]:
    """What a coating by this coater is worth.

    Parameters
    ----------
    coater : Coater
        The coater.
    key : bool
        Whether a key was used.

    Returns
    -------
    tuple[str, list[str]]
        :data:`PROTECTED` or :data:`TRY_OUT`, and what to know about it.
    """
    from siren_ext.coater.bundled import public_warning

    name = f"Coater {coater.fingerprint[:12]}"
    if public := public_warning(coater.fingerprint):
        return TRY_OUT, [public]
    return PROTECTED, [f"{name}, with your key." if key else f"{name}. {_NO_KEY}"]


def require_key(coater: Any, key: Any) -> None:
    """Refuse a keyed coater without a key, in the words of the nodes.

    Parameters
    ----------
    coater, key
        The coater; the key, None for none.

    Raises
    ------
    CoaterError
        The coater is keyed and there is no key.
    EvidenceError
        A coater of one's own would write the key of the example, which everybody has.
    """
    from siren_ext.errors import CoaterError

    if not is_public(coater):
        example_key.require_own(key)

    if coater.keyed and key is None:
        raise CoaterError(
            "This coater is keyed and no key is connected. Connect Load Key to the input 'key', or "
            "New Key if you have none yet."
        )


def pixels_of(image: Tensor) -> NDArray[np.uint8]:
    """The pixels that Save Image would write.

    Parameters
    ----------
    image : Tensor
        One image, H x W x C, in [0,1].

    Returns
    -------
    array, shape (H, W, C)
        uint8.
    """
    numbers = image.detach().float().cpu().numpy()
    values: NDArray[np.uint8] = np.clip(255.0 * numbers, 0, 255).astype(np.uint8)
    return values


def digest_of(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of an image's size and colours; transparency is left out.

    Parameters
    ----------
    pixels : array, shape (H, W, C)
        uint8.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    colours = np.ascontiguousarray(pixels[..., :3])
    return hashlib.sha256(f"{colours.shape}".encode() + colours.tobytes()).hexdigest()


def coating_of(coater: Any, key: Any, digests: Sequence[str], untouched: Sequence[int]) -> Coating:
    """The record that Coat Image passes to Save Coated Image.

    Parameters
    ----------
    coater, key
        What coated the images; key is None for none.
    digests : Sequence[str]
        :func:`digest_of` of the coated images.
    untouched : Sequence[int]
        Numbers, from 1, of the images to which nothing was added.

    Returns
    -------
    Coating
        The record.
    """
    title, lines = protection(coater, key=key is not None)
    return Coating(
        title, tuple(lines), frozenset(digests), frozenset(digests[n - 1] for n in untouched)
    )


def nothing_added(numbers: Sequence[int], count: int) -> list[str]:
    """A warning about images to which nothing was added.

    Parameters
    ----------
    numbers : Sequence[int]
        Their numbers, from 1.
    count : int
        Number of all images.

    Returns
    -------
    list[str]
        One sentence, or none.
    """
    if not numbers:
        return []
    which = f"image {', '.join(map(str, numbers[:8]))}{' ...' if len(numbers) > 8 else ''}"
    return [_NOTHING.format(which="the image" if count == 1 else which)]


class SaveCoatedImage(io.ComfyNode):
    """Saves coated images for publication."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenSaveCoatedImage",
            display_name="Save Coated Image",
            category=CATEGORY,
            description="Saves coated images as PNG without the workflow or any other metadata, "
            "ready to publish, and shows whether they are protected.",
            search_aliases=["save image without metadata", "publish", "protect image", "watermark"],
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The coated images from Coat Image, unchanged."),
                CoatingSocket.Input("record", tooltip="The record from the same Coat Image."),
                io.String.Input(
                    "save_as",
                    default="siren/publish",
                    tooltip="Name of the files inside ComfyUI's output folder. A number is added. "
                    "Images coated with a public coater also get 'try-out' in their names.",
                ),
            ],
            outputs=[
                io.String.Output(
                    "files",
                    display_name="files",
                    tooltip="The saved files, one per line, relative to the output folder.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, save_as: str | None = None) -> bool | str:
        return paths.input_check(paths.new_output, save_as)

    @classmethod
    def execute(cls, images: Tensor, record: Coating, save_as: str) -> io.NodeOutput:
        from siren_ext.files import atomic

        convert.to_core(images)  # refuses what can't be saved as it is shown
        name = save_as if record.title == PROTECTED else f"{save_as}_try-out"
        saved, untouched, unknown = [], [], []
        for number, image in enumerate(images, start=1):
            pixels = pixels_of(image)
            digest = digest_of(pixels)
            if digest in record.untouched:
                untouched.append(number)
            elif digest not in record.digests:
                unknown.append(number)
            path = paths.free_output(name, ".png")
            with atomic(path) as temporary:
                Image.fromarray(pixels).save(temporary, "PNG")
            saved.append(path.relative_to(paths.output_folder()))
        return io.NodeOutput(
            "\n".join(path.as_posix() for path in saved),
            ui=_pictures(saved) | _saved(record, saved, untouched, unknown),
        )


def _pictures(saved: Sequence[Any]) -> dict[str, Any]:
    """The saved files as the front end previews them."""
    entries = [
        {"filename": path.name, "subfolder": path.parent.as_posix(), "type": "output"}
        for path in saved
    ]
    return {"images": [entry | {"subfolder": entry["subfolder"].lstrip(".")} for entry in entries]}


def _saved(
    record: Coating, saved: Sequence[Any], untouched: Sequence[int], unknown: Sequence[int]
) -> dict[str, Any]:
    """What the node shows about the saved files."""
    lines = list(record.lines)
    if unknown:
        numbers = ", ".join(map(str, unknown[:8]))
        lines.append(
            f"Image {numbers} is not as Coat Image made it: a node in between changed it, which "
            "weakens or removes the coating. Connect Coat Image directly."
        )
    lines += nothing_added(untouched, len(saved))
    lines.append(f"Saved without metadata: {', '.join(path.name for path in saved[:4])}")
    bare = untouched or unknown
    title = "Not coated" if len(untouched) == len(saved) else record.title
    if bare and title == PROTECTED:
        title = "Not all images are protected"
    return shown.shown(title, lines, tone="good" if title == PROTECTED else "warn")
