"""The pocket model's contact sheet, and its model card with measured figures."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from siren_ext.data.images import to_uint8
from siren_ext.files import atomic

TEMPLATE = Path(__file__).resolve().parent / "model_card.md.jinja"

# half photo classes, half drawings; some combine a subject with a style that it never had
SHEET_PROMPTS = (
    "a photo of an airplane",
    "a photo of a motorbike",
    "a photo of a watch",
    "a photo of a leopard",
    "a photo of a bonsai",
    "a photo of a grand piano",
    "a photo of a sunflower",
    "a photo of a red apple",
    "a photo of a starfish",
    "a photo of a butterfly",
    "a photo of a helicopter",
    "a photo of a kangaroo",
    "a photo of a laptop",
    "a photo of an umbrella",
    "a photo of a ketch",
    "a photo of a cactus",
    "an emoji of red apple",
    "an emoji of tiger face",
    "an emoji of hamburger",
    "a flat emoji of cactus",
    "a flat emoji of tropical fish",
    "a flat emoji of school bus",
    "a line drawing of penguin",
    "an emoji of grand piano",
    "a line drawing of house",
    "a line drawing of sunflower",
    "a clip art of flower",
    "a clip art of housecats cat",
    "a picture of a dog",
    "a picture of a fire truck",
    "a picture of a tree",
    "a line drawing of motorbike",
)

CORPUS_PARTS = {
    "photo": ("Caltech-101 objects (no faces)", "CC BY 4.0", "10.22002/D1.20086"),
    "google": (
        "Noto Emoji (no people, flags, signs)",
        "Apache-2.0",
        "emoji-datasource-google 16.0.0",
    ),
    "twitter": (
        "Twemoji (no people, flags, signs)",
        "CC BY 4.0",
        "emoji-datasource-twitter 16.0.0",
    ),
    "openmoji": ("OpenMoji (no people, flags)", "CC BY-SA 4.0", "openmoji 17.0.0"),
    "clipart": ("Open Clip Art", "public domain", "Debian openclipart-png"),
    "stamp": (
        "Tux Paint stamps",
        "GPL-2 (art mostly public domain)",
        "Debian tuxpaint-stamps-default",
    ),
}


def contact_sheet(
    images: Sequence[Tensor], captions: Sequence[str], *, columns: int = 8, gap: int = 6
) -> Image.Image:
    """A sheet of pictures with their captions below.

    Parameters
    ----------
    images : sequence of Tensor
        Each 3 x H x W in [0,1], all of the same size.
    captions : sequence of str
        One per picture.
    columns : int
        Pictures per row.
    gap : int
        Pixels between pictures.
    """
    height, width = images[0].shape[1:]
    font = ImageFont.load_default()
    line = 12  # pixels: the default bitmap font is 11 high and 6 wide
    wrapped = [textwrap.wrap(caption, max(8, width // 6)) for caption in captions]
    cell_height = height + gap + line * max(len(lines) for lines in wrapped)
    rows = -(-len(images) // columns)
    size = (columns * (width + gap) + gap, rows * (cell_height + gap) + gap)
    sheet = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for index, (image, lines) in enumerate(zip(images, wrapped, strict=True)):
        left = gap + (index % columns) * (width + gap)
        top = gap + (index // columns) * (cell_height + gap)
        sheet.paste(Image.fromarray(np.ascontiguousarray(to_uint8(image))), (left, top))
        for number, text in enumerate(lines):
            draw.text((left, top + height + 2 + line * number), text, fill=(0, 0, 0), font=font)
    return sheet


def corpus_table(counts: dict[str, int]) -> list[dict[str, Any]]:
    """Rows for the card's table of the corpus.

    Parameters
    ----------
    counts : dict of str to int
        Number of pictures per source.

    Returns
    -------
    list of dict
        ``name``, ``licence``, ``origin`` and ``count`` of each source.
    """
    rows = []
    for source, count in counts.items():
        name, licence, origin = CORPUS_PARTS.get(source, (source, "unknown", ""))
        rows.append({"name": name, "licence": licence, "origin": origin, "count": count})
    return rows


def render_card(metrics: dict[str, Any]) -> str:
    """The model card in Markdown; it says which parts were not measured.

    Parameters
    ----------
    metrics : dict
        Content of ``metrics.json``, as :func:`siren_ext.pocket.evaluate.evaluate` returns it.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )  # Markdown with our own numbers needs no escaping
    environment.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    environment.filters["thousands"] = lambda number: f"{number:,}"
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(**metrics, corpus=corpus_table(metrics["corpus_counts"]))


def write_card(metrics: dict[str, Any], path: Path) -> None:
    """Write the model card, atomically.

    Parameters
    ----------
    metrics : dict
        As in :func:`render_card`.
    path : Path
        The file.
    """
    with atomic(path) as temporary:
        temporary.write_text(render_card(metrics), encoding="utf-8")
