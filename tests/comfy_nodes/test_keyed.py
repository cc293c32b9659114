"""Keyed coatings in ComfyUI: the secret is used, and is found nowhere."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.comfy_server import PASSPHRASE, Server, events
from support.comfy_workflows import ICONS, loaded, node
from support.fake_host import FakeHost, install, nodes_of_pack
from support.score_sets import pool

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coating.apply import coat_images
from siren_ext.data.images import read_picture, to_tensor
from siren_ext.errors import CoaterError, SirenError
from siren_ext.keys.coating_key import CoatingKey, KeyRing
from siren_ext.samples.folder import sample_folder
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.workflows.demo import demo_key

pytest.importorskip("cryptography")

BITS = 16
SHAPE = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, message_bits=BITS, working_size=32
)
VARIABLE, SECRET = PASSPHRASE
EXAMPLE_KEY = "key of the example LoRA (bundled)"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHost:
    return install(monkeypatch, tmp_path / "comfyui")


@pytest.fixture
def ring(host: FakeHost) -> KeyRing:
    made = KeyRing.draw(["gallery", "printer"], BITS)
    made.save(host.base / "models" / "siren" / "keys.json", SECRET)
    return made


def carrying(key: CoatingKey, count: int) -> ScoreSet:
    """Scores of pictures that carry the message of a key."""
    rng = np.random.default_rng(0)
    features = key.signs() + rng.normal(0, 1, (count, key.bits))
    return pool(rng.random(count), hashed=False, source={}, features=features)


def test_load_key(host: FakeHost, ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    node = nodes_of_pack()["SirenLoadKey"]
    choice = node.define_schema().inputs[0].options["options"]
    assert choice == ["keys.json", EXAMPLE_KEY]
    monkeypatch.setenv(VARIABLE, SECRET)
    assert node.validate_inputs(name="keys.json", passphrase_variable=VARIABLE) is True
    key = node.execute("keys.json", VARIABLE, " printer ").args[0]
    assert key == ring.key("printer")
    with pytest.raises(SirenError, match="several keys"):
        node.execute("keys.json", VARIABLE, "")
    monkeypatch.setenv(VARIABLE, "another passphrase")
    with pytest.raises(SirenError, match="the passphrase is wrong") as fault:
        node.execute("keys.json", VARIABLE, "printer")
    assert "another" not in str(fault.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "gone.json"}, "There is no key file 'gone.json'"),
        ({"name": "../keys.json"}, "can't be used as a name"),
        ({"passphrase_variable": "SIREN_NOT_SET"}, "SIREN_NOT_SET is not set"),
        # a workflow of somebody else must not try what belongs to other programs
        ({"passphrase_variable": "HOME"}, "begins with SIREN_"),
        ({"passphrase_variable": "correct horse battery staple"}, "begins with SIREN_"),
    ],
)
def test_faults_are_told_without_what_was_typed(
    host: FakeHost, ring: KeyRing, given: dict[str, str], message: str
) -> None:
    node = nodes_of_pack()["SirenLoadKey"]
    answer = str(node.validate_inputs(**given))
    assert message in answer
    assert "horse" not in answer


def test_the_key_of_the_example_is_for_the_example(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = nodes_of_pack()
    load = pack["SirenLoadKey"]
    assert load.define_schema().inputs[0].options["options"] == ["no key file yet", EXAMPLE_KEY]
    monkeypatch.delenv(VARIABLE, raising=False)
    assert load.validate_inputs(name=EXAMPLE_KEY, passphrase_variable=VARIABLE) is True
    assert load.fingerprint_inputs(name=EXAMPLE_KEY) is None
    (key,) = load.execute(EXAMPLE_KEY, VARIABLE, "").args
    assert key == demo_key(0, 48)
    image = torch.rand(1, 32, 32, 3)
    # everybody has it, so images of one's own are not coated with it
    own = Coater(dataclasses.replace(SHAPE, message_bits=48))
    own.save(host.base / "models" / "siren" / "own.safetensors")
    with pytest.raises(SirenError, match=r"but everybody has that key\. Make a key of your own"):
        pack["SirenCoatImage"].execute(own, image, 1.0, key=key)
    with pytest.raises(SirenError, match=r"but everybody has that key\. Make a key of your own"):
        pack["SirenCommit"].execute("own.safetensors", "", "siren/commitment", key)
    (bundled,) = pack["SirenLoadCoater"].execute("keyed (bundled)").args
    done = pack["SirenCoatImage"].execute(bundled, image, 1.0, key=key)
    assert done.ui["siren"][0]["title"] == "Public coater: try-out only"


def test_keyed_verify_needs_no_reference(host: FakeHost, ring: KeyRing) -> None:
    verify = nodes_of_pack()["SirenKeyedVerify"]
    key = ring.key("gallery")
    case, p, text = verify.execute(carrying(key, 40), key, 1e-3).args
    assert case.verdict.outcome == "coating found"
    assert p < 1e-3
    assert text.startswith("COATING FOUND: ")
    assert "Limit: " in text
    report = nodes_of_pack()["SirenVerificationReport"]
    (page,) = report.execute(case, "case").args
    assert (host.base / "output" / page).is_file()
    # another recipient's key is no match
    case, p, _ = verify.execute(carrying(key, 40), ring.key("printer"), 1e-3).args
    assert case.verdict.outcome == "no evidence"
    assert p > 1e-3


def test_every_test_of_a_key_file_is_counted(
    host: FakeHost, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = nodes_of_pack()
    monkeypatch.setenv(VARIABLE, SECRET)
    key = pack["SirenLoadKey"].execute("keys.json", VARIABLE, "gallery").args[0]
    for number, count in ((1, 40), (2, 41), (2, 41)):
        case, _, text = pack["SirenKeyedVerify"].execute(carrying(key, count), key, 1e-2).args
        assert case.verdict.config.price == 2 * number * (number + 1)
        assert f"test {number} of the key file" in text
        assert ("There was no ledger" in text) == (number == 1)
    assert (host.base / "models" / "siren" / "keys.json.ledger").is_file()
    listed = pack["SirenLoadKey"].define_schema().inputs[0].options["options"]
    assert listed == ["keys.json", EXAMPLE_KEY]  # and no ledger


def test_a_commitment_is_checked(host: FakeHost, ring: KeyRing) -> None:
    pack = nodes_of_pack()
    key = ring.key("gallery")
    coater = Coater(SHAPE, seed=1)
    coater.save(host.base / "models" / "siren" / "own.safetensors")

    def carried(key: CoatingKey) -> ScoreSet:
        return dataclasses.replace(carrying(key, 40), coater=coater.fingerprint)

    scores = carried(key)
    commit = {"name": "own.safetensors", "folder": "", "save_as": "siren/commitment"}
    pack["SirenCommit"].execute(**commit, key=key)
    verify = pack["SirenKeyedVerify"]
    case = verify.execute(scores, key, 1e-3, "siren/commitment_00001.json").args[0]
    assert case.verdict.outcome == "coating found"
    assert case.verdict.precedence.created
    assert "key" in " ".join(case.verdict.precedence.checked)
    # a key that was not committed to finds nothing
    other = ring.key("printer")
    case = verify.execute(carried(other), other, 1e-3, "siren/commitment_00001.json").args[0]
    assert case.verdict.precedence.status == "does not fit"
    assert case.verdict.outcome != "coating found"


def test_coating_takes_the_key(host: FakeHost, ring: KeyRing) -> None:
    coat = nodes_of_pack()["SirenCoatImage"]
    coater = Coater(SHAPE, seed=1)
    image = torch.rand(1, 40, 48, 3, generator=torch.Generator().manual_seed(0))
    made = {
        name: coat.execute(coater, image, 1.0, key=ring.key(name)).args[0] for name in ring.names
    }
    core = image.movedim(-1, 1)
    expected = coat_images(core, coater, key=ring.key("gallery")).movedim(1, -1)
    assert torch.equal(made["gallery"], expected)
    assert not torch.equal(made["gallery"], made["printer"])
    with pytest.raises(CoaterError, match="keyed and no"):
        coat.execute(coater, image, 1.0)


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_on_the_real_server_nothing_secret_is_kept(server: Server) -> None:
    folder = server.base / "models" / "siren"
    coater = Coater(SHAPE, seed=1)
    coater.save(folder / "keyed.safetensors")
    ring = KeyRing.draw(bits=BITS)
    ring.save(folder / "owner.json", SECRET)
    graph: dict[str, Any] = loaded(ICONS[0]) | {
        "coater": node("SirenLoadCoater", name="keyed.safetensors"),
        "key": node("SirenLoadKey", name="owner.json", passphrase_variable=VARIABLE, recipient=""),
        "coat": node(
            "SirenCoatImage",
            coater=["coater", 0],
            image=["picture", 0],
            strength=1.0,
            key=["key", 0],
        ),
        "save": node("SaveImage", images=["coat", 0], filename_prefix="keyed"),
        "score": node("SirenScoreCoating", coater=["coater", 0], image=["coat", 0]),
        "verify": node("SirenKeyedVerify", suspect=["score", 0], key=["key", 0], alpha=0.05),
        "report": node("SirenVerificationReport", verdict=["verify", 0], save_as="keyed/report"),
        # whatever a node for texts may be given
        "tell": node("PreviewAny", source=["key", 0]),
    }
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", events(entry).get("execution_error")
    saved = server.view(entry["outputs"]["save"]["images"][0])
    (server.base / "keyed.png").write_bytes(saved)
    with Image.open(server.base / "keyed.png") as seen:
        pixels = np.asarray(seen)
    original = to_tensor(read_picture(sample_folder() / ICONS[0]).rgb)
    expected = coat_images(original, coater, key=ring.key())
    assert np.array_equal(pixels, (expected[0].movedim(0, -1) * 255).round().byte().numpy())
    told = [saved, json.dumps(entry).encode(), server.log.read_bytes()]
    told += [path.read_bytes() for path in (server.base / "output" / "keyed").rglob("*.*")]
    stored = ring.key()._stored("gallery")
    for secret in (SECRET, stored.salt, str(ring.key().signs().tolist())):
        assert all(secret.encode() not in text for text in told)
