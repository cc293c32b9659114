"""A LoRA's file is tested before pictures are made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from support.keyed_samples import noise, owners_key

from siren_ext.coater.coater import Coater
from siren_ext.errors import CoaterError, ConfigError, DatasetError, ModelError
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.panels import lora, lora_file
from siren_ext.panels.generation import ImageRequest, Loras, ModelFiles
from siren_ext.panels.host import PanelHost
from siren_ext.panels.lora import lora_panel
from siren_ext.panels.lora_file import (
    check_originals,
    enough,
    file_remark,
    first_step,
    originals_given,
    originals_inputs,
    tried_first,
    with_first,
)
from siren_ext.panels.recheck import recheck_step
from siren_ext.panels.verify import verdict_values
from siren_ext.panels.widgets import RISKS
from siren_ext.preference.tint import Likeness
from siren_ext.scoring.score_set import ScoreSet

pytestmark = pytest.mark.usefixtures("cheap")

REQUEST = ImageRequest("tiny", (("accused", 0.8),), (), 8, 1, 3, 7.0, 64)


class Generator:
    """Knows where files are."""

    def files(self, checkpoint: str, loras: Loras) -> ModelFiles:
        return ModelFiles(
            Path(f"{checkpoint}.safetensors"), tuple((Path(name), weight) for name, weight in loras)
        )


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A model that has learnt the message of the key that a test puts first; records calls."""
    calls: list[Any] = []

    def measure(
        suspect: Any, data: Any, coater: Any, config: Any, *, controls: Any, **_: Any
    ) -> ScoreSet:
        key = calls[0]
        calls.append((suspect, controls, len(data)))
        drawn = np.random.default_rng(0).normal(size=(len(data), key.bits))
        return ScoreSet(
            np.zeros(len(data)),
            tuple(item.name for item in data.items),
            tuple("" for _ in data.items),
            coater.fingerprint,
            {"kind": "preference"},
            features=3 * key.signs() + drawn,
        )

    monkeypatch.setattr("siren_ext.workflows.preference_evidence.measure_preference", measure)
    return calls


def test_the_file_is_measured_and_judged(
    keyed: Coater, host: PanelHost, tmp_path: Path, measured: list[Any]
) -> None:
    originals = noise(tmp_path / "photos", 4, seed=2)
    key, job = owners_key(keyed, originals), host.jobs.new("t")
    measured.append(key)
    clean: list[Loras] = [(), (("clean", 1.0),)]
    step = (Generator(), REQUEST, clean, (None, str(originals)), keyed)
    found = first_step(*step, key, host, job, alpha=1e-2)
    assert found is not None
    assert enough(found)
    suspect, controls, images = measured[1]
    assert images == 4
    assert [(str(one.path), one.weight) for one in suspect.adapters] == [("accused", 0.8)]
    assert [str(one.adapters[0].path) for one in controls] == ["clean"]
    remark = file_remark(found.verdict, alone=True)
    card, charts, report, low, high = verdict_values(found, remark)
    assert "random keys that would fit the model as well" in card
    assert "how well the secret message fits what the model prefers, measured on 4 images" in card
    assert "No pictures were made" in card
    assert charts.count("<svg") == 1
    names = ["report.html", "report.json", "file.preference.json"]
    assert [Path(path).name for path in report] == names
    assert (low, high) == ([], [])
    assert recheck_step(found.report.json).agrees
    other = replace(found, more=())
    alike = Likeness(*np.ones((2, 3, 32, 32), np.float32), 3, 1000)
    both, words = with_first(other, replace(found, alike=alike), "The reference is a checkpoint.")
    assert both.alike is alike
    assert "3 of 1,000 random messages correlate as well" in verdict_values(both)[1]
    assert [path.name for path in both.more] == names
    assert words.startswith("The LoRA's file was tested first: coating found, 1 in ")
    assert words.endswith("The reference is a checkpoint.")
    assert with_first(other, None, "", "remark") == (other, "remark")
    # another key finds nothing, so pictures are made
    wrong = first_step(*step, CoatingKey.draw(keyed.config.message_bits), host, job, alpha=1e-4)
    assert wrong is not None
    assert not enough(wrong)


