"""Text is readable on the tint of every card, on pages with and without a dark class."""

from __future__ import annotations

import re

import pytest
from support.webui import EXTENSION

Colour = tuple[float, float, float, float]
RULES = dict(re.findall(r"(--[a-z-]+): ([^;]+);", (EXTENSION / "style.css").read_text()))
HUES = re.findall(r"--hue: (#[0-9a-f]{6})", (EXTENSION / "style.css").read_text())
PAGES = {
    "SD.Next, black-teal": ("#404040", "#e0e0e0"),
    "SD.Next, black page": ("#101010", "#e0e0e0"),
    "Gradio, light": ("#ffffff", "#1f2937"),
    "Gradio, dark": ("#0b0f19", "#f3f4f6"),
}


def of_hex(text: str) -> Colour:
    red, green, blue = (int(text[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue, 1.0


def colour(text: str, ink: str, hue: str) -> Colour:
    """A colour of the style sheet. With ``transparent``, a mix changes the opacity only."""
    text = text.replace("var(--ink)", ink).replace("var(--hue)", hue)
    mixed = re.fullmatch(r"color-mix\(in srgb, (#\w{6}) (\d+)%, (#\w{6}|transparent)\)", text)
    if mixed is None:
        return of_hex(text)
    first, share = of_hex(mixed[1]), int(mixed[2]) / 100
    if mixed[3] == "transparent":
        return (*first[:3], share)
    second = of_hex(mixed[3])
    red, green, blue = (
        a * share + b * (1 - share) for a, b in zip(first[:3], second[:3], strict=True)
    )
    return red, green, blue, 1.0


def over(top: Colour, below: Colour) -> Colour:
    red, green, blue = (
        a * top[3] + b * (1 - top[3]) for a, b in zip(top[:3], below[:3], strict=True)
    )
    return red, green, blue, 1.0


def luminance(value: Colour) -> float:
    """Relative luminance of WCAG 2."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in value[:3]
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(text: Colour, below: Colour) -> float:
    high, low = sorted((luminance(over(text, below)), luminance(below)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("hue", HUES)
@pytest.mark.parametrize("page", PAGES)
def test_contrast(page: str, hue: str) -> None:
    background, ink = PAGES[page]
    values = {name: colour(text, ink, hue) for name, text in RULES.items() if name != "--ink"}
    card = over(values["--tone-bg"], of_hex(background))
    inner = over(values["--card"], card)
    note = over(values["--note-bg"], of_hex(background))
    assert contrast(of_hex(ink), card) > 4.5
    assert contrast(of_hex(ink), note) > 4.5
    assert contrast(values["--note"], note) > 3
    assert contrast(values["--soft"], inner) > 4.5
    assert contrast(values["--tone"], card) > 3  # 28 px, bold
    assert len(HUES) == 4
