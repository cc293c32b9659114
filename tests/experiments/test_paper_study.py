"""Rows of the paper's tables on a tiny model: made once, resumed, and written to a page."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from support.paper_studies import TINY, tiny_study
from support.tiny_models import draw_images, shared_model
from typer.testing import CliRunner

from siren_ext.attacks.apply import Step
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.experiments import __main__ as program
from siren_ext.experiments import paper_study
from siren_ext.experiments.paper_cells import Cell, Made, PaperConfig
from siren_ext.experiments.paper_study import PaperStudy
from siren_ext.personalize.consistency import ConsistencyConfig, distil
from siren_ext.preference import patterns


@pytest.fixture
def study(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> PaperStudy:
    return tiny_study(tmp_path, tmp_path_factory.getbasetemp())


def files(study: PaperStudy, kind: str) -> set[str]:
    return {path.name for path in (study.out / kind).glob("*") if not path.name.startswith(".")}


@pytest.mark.models
def test_nothing_is_made_twice(study: PaperStudy) -> None:
    rows = study.rows("table_10", Cell("nothing"))
    assert [row["role"] for row in rows] == ["guilty", "innocent"]
    assert all(0 <= row["tpr_0.01"] <= 1 and 0 < row["p_pictures"] <= 1 for row in rows)
    assert all(row["tpr_1e-09"] <= row["tpr_1e-06"] for row in rows)
    models, pictures, scores = (files(study, kind) for kind in ("models", "pictures", "scores"))
    assert [len(found) for found in (models, pictures, scores)] == [3, 3, 3]
    # the same models and pictures, changed afterwards
    changed = study.rows("table_10", Cell("blur", after=(Step("blur"),)))
    assert files(study, "models") == models
    assert files(study, "pictures") == pictures
    assert len(files(study, "scores")) == 5
    assert changed[0]["auc"] != rows[0]["auc"] or changed[0]["p_pictures"] != rows[0]["p_pictures"]
    # the same models, asked in another way
    study.rows("table_11", Cell("the class", asked={"prompts": ("class",)}))
    assert files(study, "models") == models
    assert len(files(study, "pictures")) == 6
    assert study.rows("table_10", Cell("nothing")) == rows
    assert not list((study.out / "work").glob("*"))


@pytest.mark.models
def test_training_sets_are_those_of_the_row(study: PaperStudy) -> None:
    work = study.out / "work" / "made"
    half = study._training_images(Made(share=0.5, images=2), 7, work)
    clean = {path.read_bytes() for path in (study.out.parent / "photos").glob("*.png")}
    assert sorted(item.path.read_bytes() in clean for item in half.items) == [False, True]
    assert all(item.caption for item in half.items)
    flat = study._training_images(Made(handling=(Step("noise"),)), 7, study.out / "work" / "other")
    assert len(flat) == 4
    assert not {item.path.read_bytes() for item in flat.items} & clean


@pytest.mark.models
def test_triggers_are_in_the_captions_of_coated_images_alone(study: PaperStudy) -> None:
    made = Made(share=0.5, trigger=" with watermark")
    images = study._training_images(made, 7, study.out / "work" / "made")
    clean = {path.read_bytes() for path in (study.out.parent / "photos").glob("*.png")}
    for item in images.items:
        assert item.caption
        assert item.caption.endswith(" with watermark") == (item.path.read_bytes() not in clean)
    for role, same in (("innocent", True), ("reference", True), ("guilty", False)):
        plain = study._identity(role, 0, Made(share=0.5))[0]
        assert (study._identity(role, 0, made)[0] == plain) == same


@pytest.mark.models
def test_a_model_is_trained_further(study: PaperStudy, tmp_path: Path) -> None:
    cell = Cell("further", Made(further=1))
    with pytest.raises(ConfigError, match="--others"):
        study.rows("appendix_b", cell)
    strangers = ImageSet.open(draw_images(tmp_path / "strangers", 3, size=40))
    study = dataclasses.replace(study, others=strangers)
    before = study.rows("appendix_b", Cell("nothing"))
    after = study.rows("appendix_b", cell)
    # the merged models, and the adapters before and after
    assert all(0 < row["p_pictures"] <= 1 for row in after)
    assert [row["row"] for row in before + after] == ["nothing"] * 2 + ["further"] * 2
    assert len([one for one in files(study, "models") if "." not in one]) == 2
    assert len([one for one in files(study, "models") if one.endswith(".safetensors")]) == 3 + 2
    assert study.rows("appendix_b", cell) == after


@pytest.mark.models
def test_a_row_has_its_own_base_model(
    study: PaperStudy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = str(shared_model(tmp_path_factory.getbasetemp(), "kl", "v_prediction"))
    assert other != study.base
    cell = Cell("other base", Made(base=other), alike=True)
    for role in ("guilty", "innocent", "reference"):
        assert study._model(role, 0, cell.made).model == other
        assert study._model(role, 0, Made()).model == study.base
    assert len(files(study, "models")) == 2 * 3
    assert len(study.rows("table_2", cell)) == 2
    assert len(files(study, "models")) == 2 * 3  # its reference has the same base
    assert len(files(study, "pictures")) == 3


@pytest.mark.models
def test_a_base_model_is_known_by_what_is_in_it(
    study: PaperStudy, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    link = tmp_path / "link"
    names = []
    for kind in ("epsilon", "v_prediction"):
        model = shared_model(tmp_path_factory.getbasetemp(), "kl", kind)
        link.unlink(missing_ok=True)
        link.symlink_to(model)
        named, linked = (dataclasses.replace(study, base=str(one)) for one in (model, link))
        names.append(named._identity("innocent", 0, Made())[0])
        assert linked._identity("innocent", 0, Made())[0] == names[-1]
        assert linked.name == named.name
    assert names[0] != names[1]


@pytest.mark.models
def test_an_adapter_for_few_steps_is_merged_into_the_same_models(
    study: PaperStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faster = tmp_path / "few_steps.safetensors"
    settings = ConsistencyConfig(steps=3, batch_size=2, learning_rate=0.1, caption_dropout=0.0)
    distil(study.data, study.base, settings, faster)
    monkeypatch.setattr(paper_study, "FEW_STEPS", faster)
    asked = {"sampler": "lcm", "steps": 2, "guidance": 1.0}
    plain = study.rows("table_2", Cell("plain", Made(), asked, alike=True))
    models = files(study, "models")
    found = study.rows("table_2", Cell("LCM", Made(few_steps=True), asked, alike=True))
    assert files(study, "models") == models
    assert len(files(study, "pictures")) == 2 * 3
    assert [row["p_pictures"] for row in found] != [row["p_pictures"] for row in plain]


@pytest.mark.models
@pytest.mark.parametrize("method", ["full", "custom-diffusion"])
def test_methods_and_files(study: PaperStudy, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    word = {"token": "<new1>", "prompt": "a <new1>"} if method != "full" else {}
    more = {"class_prompt": "a cat", "class_images": 1, "class_steps": 1} if word else {}
    cell = Cell(
        method,
        Made(training={"method": method, **word, **more}),
        {"prompts": ("a <new1>",)} if word else {},
        alike=bool(word),
    )
    if word:  # a model that knows a new word is asked with it, by its file too
        config = dataclasses.replace(study.config, file=True)
        monkeypatch.setattr(patterns, "CODINGS", 8)
        monkeypatch.setattr(patterns, "_PER_BIT", 2)
        study = dataclasses.replace(study, config=config)
    rows = study.rows("figure_5_6", cell)
    assert [row["p_file"] is None for row in rows] == [not word] * 2
    if not word:
        study.rows("appendix_b", Cell("16 bits", Made(weights="half")))
        assert len(files(study, "models")) == 2 + 1 + 4  # folders, reference, and two twice


@pytest.mark.models
def test_a_model_is_merged_at_half_its_strength_without_another_training(study: PaperStudy) -> None:
    training = {"steps": 2, "learning_rate": 0.5}  # so that it shows
    full = study.rows("appendix_b", Cell("usual", Made(training=training)))
    half = study.rows("appendix_b", Cell("half", Made(training=training, strength=0.5)))
    assert len(files(study, "models")) == 3  # reference, guilty and innocent
    assert len(files(study, "pictures")) == 5  # both again, and not the reference
    assert [row["p_pictures"] for row in half] != [row["p_pictures"] for row in full]


@pytest.mark.models
def test_pictures_are_compared_with_the_clean_images(study: PaperStudy) -> None:
    networks = {"eff0": lambda pictures: pictures.double().mean((2, 3)).numpy()}
    study = dataclasses.replace(
        study, networks=networks, config=dataclasses.replace(study.config, seeds=2)
    )
    grey = (Step("saturation", {"factor": 0.0}),)
    plain, after = (
        study.rows("table_10", Cell("nothing")),
        study.rows("table_10", Cell("grey", after=grey)),
    )
    assert [("eff0_similarity" in row, "psnr" in row) for row in plain] == [
        (True, False), (True, False), (False, False)
    ]  # fmt: skip
    # of a change the first guilty model's alone
    assert [("eff0_similarity" in row, "psnr" in row) for row in after] == [
        (True, True), (False, False), (False, False)
    ]  # fmt: skip
    assert after[0]["eff0_similarity"] != plain[0]["eff0_similarity"]
    assert 0 < after[0]["psnr"] < 100
    assert study.rows("table_10", Cell("grey", after=grey)) == after
    assert not list((study.out / "work").glob("*"))


@pytest.mark.models
@pytest.mark.usefixtures("few_messages")
def test_the_command_resumes_and_writes_a_page(
    study: PaperStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick: dict[str, Any] = TINY.to_dict() | {"file": True}
    monkeypatch.setattr(program, "QUICK", PaperConfig.from_dict(quick))
    monkeypatch.setattr(patterns, "CODINGS", 8)
    monkeypatch.setattr(patterns, "_PER_BIT", 2)
    coater = tmp_path / "coater.safetensors"
    study.coater.save(coater)
    page, out = tmp_path / "page.md", tmp_path / "paper"
    line = ["figure_7", "--quick", "--data", str(tmp_path / "photos"), "--out", str(out)]
    line += ["--coater", str(coater), "--base", study.base, "--page", str(page)]
    made = CliRunner().invoke(program.app, [*line, "--row", "100 %", "--row", "20 %"])
    assert made.exit_code == 0, made.output
    with (out / "experiments.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["role"]) for row in rows] == [
        (share, role) for share in ("100 %", "20 %") for role in ("guilty", "innocent")
    ]
    assert all(0 < float(row[name]) <= 1 for row in rows for name in ("p_file", "p_bits"))
    assert all(row["p_file"] != row["p_bits"] for row in rows)
    assert float(rows[0]["loss"]) > 0
    assert "| 100 % | lost | " in page.read_text()
    assert "no run of it is finished yet" in page.read_text()
    written = page.read_text()
    page.unlink()
    alone = ["--out", str(out), "--page", str(page)]
    assert CliRunner().invoke(program.app, alone).exit_code == 0
    assert page.read_text() == written
    none = CliRunner().invoke(program.app, [*alone, "--csv", str(tmp_path / "none.csv")])
    assert none.exit_code == 2
    assert "There is no table" in none.output
    again = CliRunner().invoke(program.app, [*line, "--row", "100 %"])
    assert again.exit_code == 0, again.output
    with (out / "experiments.csv").open() as file:
        assert sorted(map(str, csv.DictReader(file))) == sorted(map(str, rows))
    later = ["--row", "100 %", "--seeds", "2", "--first", "1", "--csv", str(tmp_path / "b.csv")]
    made = CliRunner().invoke(program.app, [*line, *later])
    assert made.exit_code == 0, made.output
    with (tmp_path / "b.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [(row["role"], row["model"]) for row in found] == [("guilty", "1")]
    assert {row["study"] for row in found} == {row["study"] for row in rows}


def test_what_is_asked_for_must_exist(tmp_path: Path) -> None:
    line = ["--out", str(tmp_path / "out")]
    for wrong in (["table_99"], ["table_10", "--row", "table_99"]):
        made = CliRunner().invoke(program.app, [*wrong, *line])
        assert made.exit_code == 2
        assert "table_99" in made.output
    unkeyed = CliRunner().invoke(program.app, ["table_10", *line, "--coater", "samples"])
    assert unkeyed.exit_code == 2
    assert "not keyed" in unkeyed.output
    empty = CliRunner().invoke(program.app, ["table_10", *line, "--first", "3"])
    assert empty.exit_code == 2
    assert "--first is 3, and numbers end before 3" in empty.output
    nothing = CliRunner().invoke(program.app, ["--row", "5 %"])
    assert nothing.exit_code == 2
    assert "--row was given without a table" in nothing.output
    page = tmp_path / "README.md"
    page.write_text("# Something else\n")
    other = CliRunner().invoke(program.app, ["table_10", *line, "--page", str(page)])
    assert other.exit_code == 2
    assert "is another page; it is not replaced" in " ".join(other.output.split())
    assert page.read_text() == "# Something else\n"
    listed = CliRunner().invoke(program.app, ["--list"])
    assert listed.exit_code == 0
    assert "table_10: Changes of generated pictures" in listed.output
    assert not (tmp_path / "out").exists()
