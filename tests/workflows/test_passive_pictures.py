"""A report from pictures alone, or from a model that makes and redraws some."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support.owned_sets import owned_sets, picture
from support.tiny_models import need_models, shared_model

need_models()
pytestmark = pytest.mark.models

from siren_ext.data.dataset import ImageSet  # noqa: E402
from siren_ext.errors import ConfigError, DatasetError  # noqa: E402
from siren_ext.passive.config import LikenessConfig  # noqa: E402
from siren_ext.passive.judge_config import JudgeConfig  # noqa: E402
from siren_ext.progress import NULL, Progress  # noqa: E402
from siren_ext.report.check import check_report  # noqa: E402
from siren_ext.suspects.base import Mimicry, Missed, PromptPlan  # noqa: E402
from siren_ext.suspects.folder import FolderSuspect  # noqa: E402
from siren_ext.suspects.responses import Refused  # noqa: E402
from siren_ext.workflows import passive_pictures  # noqa: E402
from siren_ext.workflows.passive_evidence import PassiveEvidence  # noqa: E402

QUICK = JudgeConfig(permutations=999, control_permutations=99)


@pytest.fixture
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon"))


def folder_of(place: Path, seeds: Sequence[int]) -> Path:
    """Pictures that resemble the images of these seeds: the same, darker."""
    place.mkdir(parents=True)
    for seed in seeds:
        made = picture(seed, (40, 36))
        made.point(lambda value: value * 0.8).save(place / f"{seed}.png")
    return place


def evidence(folders: tuple[Path, Path], suspect: Any, out: Path, **values: Any) -> PassiveEvidence:
    sets = [ImageSet.open(folder) for folder in folders]
    measured = values.pop("measured")
    return passive_pictures.picture_evidence(*sets, suspect, out, measured, QUICK, **values)


def test_pictures_that_resemble_published_images_are_found_and_called_weak(
    tmp_path: Path, encoder: str
) -> None:
    folders = owned_sets(tmp_path, 20)
    pictures = FolderSuspect(folder_of(tmp_path / "pictures", range(20)))
    clean = FolderSuspect(folder_of(tmp_path / "clean", range(500, 520)))
    measured = LikenessConfig(encoder=encoder, resolution=64, nearest=1)
    found = evidence(folders, pictures, tmp_path / "report", measured=measured, control=clean)
    verdict = found.verdict
    assert verdict.outcome == "nearer to the published pictures than to the unpublished ones"
    assert "weak evidence and no accusation" in verdict.headline
    assert [control.name for control in verdict.controls] == ["model", "looks"]
    assert any("images were not redrawn" in text for text in verdict.warnings)
    assert check_report(tmp_path / "report").sound
    page = found.report.html.read_text(encoding="utf-8")
    assert "Are this model's pictures nearer to the published images?" in page
    assert "20 pictures of the suspicious model were compared, and 20 of the control." in page
    assert "The owner&#39;s images were not redrawn." in page
    assert "better known to the model" not in page
    assert "It does not show that the model was trained on the published images" in page
    for word in ("training counts as found", "How much was used?", "CDI"):
        assert word not in page


def test_unrelated_pictures_are_no_nearer_and_a_copy_is_named(tmp_path: Path, encoder: str) -> None:
    folders = owned_sets(tmp_path, 20)
    pictures = folder_of(tmp_path / "pictures", range(500, 520))
    shutil.copy(folders[0] / "0.png", pictures / "copy.png")
    measured = LikenessConfig(encoder=encoder)
    found = evidence(folders, FolderSuspect(pictures), tmp_path / "report", measured=measured)
    assert found.verdict.outcome == "no nearer to the published pictures"
    assert "This does not clear the model" in found.verdict.headline
    assert [control.name for control in found.verdict.controls] == ["looks"]
    text = "1 of the suspect's pictures are nearly copies of published images"
    assert any(text in warning for warning in found.verdict.warnings)


class Drawing:
    """Makes a picture for each prompt, and redraws what it is given."""

    def __init__(self, missing: int = -1) -> None:
        self.prompts: list[str] = []
        self.missing = missing

    def describe(self) -> dict[str, Any]:
        return {"kind": "drawing"}

    def generate(
        self, plan: PromptPlan, *, indices: Sequence[int] | None = None, progress: Progress = NULL
    ) -> Iterator[Mimicry | Missed]:
        for index in range(plan.count) if indices is None else indices:
            self.prompts.append(plan.prompt(index))
            if index == self.missing:
                yield Missed(index, "refused")
                continue
            noise = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(index))
            yield Mimicry(noise, index, plan.prompt(index), index)


def test_pictures_are_requested_for_both_sets_and_images_are_redrawn(
    tmp_path: Path, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = owned_sets(tmp_path, 20)
    for folder in folders:
        for file in folder.glob("*.png"):
            file.with_suffix(".txt").write_text(f"{folder.name} {file.stem}")

    def redraw(image: torch.Tensor, plan: PromptPlan, index: int, strength: float) -> torch.Tensor:
        return image if plan.prompt(index).startswith("p ") else 1 - image

    monkeypatch.setattr(passive_pictures, "redrawer", lambda *_, **__: (redraw, ""))
    suspect, measured = Drawing(), LikenessConfig(encoder=encoder)
    found = evidence(folders, suspect, tmp_path / "report", measured=measured)
    assert sorted(suspect.prompts) == sorted(f"{kind} {row}" for kind in "pu" for row in range(20))
    kept = json.loads((tmp_path / "report" / "report.json").read_text())
    assert kept["published"]["names"][2:] == ["redraw_30", "redraw_50", "redraw_70"]
    assert kept["published"]["source"]["redrawn"]
    assert max(row["values"][2] for row in kept["published"]["rows"]) < 1e-6
    assert found.verdict.outcome.startswith("nearer")
    assert not list(tmp_path.glob("*.partial"))


def test_captions_of_one_set_count_only_where_they_are_asked_for(
    tmp_path: Path, encoder: str
) -> None:
    folders = owned_sets(tmp_path, 20)
    for file in folders[0].glob("*.png"):
        file.with_suffix(".txt").write_text(f"published {file.stem}")
    suspect, measured = Drawing(), LikenessConfig(encoder=encoder, redraws=False)
    with pytest.raises(DatasetError, match="100% of the published and 0% of the unpublished"):
        evidence(folders, suspect, tmp_path / "r", measured=measured)
    found = evidence(folders, suspect, tmp_path / "r", measured=measured, captions=False)
    assert set(suspect.prompts) == {"an image"}
    kept = json.loads(found.report.html.with_name("report.json").read_text())
    assert kept["published"]["source"]["captions"] == "none"
    pictures = FolderSuspect(folder_of(tmp_path / "pictures", range(500, 512)))
    assert evidence(folders, pictures, tmp_path / "other", measured=measured).report.html.is_file()


def test_what_a_model_refuses_is_noted(
    tmp_path: Path, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = owned_sets(tmp_path, 20)

    def refuse(*_: Any) -> torch.Tensor:
        raise Refused("The picture is of a flat colour.")

    monkeypatch.setattr(passive_pictures, "redrawer", lambda *_, **__: (refuse, ""))
    suspect, measured = Drawing(missing=3), LikenessConfig(encoder=encoder)
    warnings = evidence(folders, suspect, tmp_path / "r", measured=measured).verdict.warnings
    assert "The picture is of a flat colour. So images were not redrawn." in warnings
    assert "1 of 40 pictures of the suspect could not be made." in warnings
    assert len(suspect.prompts) == 40
    evidence(folders, suspect, tmp_path / "r", measured=measured)
    assert len(suspect.prompts) == 41  # only the missing one was requested again


def test_too_few_pictures_and_the_same_model_twice_are_refused(
    tmp_path: Path, encoder: str
) -> None:
    folders = owned_sets(tmp_path, 20)
    few = FolderSuspect(folder_of(tmp_path / "few", range(3)))
    measured = LikenessConfig(encoder=encoder)
    with pytest.raises(
        ConfigError, match="There are 3 pictures of the suspect; expected at least 10"
    ):
        evidence(folders, few, tmp_path / "report", measured=measured)
    with pytest.raises(ConfigError, match="are the same, so there is nothing to compare"):
        evidence(folders, few, tmp_path / "report", measured=measured, control=few)