def test_without_originals_or_a_key_there_is_no_first_step(
    keyed: Coater, plain: Coater, host: PanelHost, tmp_path: Path
) -> None:
    photos = str(noise(tmp_path / "photos", 4, seed=2))
    key = CoatingKey.draw(keyed.config.message_bits)

    def step(folder: str, coater: Coater, secret: CoatingKey | None) -> Any:
        return first_step(
            Generator(), REQUEST, [], (None, folder), coater, secret, host, tmp_path / "job"
        )

    assert step("", keyed, key) is None
    assert step(photos, keyed, None) is None
    with pytest.raises(CoaterError, match="not keyed"):
        step(photos, plain, key)
    assert originals_given(None, photos)
    assert not originals_given([], " ")
    with pytest.raises(ConfigError, match="Add your key file, or remove the originals"):
        check_originals(None, photos, None, host)
    with pytest.raises(DatasetError, match="gone"):
        check_originals(None, str(tmp_path / "gone"), key, host)
    check_originals(None, photos, key, host)


def test_a_file_that_cannot_be_tested_leaves_the_pictures(
    keyed: Coater, host: PanelHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ModelError("This model is of another family.")

    monkeypatch.setattr("siren_ext.workflows.preference_evidence.measure_preference", refuse)
    key = CoatingKey.draw(keyed.config.message_bits)
    given = ([], (None, str(noise(tmp_path / "photos", 4, seed=2))), keyed, key, host, tmp_path)
    asked = replace(REQUEST, prompts=("a dog",))
    found, why = tried_first(Generator(), asked, *given)
    assert found is None
    assert why.endswith("so pictures were made: This model is of another family.")
    with pytest.raises(ModelError, match="another family"):
        tried_first(Generator(), REQUEST, *given)


@pytest.mark.parametrize(("absent", "shown"), [([], True), (["diffusers"], False)])
def test_fields_are_hidden_where_models_cannot_be_run(
    host: PanelHost, monkeypatch: pytest.MonkeyPatch, absent: list[str], shown: bool
) -> None:
    monkeypatch.setattr(lora_file, "missing_packages", lambda: absent)
    gr = MagicMock(__version__="4.40.0")
    assert len(originals_inputs(gr, host)) == 2
    assert gr.Accordion.call_args.kwargs["visible"] is shown


def test_the_form_reaches_both_tests(
    keyed: Coater, host: PanelHost, tmp_path: Path, measured: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    photos = noise(tmp_path / "photos", 4, seed=2)
    key = owners_key(keyed, photos)
    measured.append(key)
    linked: list[Any] = []
    monkeypatch.setattr(lora, "connect", lambda gr, buttons, *rest: linked.extend(rest))
    monkeypatch.setattr(lora, "open_key", lambda *_: key)
    monkeypatch.setattr(lora, "with_ledger", lambda key, *_: key)
    monkeypatch.setattr(lora, "reveal", lambda gr, values: values)
    monkeypatch.setattr(type(host.coaters), "load", lambda *_: keyed)

    class Both(Generator):
        def checkpoints(self) -> list[str]:
            return ["tiny"]

        def loras(self) -> list[str]:
            return ["accused"]

        def generate(self, request: ImageRequest, out: Path, progress: Any) -> dict[str, Any]:
            noise(out, request.count, request.seed)
            return {"prompts": list(request.prompts)}

    lora_panel(MagicMock(__version__="4.40.0"), Both(), host)
    check, run, inputs, _ = linked
    form = ["tiny", ["accused"], [lora.KEY_ALONE], "", "", 8, 9, 1, 3, 7, 64, 0]
    form += ["mine", None, "keys.json", "", "", None, None, next(iter(RISKS)), None, str(photos)]
    assert len(form) == len(inputs)
    assert check(*form) is None
    card, _, report, *_ = run(*form, "job", MagicMock())
    assert "No pictures were made" in card
    assert len(report) == 3
    measured[0] = CoatingKey.draw(keyed.config.message_bits)  # the model has learnt another one
    form[3] = "a dog"
    card, _, report, *_ = run(*form, "job", MagicMock())
    assert "The LoRA&#39;s file was tested first: " in card
    assert len(report) == 5
    form[-1] = ""
    assert check(*form) is None
    assert "tested first" not in run(*form, "job", MagicMock())[0]
    with pytest.raises(ConfigError, match="No prompt"):
        check(*form[:3], "", *form[4:])
