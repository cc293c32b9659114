"""The web UI's API: strict requests, distrust of answers, and no adapter taken on trust."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.standin_a1111 import CHECKPOINTS, TXT2IMG, A1111Standin
from support.standins import LINE_FAULTS, PICTURE_FAULTS, noise, running

import siren_ext.suspects.a1111 as module
from siren_ext.data.images import read_picture
from siren_ext.errors import AdapterError, ConfigError
from siren_ext.suspects.a1111 import A1111Suspect
from siren_ext.suspects.base import PromptPlan, generate_images, read_missed
from siren_ext.suspects.open import open_suspect
from siren_ext.suspects.remote import RequestLimits
from siren_ext.suspects.responses import SuspectError

PLAN = PromptPlan(prompts=("a cat", "a dog"), count=3, seed=5, steps=4, guidance=7.5, size=16)
QUICK = RequestLimits(backoff=0.0, timeout=20)


def plan(**changes: Any) -> PromptPlan:
    return PromptPlan.from_dict(PLAN.to_dict() | changes)


@pytest.fixture
def ui() -> Iterator[A1111Standin]:
    with running(A1111Standin()) as standin:
        yield standin


def suspect(ui: A1111Standin, query: str = "", limits: RequestLimits = QUICK) -> A1111Suspect:
    found = open_suspect(f"a1111://{ui.place}{query}", limits=limits)
    assert isinstance(found, A1111Suspect)
    return found


def asked(ui: A1111Standin) -> list[dict[str, Any]]:
    return [body for _, path, body in ui.seen if path == "/sdapi/v1/txt2img"]


def test_pictures_of_the_plan(ui: A1111Standin, tmp_path: Path) -> None:
    paths = generate_images(suspect(ui), plan(sampler="Euler a", negative="blur"), tmp_path)
    for index, path in enumerate(paths):
        want = noise(
            {"prompt": ("a cat", "a dog")[index % 2], "seed": 5 + index, "width": 16, "height": 16}
        )
        assert read_picture(path).rgb.tobytes() == want.tobytes()
    first = asked(ui)[0]
    assert set(first) <= set(TXT2IMG)
    expected = {
        "prompt": "a cat",
        "negative_prompt": "blur",
        "seed": 5,
        "steps": 4,
        "cfg_scale": 7.5,
        "width": 16,
        "height": 16,
        "sampler_name": "Euler a",
        "override_settings": {"sd_model_checkpoint": "base.safetensors [aaaaaaaaaa]"},
    }
    assert {key: first[key] for key in expected} == expected
    record = json.loads((tmp_path / "provenance.json").read_text())
    assert record["suspect"] == {
        "kind": "a1111",
        "server": f"http://{ui.place}",
        "model": "base.safetensors [aaaaaaaaaa]",
        "model_hash": "a" * 64,
        "adapter": None,
        "scale": None,
    }
    assert record["images"]["00001.png"]["prompt"] == "a dog"
    assert record["images"]["00001.png"]["seed"] == 6


def test_lora_is_named_compared_and_recorded(ui: A1111Standin, tmp_path: Path) -> None:
    generate_images(suspect(ui, "?model=base&lora=my_style&scale=0.8"), PLAN, tmp_path)
    prompts = [body["prompt"] for body in asked(ui)]
    assert prompts[:2] == ["a cat", "a cat <lora:stolen:0.8>"]
    assert prompts[2:] == ["a dog <lora:stolen:0.8>", "a cat <lora:stolen:0.8>"]
    record = json.loads((tmp_path / "provenance.json").read_text())
    assert record["suspect"]["adapter"] == {"file": "stolen", "hash": "b" * 64}
    assert record["suspect"]["scale"] == 0.8
    assert record["images"]["00000.png"]["prompt"] == "a cat"


def test_lora_without_effect_is_no_acquittal(ui: A1111Standin, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="dead at strength 1 changes nothing"):
        generate_images(suspect(ui, "?lora=dead"), PLAN, tmp_path)
    assert list(tmp_path.glob("*.png")) == []


def test_what_is_not_there_is_said_with_what_is(ui: A1111Standin) -> None:
    with pytest.raises(ConfigError, match=r"no checkpoint 'gone'; it has base.safetensors \["):
        suspect(ui, "?model=gone").describe()
    with pytest.raises(ConfigError, match="no LoRA 'gone'; it has stolen, dead"):
        suspect(ui, "?lora=gone").describe()
    assert [entry["model_name"] for entry in suspect(ui).checkpoints()] == ["base", "other"]
    assert [entry["name"] for entry in suspect(ui).loras()] == ["stolen", "dead"]


@pytest.mark.parametrize("name", ["other", "other.safetensors"])
def test_checkpoint_is_switched_and_checked(ui: A1111Standin, name: str) -> None:
    found = suspect(ui, f"?model={name}")
    assert len(list(found.generate(plan(count=1)))) == 1
    assert ui.loaded["model_name"] == "other"
    ui.stuck, ui.loaded = True, CHECKPOINTS[0]
    with pytest.raises(
        SuspectError, match=r"with the checkpoint base, but other.safetensors was requested"
    ):
        list(found.generate(plan(count=1)))


@pytest.mark.parametrize(
    "fault", [*LINE_FAULTS, *PICTURE_FAULTS, "wrong seed", "no images", "not base64"]
)
def test_bad_answers_never_become_pictures(
    ui: A1111Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    slow = fault in ("hang", "drip", "head drip")
    found = suspect(ui, limits=RequestLimits(backoff=0, attempts=2, timeout=20))
    found.describe()
    if slow:
        found.client.timeout = 1.5
    ui.faults = ["", fault, fault]
    paths = generate_images(found, PLAN, tmp_path)
    assert [p.name for p in paths] == ["00000.png", "00002.png"]
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["00000.png", "00002.png"]
    (missed,) = read_missed(tmp_path)
    assert missed[0] == "00001.png"
    assert missed[1]
    found.client.timeout = 20
    ui.faults = [fault if fault not in ("hang", "drip", "head drip") else "500"]
    assert len(generate_images(found, PLAN, tmp_path)) == 3  # the second attempt came


def test_blank_picture_is_refused_at_once(ui: A1111Standin, tmp_path: Path) -> None:
    ui.faults = ["black"]
    generate_images(suspect(ui), PLAN, tmp_path)
    assert [name for name, why in read_missed(tmp_path) if "flat colour" in why] == ["00000.png"]
    assert len(asked(ui)) == 3


@pytest.mark.parametrize("fault", ["wrong model", "redirect", "forbidden"])
def test_hopeless_answers_end_the_run(ui: A1111Standin, tmp_path: Path, fault: str) -> None:
    ui.faults = ["", fault]
    with pytest.raises(SuspectError):
        generate_images(suspect(ui), PLAN, tmp_path)
    assert len(asked(ui)) == 2
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_wrong_settings_end_the_run(ui: A1111Standin) -> None:
    with pytest.raises(SuspectError, match=r"404: .*Sampler not found"):
        list(suspect(ui).generate(plan(sampler="Nonesuch")))
    with pytest.raises(ConfigError, match="multiple of 8"):
        list(suspect(ui).generate(plan(size=20)))
    with pytest.raises(ConfigError, match="<lora"):
        list(suspect(ui).generate(plan(prompts=("a <lora:x:1>",))))
    for tag in ("<lyco:x:1>", "<hypernet:x:1>"):  # the first is another name of <lora:x:1>
        with pytest.raises(ConfigError, match="remove it"):
            list(suspect(ui).generate(plan(prompts=(f"a {tag}",))))


def test_own_size_of_the_web_ui(ui: A1111Standin) -> None:
    (found,) = suspect(ui).generate(plan(size=0, count=1))
    assert found.image.shape == (3, 64, 64)  # type: ignore[union-attr]
    assert "width" not in asked(ui)[-1]


def test_a_stopped_run_resumes(ui: A1111Standin, tmp_path: Path) -> None:
    ui.faults = ["", "forbidden"]
    with pytest.raises(SuspectError):
        generate_images(suspect(ui), PLAN, tmp_path)
    assert len(generate_images(suspect(ui), PLAN, tmp_path)) == 3
    assert [body["seed"] for body in asked(ui)] == [5, 6, 6, 7]


def test_a_run_resumes_once_the_web_ui_knows_the_hash(ui: A1111Standin, tmp_path: Path) -> None:
    known = ui.listed[0]
    # as a checkpoint is listed before its first use
    bare = known | {"title": "base.safetensors", "hash": None, "sha256": None}
    ui.listed[0] = ui.loaded = bare
    ui.said, ui.faults = {"sd_model_name": "base", "sd_model_hash": None}, ["", "forbidden"]
    with pytest.raises(SuspectError):
        generate_images(suspect(ui, "?model=base"), PLAN, tmp_path)
    ui.listed[0] = ui.loaded = known
    ui.said = None
    assert len(generate_images(suspect(ui, "?model=base"), PLAN, tmp_path)) == 3
    record = json.loads((tmp_path / "provenance.json").read_text())
    assert record["suspect"]["model_hash"] == "a" * 64
    ui.listed[0] = ui.loaded = known | {"sha256": "c" * 64}
    with pytest.raises(ConfigError, match="pictures of another model"):
        generate_images(suspect(ui, "?model=base"), PLAN, tmp_path)


def test_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with running(A1111Standin(login="me:pass-word")) as ui:
        monkeypatch.setenv("UI_LOGIN", "me:pass-word")
        generate_images(suspect(ui, "?auth=UI_LOGIN"), PLAN, tmp_path)
        text = (tmp_path / "provenance.json").read_text()
        assert "pass-word" not in text
        monkeypatch.setenv("UI_LOGIN", "me:wrong-word")
        with pytest.raises(SuspectError, match="401") as caught:
            suspect(ui, "?auth=UI_LOGIN").describe()
        assert "wrong-word" not in str(caught.value)
    with pytest.raises(ConfigError, match="unencrypted"):
        open_suspect("a1111://192.0.2.7:7860?auth=UI_LOGIN")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("a1111://", "malformed"),
        ("a1111://host?modle=x", "unknown option modle"),
        ("a1111://host?model=x&model=y", "an option given twice"),
        ("a1111://host?scale=big", "expected a number"),
        ("a1111://host?tls=maybe", "yes or no"),
        ("a1111://me:pw@host", "would be written to the records"),
        ("a1111://host:0x1", "can't be understood"),
        ("a1111://host?lora=a%3A1%3E", "without < or >"),
    ],
)
def test_odd_addresses(address: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        open_suspect(address)


def test_tls_and_port_of_an_address() -> None:
    found = open_suspect("a1111://example.com?tls=yes")
    assert isinstance(found, A1111Suspect)
    assert found.client.origin == "https://example.com:7860"
