"""The card of the pocket model: contact sheet, figures, licences."""

from __future__ import annotations

import numpy as np
import torch

from siren_ext.pocket.card import SHEET_PROMPTS, contact_sheet, render_card
from siren_ext.pocket.measure import EvaluateConfig


def some_metrics() -> dict:
    figures = {"fid_pca64": 12.345, "fid": 45.6, "kid": -0.0012}
    return {
        "model": {
            "name": "Pocket model",
            "prediction": "v_prediction",
            "pictures": 15_901,
            "size": 128,
            "fingerprint": "abc123",
            "bytes": 30_500_000,
            "parameters": {"UNet": 10_900_000, "text encoder": 1_300_000},
            "scheduler": "DDIMScheduler",
            "corpus_images": 15_901,
        },
        "settings": EvaluateConfig().to_dict(),
        "corpus_counts": {"photo": 7807, "google": 1026},
        "training": {"steps": 9000, "hours": 4.5},
        "reconstruction": {
            "faces": {"kind": "photo", "pictures": 20, "psnr_db": 21.126, "psnr_db_p10": 18.2}
        },
        "eff0": {
            "all": {
                "pictures": 500,
                "reference": 15_401,
                **dict.fromkeys(("generated", "autoencoder", "real"), figures),
            }
        },
        "recognition": {
            "classes": 99,
            "chance": 1 / 99,
            "train_pictures": 6000,
            "held_out_pictures": 1500,
            "held_out_accuracy": 0.91,
            "held_out_accuracy_by_class": 0.88,
            "held_out_same_classes": 0.95,
            "held_out_autoencoder": 0.9,
            "images_per_class": 20,
            "recognised": 0.625,
            "per_class": {"a photo of a cat": 0.65},
        },
        "seconds": 3.0,
    }


def test_sheet_has_32_distinct_prompts_half_of_them_photos():
    assert len(set(SHEET_PROMPTS)) == len(SHEET_PROMPTS) == 32
    assert sum(prompt.startswith("a photo") for prompt in SHEET_PROMPTS) == 16


def test_contact_sheet_lays_pictures_in_rows_with_captions_below():
    images = [torch.full((3, 64, 64), i / 10) for i in range(10)]
    sheet = np.asarray(contact_sheet(images, [f"caption number {i}" for i in range(10)], gap=4))
    # cells are found where a row and column of the layout say they are
    step = 64 + 4
    height = sheet.shape[0]
    assert sheet.shape[1] == 8 * step + 4
    assert sheet[4 + 32, 4 + 3 * step + 32].tolist() == [round(0.3 * 255)] * 3
    second = (height - 4) // 2 + 4
    assert sheet[second + 32, 4 + step + 32].tolist() == [round(0.9 * 255)] * 3
    caption = sheet[4 + 64 : second - 4, 4 : 4 + 64]
    assert (caption < 128).any()


def test_card_holds_figures_and_licences():
    card = render_card(some_metrics())
    for text in (
        "12,200,000",  # all parameters
        "30.5 MB",
        "| steps | 9000 |",
        "21.13",
        "-0.0012",
        "**62.5 %**",
        "| a photo of a cat | 65.0 % |",
        "CC BY 4.0",
        "Apache-2.0",
        "TAESD",
    ):
        assert text in card, text
    assert "{{" not in card
    assert "{%" not in card
    tables = [line for line in card.splitlines() if line.startswith("| ---")]
    assert len(tables) >= 7


def test_card_says_what_was_not_measured():
    metrics = some_metrics() | {"training": None, "recognition": None}
    card = render_card(metrics)
    assert "No training log was given" in card
    assert "Not measured." in card


def test_card_of_a_model_that_predicts_noise_and_saw_a_part_of_the_corpus() -> None:
    metrics = some_metrics()
    whole = render_card(metrics)
    assert "velocity (as Stable Diffusion 2 does)" in whole
    assert "spread evenly" not in whole
    metrics["model"] |= {"prediction": "epsilon", "pictures": 8000}
    part = render_card(metrics)
    assert "noise (as Stable Diffusion 1 does)" in part
    assert "scratch on 8,000 captioned\npictures at 128 px, spread evenly over" in part
    assert "on\nmany corpus pictures" in part
