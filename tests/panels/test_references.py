"""Reference models: images, files of scores, or both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.noise_files import noise_folder

from siren_ext.errors import DatasetError, ScoreError
from siren_ext.panels import html as cards
from siren_ext.panels.actions import verify_step
from siren_ext.panels.host import PanelHost
from siren_ext.panels.references import check_references, reference_paths
from siren_ext.scoring.score import score_folder
from siren_ext.verdict.models import models_of


def stored(host: PanelHost, folder: Path, seed: int, count: int = 6) -> Path:
    """File of the scores of a model."""
    file = folder / f"clean {seed}.json"
    images = noise_folder(folder / f"r{seed}", count, seed, 255)
    score_folder(images, host.coaters.load("mine.safetensors")).save(file)
    return file


def test_scores_stand_in_for_reference_images(host: PanelHost, tmp_path: Path) -> None:
    first, second = noise_folder(tmp_path / "s", 5, 1, 255), noise_folder(tmp_path / "r", 6, 2, 255)
    coater = host.coaters.load("mine.safetensors")
    direct = verify_step(first, second, coater, host.jobs.new("t"))
    scores = tmp_path / "clean.json"
    direct.reference.save(scores)
    check_references([str(scores)], "", host)
    assert reference_paths([str(scores)], "", host, tmp_path / "job") == [scores]
    again = verify_step(first, scores, coater, host.jobs.new("t"))
    assert again.verdict.finding == direct.verdict.finding
    other = host.coaters.load("samples")
    with pytest.raises(ScoreError, match="another coater"):
        verify_step(first, scores, other, host.jobs.new("t"))


def test_each_file_of_scores_is_a_model_and_all_images_are_one(
    host: PanelHost, tmp_path: Path
) -> None:
    suspect = noise_folder(tmp_path / "s", 5, 1, 255)
    files = [stored(host, tmp_path, seed) for seed in (2, 3)]
    images = sorted(noise_folder(tmp_path / "third", 7, 4, 255).glob("*.png"))
    table = tmp_path / "metadata.json"  # of captions
    table.write_text(json.dumps({images[0].name: "a fox"}))
    given = [str(path) for path in (files[0], *images, table, files[1])]
    check_references(given, "", host)
    found = reference_paths(given, "", host, tmp_path / "job")
    assert found[:2] == files
    assert found[2].is_dir()
    coater = host.coaters.load("mine.safetensors")
    done = verify_step(suspect, found, coater, host.jobs.new("t"), alpha=0.1)
    assert [len(model) for model in models_of(done.reference)] == [6, 6, 7]
    assert [finding.test for finding in done.verdict.findings] == ["models", "ks"]
    assert done.verdict.test == "models"
    card = cards.verdict_card(done.verdict)
    assert "Comparison with several reference models (decides)" in card
    assert "Comparison with a reference model" in card
    # a folder that was typed is a model beside those of the files
    again = reference_paths([str(one) for one in files], str(tmp_path / "third"), host, tmp_path)
    assert again == [*files, tmp_path / "third"]


def test_what_is_no_reference(host: PanelHost, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="No reference images were given"):
        check_references(None, "", host)
    with pytest.raises(DatasetError, match="No reference images were given"):
        reference_paths(None, "", host, tmp_path / "job")
    file = stored(host, tmp_path, 2)
    suspect, coater = noise_folder(tmp_path / "s", 5, 1, 255), host.coaters.load("mine.safetensors")
    with pytest.raises(ScoreError, match="Reference models 1 and 2 are the same images"):
        verify_step(suspect, [file, file], coater, host.jobs.new("t"))
