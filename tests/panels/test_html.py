"""Failures become messages."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import UNSET

from siren_ext.coater.bundled import public_coaters
from siren_ext.errors import Cancelled, ScoreError
from siren_ext.panels import html as cards
from siren_ext.preference.tint import Likeness


def test_failures_become_messages() -> None:
    def fail() -> tuple[str]:
        raise ScoreError("<b>bad</b> /home/someone/secret/file.png")

    def break_down() -> tuple[str]:
        raise ZeroDivisionError

    text, blank = cards.attempt(fail, (None,))
    assert "&lt;b&gt;bad" in text
    assert "/home/someone" not in text
    assert blank is None
    # the page also shows it in a bubble of Gradio's, as it is
    assert cards.fault_of(fail).startswith("<b>bad</b>")
    assert "/home/someone" not in cards.fault_of(fail)
    assert "ZeroDivisionError" in cards.attempt(break_down, ())[0]

    def stop() -> tuple[str]:
        raise Cancelled

    assert "Stopped" in cards.attempt(stop, ())[0]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/siren_coat_x/coated.zip"),
         "…/coated.zip can&#39;t be read or written (No space left on device); check the path"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
         "not enough free memory for this step"),
    ],
)  # fmt: skip
def test_a_full_disk_and_full_memory_are_told(error: Exception, words: str) -> None:
    def fail() -> tuple[str]:
        raise error

    text = cards.attempt(fail, ())[0]
    assert words in text
    assert "unexpected" not in text


def coated(*pairs: tuple[float, float, float], coater: str = "mine") -> Any:
    """What coating gives: PSNR, score before and score after of each image."""
    entries = [
        SimpleNamespace(
            coated=True,
            output=f"{number}.png",
            size=(8, 8),
            psnr_db=psnr,
            clean_score=before,
            coated_score=after,
            compression=UNSET,
        )
        for number, (psnr, before, after) in enumerate(pairs)
    ]
    manifest = SimpleNamespace(
        entries=entries, failures=[], coater=coater, key="", notes=lambda: {}
    )
    return SimpleNamespace(manifest=manifest, stopped=False)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([(40, 2, 1), (39, 2, 1)], ["The change is hard to see.", "in every image."]),
        ([(40, 2, 1), (30, 2, 1)], ["The change may be visible in some images"]),
        (
            [(40, 2, 1), (40, 1, 2)],
            ["in 1 of 2 images.", "Coat the others again with a higher strength"],
        ),
    ],
)
def test_a_coating_is_described_in_plain_words(
    pairs: list[tuple[float, float, float]], words: list[str]
) -> None:
    card = " ".join(cards.coat_card(coated(*pairs)).split())
    for text in words:
        assert text in card
    assert card.index("<summary>The figures</summary>") < card.index("PSNR")
    assert "Public coater" not in card


def test_single_scores_of_a_keyed_coating_say_nothing() -> None:
    """A score is the distance to the nearest message, so the coating may raise it."""
    done = coated((40, 1, 2), (40, 2, 1))
    done.manifest.key = "f" * 64
    card = " ".join(cards.coat_card(done).split())
    assert "fingerprint ffffffffffff" in card
    assert "The message is read from many images together" in card
    assert "The detector sees" not in card
    assert "higher strength" not in card
    assert "lower score" not in card


def test_a_public_coater_is_named_on_the_card() -> None:
    for fingerprint in public_coaters():
        card = cards.coat_card(coated((40, 2, 1), coater=fingerprint))
        assert "Public coater: try-out only." in card


def test_the_learnt_tint_is_shown_with_its_figures() -> None:
    rng = np.random.default_rng(1)
    learnt = rng.normal(0, 0.01, (3, 32, 32)).astype(np.float32)
    card = cards.tint_card(Likeness(learnt, 2 * learnt, 0, 1000))
    assert "Their correlation is 1.00" in card
    assert "0 of 1,000 random messages" in card
    assert card.count('<img src="data:image/png;base64,') == 2
    assert "What the model adds, &times; " in card
    assert cards.tint_card(None) == ""
