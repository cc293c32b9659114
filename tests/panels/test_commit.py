"""A commitment is made in a panel, without a terminal."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from support.evidence_samples import PASSPHRASE
from support.keyed_samples import BITS, coaters, noise, secrets_of

from siren_ext.evidence.commitment import Commitment, check_commitment
from siren_ext.files import sha256_file
from siren_ext.keys.coating_key import KeyRing
from siren_ext.panels.commit import commit_maker, commit_step
from siren_ext.panels.host import CoaterLibrary, PanelHost, UploadLimits

pytestmark = pytest.mark.usefixtures("cheap")


def test_a_commitment_covers_coater_key_and_images(tmp_path: Path) -> None:
    keyed = coaters(tmp_path / "coaters")
    file = tmp_path / "coaters" / "keyed.safetensors"
    key = KeyRing.draw(bits=BITS).key()
    text, path = commit_step(file, key, noise(tmp_path / "coated", 2, seed=1), tmp_path)
    assert sha256_file(path) in text
    assert "2 coated images" in text
    found = check_commitment(path, coater=keyed.fingerprint, keys=[key.fingerprint()])
    assert found.status != "does not fit"
    told = text + path.read_text()
    assert not [secret for secret in secrets_of(key) if secret in told]
    text, path = commit_step(file, None, tmp_path / "coated", tmp_path / "coaters")
    assert "no key" in text
    assert Commitment.load(path).keys == ()


def section(host: PanelHost) -> MagicMock:
    gr = MagicMock(__version__="4.40.0")
    gr.update = lambda **values: values
    commit_maker(gr, "t", host, (MagicMock(), MagicMock()), [MagicMock()] * 3)
    return gr


def test_the_section_answers(tmp_path: Path) -> None:
    coaters(tmp_path / "coaters")
    KeyRing.draw(bits=BITS).save(tmp_path / "keys.json", PASSPHRASE)
    images = [str(path) for path in noise(tmp_path / "coated", 2, seed=1).iterdir()]
    host = PanelHost(
        limits=UploadLimits(folders=True), coaters=CoaterLibrary(tmp_path / "coaters", device="cpu")
    )
    run = section(host).Button.return_value.click.call_args.args[0]
    given = SimpleNamespace(name=str(tmp_path / "keys.json"))
    card, file = run(images, "", "keyed.safetensors", None, given, PASSPHRASE, "")
    assert "Commitment made" in card
    assert len(Commitment.load(Path(file["value"])).files) == 2
    for values, words in (
        ((None, "", "keyed.safetensors", None, given, PASSPHRASE, ""), "No coated images"),
        ((images, "", "plain.safetensors", None, given, PASSPHRASE, ""), "not keyed"),
        ((images, "", "gone.safetensors", None, None, "", ""), "no coater named"),
    ):
        card, file = run(*values)
        assert words in card
        assert file == {"value": None, "visible": False}


def test_it_is_hidden_from_strangers() -> None:
    gr = section(PanelHost(limits=UploadLimits(folders=False)))
    assert gr.Accordion.call_args.kwargs["visible"] is False
