"""The evaluation of the pocket model: contact sheet, splits, card, and one run on a tiny model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny_models import SIZE, need_models, save_tiny

from siren_ext.errors import ConfigError, DatasetError
from siren_ext.pocket import evaluate as module
from siren_ext.pocket.card import SHEET_PROMPTS, contact_sheet, render_card
from siren_ext.pocket.evaluate import EvaluateConfig, evaluate, split_photos
from siren_ext.pocket.fidelity import WIDTH
from siren_ext.pocket.reference import Corpus


class FakeBackbone:
    """A fixed random projection of tiny views in place of EfficientNet; counts its work."""

    def __init__(self) -> None:
        self.map = torch.randn(3 * 64, WIDTH, generator=torch.Generator().manual_seed(0))
        self.seen = 0

    def many(self, batches):
        rows = []
        for batch in batches:
            self.seen += len(batch)
            view = torch.nn.functional.interpolate(batch, (8, 8), mode="area")
            rows.append((view.flatten(1) @ self.map).numpy())
        return np.concatenate(rows)


def write_corpus(folder: Path, per_class: int = 10) -> Path:
    """Three photo classes of different colours and some drawings, at the tiny models' size."""
    rng = np.random.default_rng(0)
    images, rows = [], []
    for name, colour in (("cat", (220, 40, 40)), ("dog", (40, 220, 40)), ("bird", (40, 40, 220))):
        for _ in range(per_class):
            noise = rng.integers(-30, 30, (SIZE, SIZE, 3))
            images.append(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))
            rows.append({"caption": f"a photo of a {name}", "source": "photo"})
    for index in range(per_class):
        images.append(rng.integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8))
        rows.append({"caption": f"an emoji of thing {index}", "source": "google"})
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", np.stack(images))
    (folder / "captions.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


def some_metrics() -> dict:
    figures = {"fid_pca64": 12.345, "fid": 45.6, "kid": -0.0012}
    return {
        "model": {
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


def test_split_holds_out_a_fifth_and_caps_classes():
    captions = ["a"] * 50 + ["b"] * 10 + ["c"] * 20
    rows = np.arange(80)
    names, train, held = split_photos(captions, rows, 20, np.random.default_rng(0))
    assert names == ["a", "c", "b"]
    assert not set(train[:, 0]) & set(held[:, 0])
    for label, size in enumerate((20, 20, 10)):
        assert (train[:, 1] == label).sum() == size * 4 // 5
        assert (held[:, 1] == label).sum() == size // 5
    for row, label in np.concatenate([train, held]):
        assert captions[row] == names[label]


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


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="steps"):
        EvaluateConfig(steps=0)


def test_missing_corpus_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"siren_ext\.pocket\.corpus"):
        Corpus(tmp_path, tmp_path)


def test_corpus_with_lost_captions_is_refused(tmp_path: Path):
    write_corpus(tmp_path)
    rows = json.loads((tmp_path / "captions.json").read_text("utf-8"))
    (tmp_path / "captions.json").write_text(json.dumps(rows[:-1]), encoding="utf-8")
    with pytest.raises(DatasetError, match="equal numbers"):
        Corpus(tmp_path, tmp_path)


def test_corpus_features_are_computed_once(tmp_path: Path):
    corpus = Corpus(write_corpus(tmp_path), tmp_path / "cache")
    backbone = FakeBackbone()
    rows = np.array([3, 1, 3], np.int64)
    first = corpus.features(rows, backbone)
    assert backbone.seen == 2
    np.testing.assert_array_equal(first[0], first[2])
    direct = FakeBackbone().many(corpus.tensors(np.array([1])))
    np.testing.assert_allclose(first[1], direct[0], rtol=1e-5, atol=1e-5)
    again = Corpus(tmp_path, tmp_path / "cache").features(np.array([1, 2, 3]), backbone)
    assert backbone.seen == 3
    np.testing.assert_array_equal(again[0], first[1])


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_models()
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.mark.models
def test_pictures_do_not_depend_on_batching(tiny_model: Path):
    pipeline = module.load_pipeline(tiny_model, device="cpu", dtype=torch.float32)
    prompts = ["a cat", "a dog", "a cat"]
    config = EvaluateConfig(steps=2, batch=3)
    whole = torch.cat(list(module.generate(pipeline, prompts, config, first_seed=5)))
    single = dataclasses.replace(config, batch=1)
    parts = torch.cat(list(module.generate(pipeline, prompts, single, first_seed=5)))
    assert whole.shape == (3, 3, SIZE, SIZE)
    assert (whole - parts).abs().max() <= 1.5 / 255
    assert (whole[0] - whole[2]).abs().max() > 2 / 255  # same prompt, another seed


@pytest.mark.models
def test_whole_evaluation_on_a_tiny_model(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "Eff0", FakeBackbone)
    unseen = tmp_path / "faces"
    unseen.mkdir()
    for index in range(3):
        Image.new("RGB", (40, 50), (index * 40, 90, 120)).save(unseen / f"{index}.png")
    config = EvaluateConfig(generated=8, per_class=2, classes=2, reconstruct=4, steps=2)
    out = tmp_path / "out"
    metrics = evaluate(
        tiny_model,
        write_corpus(tmp_path / "corpus"),
        out,
        config,
        unseen=[("photo", unseen)],
        training={"steps": 10},
        device="cpu",
    )
    assert json.loads((out / "metrics.json").read_text("utf-8"))["settings"]["steps"] == 2
    assert set(metrics["reconstruction"]) == {
        "corpus photos",
        "corpus drawings",
        "sample set",
        "faces",
    }
    assert metrics["reconstruction"]["faces"]["pictures"] == 3
    assert metrics["eff0"]["all"]["reference"] == 32
    # real pictures are nearer to real ones than what a random model makes
    part = metrics["eff0"]["all"]
    assert part["real"]["fid"] < part["generated"]["fid"]
    found = metrics["recognition"]
    assert found["classes"] == 3
    assert found["held_out_accuracy"] == 1.0
    assert set(found["per_class"]) == {"a photo of a bird", "a photo of a cat"}
    assert Image.open(out / "contact_sheet.png").width > 8 * SIZE
    assert "| steps | 10 |" in (out / "MODEL_CARD.md").read_text("utf-8")
