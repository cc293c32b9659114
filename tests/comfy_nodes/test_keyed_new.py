"""New Key and Commit on the stand-in host: the protected path without a terminal."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from urllib.error import HTTPError

import numpy as np
import pytest
import torch
from PIL import Image
from support.comfy_server import Server, events
from support.comfy_workflows import ICONS, loaded, node
from support.fake_host import FakeHost, nodes_of_pack, run

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.errors import CoaterError, SirenError
from siren_ext.evidence.commitment import Commitment
from siren_ext.files import sha256_file

pytest.importorskip("cryptography")

SHAPE = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, message_bits=16, working_size=32
)


@pytest.fixture
def keyed(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Coater:
    monkeypatch.delenv("SIREN_PASSPHRASE", raising=False)
    made = Coater(SHAPE, seed=1)
    made.save(host.base / "models" / "siren" / "mine.safetensors")
    return made


def test_a_key_is_made_once_and_opened_again(host: FakeHost, keyed: Coater) -> None:
    found = nodes_of_pack()
    key, name = run(found["SirenNewKey"], coater=keyed, save_as="my key").args
    assert name == "my key.json"
    assert key.bits == 16
    again = run(found["SirenNewKey"], coater=keyed, save_as="my key")
    assert again.args == (key, name)
    assert again.ui["siren"][0]["title"] == "Key opened (it already existed)"
    load = found["SirenLoadKey"]
    assert load.validate_inputs(name=name, passphrase_variable="SIREN_PASSPHRASE") is True
    assert run(load, name=name, passphrase_variable="SIREN_PASSPHRASE", recipient="").args == (key,)


def test_the_passphrase_is_private_and_not_shown(host: FakeHost, keyed: Coater) -> None:
    result = run(nodes_of_pack()["SirenNewKey"], coater=keyed, save_as="my key")
    file = sys.modules["comfy_nodes.files"].passphrase_file()
    assert file.is_relative_to(host.base / "user" / "__siren")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = file.read_text().strip()
    assert len(secret) >= 24
    assert secret not in str(result.ui)
    # another variable never gets what the file holds
    load = nodes_of_pack()["SirenLoadKey"]
    answer = load.validate_inputs(name="my key.json", passphrase_variable="SIREN_OTHER")
    assert "SIREN_OTHER is not set" in str(answer)


def test_the_variable_comes_first(
    host: FakeHost, keyed: Coater, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIREN_PASSPHRASE", "five words of the test")
    run(nodes_of_pack()["SirenNewKey"], coater=keyed, save_as="my key")
    assert not sys.modules["comfy_nodes.files"].passphrase_file().exists()


def test_what_takes_no_key_is_refused(host: FakeHost, coater: Coater) -> None:
    node = nodes_of_pack()["SirenNewKey"]
    with pytest.raises(CoaterError, match="takes no key"):
        run(node, coater=coater, save_as="my key")
    assert "can't be used as a name" in str(node.validate_inputs(save_as="../key"))


def test_a_missing_key_is_said_in_the_words_of_the_nodes(host: FakeHost, keyed: Coater) -> None:
    found = nodes_of_pack()
    with pytest.raises(CoaterError, match="Connect Load Key to the input 'key'") as fault:
        run(found["SirenCoatImage"], coater=keyed, image=torch.rand(1, 40, 40, 3), strength=1.0)
    assert "siren-ext" not in str(fault.value)


def test_a_commitment_covers_coater_key_and_folder(host: FakeHost, keyed: Coater) -> None:
    found = nodes_of_pack()
    rng = np.random.default_rng(0)
    (host.base / "input" / "art").mkdir()
    pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(host.base / "input" / "art" / "a.png")
    key, _ = run(found["SirenNewKey"], coater=keyed, save_as="k").args
    run(
        found["SirenCoatFolder"],
        coater=keyed,
        folder="art",
        save_as="siren/coated",
        layout="plain",
        strength=1.0,
        share=1.0,
        key=key,
    )
    commit = found["SirenCommit"]
    inputs = {"name": "mine.safetensors", "folder": "siren/coated", "save_as": "siren/commitment"}
    result = run(commit, **inputs, key=key)
    file = host.base / "output" / "siren" / "commitment_00001.json"
    assert result.args == (sha256_file(file),)
    made = Commitment.load(file)
    assert made.coater == keyed.fingerprint
    assert made.keys == (key.fingerprint(),)
    assert [Path(name).name for name, _ in made.files] == ["a.png"]
    assert result.ui["siren"][0]["title"] == "Committed: 1 coated images"
    verify = found["SirenKeyedVerify"]
    names = ["none", "siren/commitment_00001.json"]
    (choice,) = (part for part in verify.define_schema().inputs if part.id == "commitment")
    assert choice.options["options"] == names
    assert [verify.validate_inputs(commitment=name) for name in names] == [True, True]
    assert "no commitment 'gone.json'" in verify.validate_inputs(commitment="gone.json")
    assert "can't be used" in verify.validate_inputs(commitment="../../secret.json")
    without = run(commit, **(inputs | {"folder": ""}))
    assert without.ui["siren"][0]["tone"] == "warn"
    with pytest.raises(SirenError, match="no folder 'gone'"):
        run(commit, **(inputs | {"folder": "gone"}))


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_path_on_the_real_server(server: Server) -> None:
    Coater(SHAPE, seed=2).save(server.base / "models" / "siren" / "own.safetensors")
    graph = loaded(ICONS[0]) | {
        "coater": node("SirenLoadCoater", name="own.safetensors"),
        "key": node("SirenNewKey", coater=["coater", 0], save_as="made here"),
        "coat": node(
            "SirenCoatImage",
            coater=["coater", 0],
            image=["picture", 0],
            strength=1.0,
            key=["key", 0],
        ),
        "save": node(
            "SirenSaveCoatedImage", images=["coat", 0], record=["coat", 2], save_as="own/fox"
        ),
        "commit": node(
            "SirenCommit",
            name="own.safetensors",
            folder="",
            save_as="own/commitment",
            key=["key", 0],
        ),
        "score": node("SirenScoreCoating", coater=["coater", 0], image=["coat", 0]),
        "verify": node("SirenKeyedVerify", suspect=["score", 0], key=["key", 0], alpha=0.05),
    }
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", events(entry).get("execution_error")
    cards = {name: out["siren"][0] for name, out in entry["outputs"].items() if "siren" in out}
    assert cards["key"]["title"] == "Key made"
    assert (cards["save"]["title"], cards["save"]["tone"]) == ("Protected", "good")
    file = server.base / "output" / "own" / "commitment_00001.json"
    assert cards["commit"]["lines"][0] == f"SHA-256: {sha256_file(file)}"
    secret = (server.base / "user" / "__siren" / "passphrase.txt").read_text().strip()
    assert secret not in str(entry)
    # the passphrase is not served to browsers
    for path in ("userdata/..%2F__siren%2Fpassphrase.txt", "userdata/passphrase.txt"):
        with pytest.raises(HTTPError):
            server.raw(path)
