"""Prediction-style APIs: create, poll, download, by a description in TOML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.standin_hosted import TOKEN, HostedStandin
from support.standins import LINE_FAULTS, PICTURE_FAULTS, noise, running

import siren_ext.suspects.hosted as module
from siren_ext.data.images import read_picture
from siren_ext.errors import ConfigError
from siren_ext.suspects.base import PromptPlan, generate_images, read_missed
from siren_ext.suspects.hosted import HostedSuspect
from siren_ext.suspects.open import open_suspect
from siren_ext.suspects.remote import RequestLimits
from siren_ext.suspects.responses import SuspectError
from siren_ext.suspects.trust import Trust

PLAN = PromptPlan(prompts=("a cat", "a dog"), count=3, seed=5, guidance=7.5, size=16)
TRUST = Trust(hosts=("127.0.0.1", "localhost"), variables=("API_TOKEN", "NO_SUCH_TOKEN"))
QUICK = RequestLimits(backoff=0.0, timeout=20, attempts=2)
TOML = """
url = "http://{place}/v1"
create = "/predictions"
body = '''
{{"version": "abc", "input": {{"prompt": "%prompt%", "seed": "%seed%", "width": "%size%",
 "height": "%size%", "guidance_scale": "%guidance%"}}}}
'''
poll = "/predictions/%id%"
image = "output.0"
interval = 0.01
token_env = "API_TOKEN"
model = "somebody/model:abc"
"""


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostedStandin]:
    monkeypatch.setenv("API_TOKEN", TOKEN)
    with running(HostedStandin()) as standin:
        yield standin


def suspect(
    api: HostedStandin, folder: Path, extra: str = "", limits: RequestLimits = QUICK
) -> HostedSuspect:
    path = folder / "hosted.toml"
    path.write_text(TOML.format(place=api.place) + extra, encoding="utf-8")
    found = open_suspect(str(path), limits=limits, trust=TRUST)
    assert isinstance(found, HostedSuspect)
    return found


def created(api: HostedStandin) -> list[Any]:
    return [body for method, path, body in api.seen if method == "POST"]


def test_pictures_of_the_plan(api: HostedStandin, tmp_path: Path) -> None:
    out = tmp_path / "out"
    paths = generate_images(suspect(api, tmp_path), PLAN, out)
    want = noise({"prompt": "a dog", "seed": 6, "width": 16, "height": 16})
    assert read_picture(paths[1]).rgb.tobytes() == want.tobytes()
    assert created(api)[1] == {
        "version": "abc",
        "input": {
            "prompt": "a dog",
            "seed": 6,
            "width": 16,
            "height": 16,
            "guidance_scale": 7.5,
        },
    }
    text = (out / "provenance.json").read_text()
    assert TOKEN not in text
    facts = json.loads(text)["suspect"]
    assert facts["model"] == "somebody/model:abc"
    assert facts["body"]["input"]["prompt"] == "%prompt%"


@pytest.mark.parametrize("fault", [*LINE_FAULTS, *PICTURE_FAULTS, "black", "failed", "never"])
def test_bad_answers_never_become_pictures(
    api: HostedStandin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    slow = fault in ("hang", "drip", "head drip", "never")
    found = suspect(
        api, tmp_path, limits=RequestLimits(backoff=0, timeout=1.5 if slow else 20, attempts=2)
    )
    api.faults = ["", fault, fault]
    out = tmp_path / "out"
    paths = generate_images(found, PLAN, out)
    names = ["00000.png", "00002.png"]
    if fault in ("black", "failed"):  # not tried twice, so the next picture gets the second fault
        names = ["00000.png"]
    assert [p.name for p in paths] == names
    assert sorted(p.name for p in out.glob("*.png")) == names
    text = (out / "provenance.json").read_text()
    assert TOKEN not in text
    assert len(read_missed(out)) == 3 - len(names)


def test_reason_of_a_failure_is_kept(api: HostedStandin, tmp_path: Path) -> None:
    api.faults = ["failed"]
    generate_images(suspect(api, tmp_path), PLAN, tmp_path / "out")
    ((_, why),) = read_missed(tmp_path / "out")
    assert "NSFW content detected ***" in why


def test_polls_may_fail_now_and_then(api: HostedStandin, tmp_path: Path) -> None:
    api.faults = ["bad polls"]
    found = suspect(api, tmp_path, limits=RequestLimits(backoff=0, attempts=3))
    assert len(generate_images(found, PLAN, tmp_path / "out")) == 3
    assert len(created(api)) == 3  # nothing was paid for twice


def test_data_address_and_synchronous_answer(api: HostedStandin, tmp_path: Path) -> None:
    api.faults = ["data"] * 3
    assert len(generate_images(suspect(api, tmp_path), PLAN, tmp_path / "out")) == 3
    assert not any("/files/" in path for _, path, _ in api.seen)


def test_token_stays_with_its_host(api: HostedStandin, tmp_path: Path) -> None:
    with running(HostedStandin()) as cdn:
        cdn.files = api.files
        api.cdn = f"http://localhost:{cdn.port}"
        with pytest.raises(SuspectError, match=r'add "localhost" to download_hosts'):
            generate_images(suspect(api, tmp_path), PLAN, tmp_path / "a")
        assert cdn.seen == []
        found = suspect(api, tmp_path, 'download_hosts = ["localhost"]')
        assert len(generate_images(found, PLAN, tmp_path / "b")) == 3
        assert cdn.headers
        assert not any("authorization" in headers for headers in cdn.headers)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("odd state", "state is pondering"),
        ("redirect", "not followed"),
        ("forbidden", "403"),
    ],
)
def test_hopeless_answers_end_the_run(api, tmp_path: Path, fault: str, why: str) -> None:
    api.faults = ["", fault]
    with pytest.raises(SuspectError, match=why) as caught:
        generate_images(suspect(api, tmp_path), PLAN, tmp_path / "out")
    assert TOKEN not in str(caught.value)
    assert len(created(api)) == 2


@pytest.mark.parametrize("fault", ["file", "evil id"])
def test_answers_can_not_lead_astray(api: HostedStandin, tmp_path: Path, fault: str) -> None:
    api.faults = [fault] * 2
    generate_images(suspect(api, tmp_path), PLAN, tmp_path / "out")
    assert [name for name, _ in read_missed(tmp_path / "out")] == ["00000.png"]
    assert not any("admin" in path for _, path, _ in api.seen)


def test_price_of_the_file_and_budget(api: HostedStandin, tmp_path: Path) -> None:
    found = suspect(api, tmp_path, "price = 0.5", RequestLimits(budget=1.2))
    with pytest.raises(SuspectError, match=r"budget of 1.2: 2 requests were made at 0.5"):
        generate_images(found, PLAN, tmp_path / "out")
    assert len(created(api)) == 2


def test_api_without_seeds(api: HostedStandin, tmp_path: Path) -> None:
    path = tmp_path / "hosted.toml"
    text = TOML.format(place=api.place).replace('"%seed%"', "3")
    path.write_text(text)
    record = tmp_path / "out" / "provenance.json"
    generate_images(open_suspect(str(path), limits=QUICK, trust=TRUST), PLAN, tmp_path / "out")
    assert json.loads(record.read_text())["images"]["00000.png"]["seed"] == -1


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"%prompt%"', '"x"', "no placeholder %prompt%"),
        ("%seed%", "%sead%", "unknown placeholder %sead%"),
        ("%seed%", "%lora%", "is not supported here"),
        ("/%id%", "", "expected a path with %id%"),
        ("http://", "ftp://", "begins with 'ftp'"),
        ("http://127.0.0.1", "http://192.0.2.1", "unencrypted"),
        ("interval = 0.01", "interval = 0", "interval"),
        ("interval = 0.01", "intervall = 1", "no setting intervall"),
        ("API_TOKEN", "NO_SUCH_TOKEN", "NO_SUCH_TOKEN is not set"),
        ('image = "output.0"', "", "has no image"),
        ('image = "output.0"', "image = 3", "image is 3; expected text"),
        ('model = "', "model = ", "hosted.toml is not valid TOML"),
        ('model = "', 'done = "x"\nmodel = "', "expected a list"),
        ('model = "', "x." * 40_000 + 'model = "', "too many dots; expected at most 16"),
        (
            'model = "',
            "done = " + "[" * 10_000 + '\nmodel = "',
            "hosted.toml has lists or tables nested too deep",
        ),
        ("interval = 0.01", "interval = " + "9" * 5000, "expected at most 300 digits"),
        ("interval = 0.01", 'interval = "1"', "interval is '1'; expected a number from 0.01"),
        (
            '"%prompt%"',
            "[" * 10_000,
            "HostedConfig.body has lists or tables nested too deep",
        ),
        ("%seed%", '1", "prompt": "', "'prompt' twice in one object"),
    ],
)
def test_odd_descriptions(api, tmp_path: Path, old: str, new: str, why: str) -> None:
    path = tmp_path / "hosted.toml"
    path.write_text(TOML.format(place=api.place).replace(old, new, 1))
    with pytest.raises(ConfigError, match=why):
        open_suspect(str(path), trust=TRUST)


def test_plan_has_to_fit_the_template(api: HostedStandin, tmp_path: Path) -> None:
    for changes, why in (({"negative": "x"}, "%negative%"), ({"size": 0}, "set the plan's size")):
        found = suspect(api, tmp_path)
        with pytest.raises(ConfigError, match=why):
            list(found.generate(PromptPlan.from_dict(PLAN.to_dict() | changes)))
    assert api.seen == []


def test_only_what_the_user_trusts(
    api: HostedStandin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hosted.toml"
    path.write_text(TOML.format(place=api.place) + 'download_hosts = ["cdn.example.com"]')
    hosts = ("127.0.0.1", "CDN.example.com")
    asked = []

    def ask(what: str, unknown: Sequence[str]) -> bool:
        asked.append((what, list(unknown)))
        return unknown == ["cdn.example.com"]

    for trust, why in (
        (None, "variable API_TOKEN; it may only use variables that begin with SIREN_"),
        (Trust(hosts), "add --token-env API_TOKEN"),
        (Trust(variables=("API_TOKEN",)), "--trust-host 127.0.0.1 --trust-host cdn.example.com"),
        (Trust(hosts[:1], ("API_TOKEN",)), "If you know it, add --trust-host cdn.example.com"),
        (Trust((), ("API_TOKEN",), ask), "127.0.0.1 is not trusted, so nothing was sent"),
    ):
        with pytest.raises(ConfigError, match=why):
            open_suspect(str(path), trust=trust)
    where = f"Prompts are sent to http://{api.place}, and the token in API_TOKEN."
    assert asked == [
        (f"{where} Images may be fetched from cdn.example.com.", list(map(str.lower, hosts)))
    ]
    assert api.seen == []
    asked.clear()
    open_suspect(str(path), trust=Trust(hosts[:1], ("API_TOKEN",), ask))
    assert [unknown for _, unknown in asked] == [["cdn.example.com"]]
    path.write_text(path.read_text().replace("API_TOKEN", "SIREN_API_TOKEN"))
    monkeypatch.setenv("SIREN_API_TOKEN", TOKEN)
    assert open_suspect(str(path), trust=Trust(hosts))
    path.write_text(path.read_text().replace("SIREN_API_TOKEN", "SIREN_PASSPHRASE"))
    with pytest.raises(ConfigError, match="don't contain a passphrase"):
        open_suspect(str(path), trust=Trust(hosts))
