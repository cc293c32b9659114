"""Keys in the panels: opened from uploads, drawn, and kept nowhere."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from support.evidence_samples import PASSPHRASE
from support.keyed_samples import BITS, secrets_of

from siren_ext.coater.coater import Coater
from siren_ext.errors import CoaterError, EvidenceError
from siren_ext.keys.coating_key import KeyRing
from siren_ext.panels import html as cards
from siren_ext.panels import keys
from siren_ext.panels.host import CoaterLibrary, PanelHost, UploadLimits
from siren_ext.panels.keys import key_choice, key_maker, new_key_file, open_key

pytestmark = pytest.mark.usefixtures("cheap")


WRONG = "quite another passphrase"


def upload(path: Path) -> SimpleNamespace:
    return SimpleNamespace(name=str(path))


def test_a_key_is_opened(ring: KeyRing, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    assert open_key(upload(file), PASSPHRASE, " printer ") == ring.key("printer")
    assert open_key([str(file)], PASSPHRASE, "gallery") == ring.key("gallery")
    assert open_key(None, "", None) is None
    assert open_key([], None, " ") is None


def test_mistakes_with_a_key_are_told(ring: KeyRing, tmp_path: Path) -> None:
    file, other = tmp_path / "keys.json", tmp_path / "x.json"
    before = file.read_bytes()
    for content, secret, name, words in (
        (None, PASSPHRASE, "", "without a key file"),
        (None, "", "gallery", "without a key file"),
        (before, "", "gallery", "passphrase is missing"),
        (before, WRONG, "gallery", "passphrase is wrong"),
        (before, PASSPHRASE, "", "name one of its recipients: gallery, printer"),
        (before, PASSPHRASE, "me", "no key for 'me'"),
        (b"{}", PASSPHRASE, "", "This is not a key file"),
        (b"\x89PNG\r\n\x1a\n\xff", PASSPHRASE, "", "This is not a key file"),
        (b"[" * 100_000, PASSPHRASE, "", "This is not a key file"),
        (b" " * 34_000_000, PASSPHRASE, "", "at most"),
        (before.replace(b'"cost": 14', b'"cost": 30'), PASSPHRASE, "", "derivation.cost is 30"),
        (before.replace(b'"sealed": "', b'"sealed": "AAAA'), PASSPHRASE, "", "wrong, or the file"),
    ):
        if content is not None:
            other.write_bytes(content)
        with pytest.raises(EvidenceError, match=words) as caught:
            open_key(upload(other) if content is not None else None, secret, name)
        message = cards.problem(str(caught.value))
        assert PASSPHRASE not in message
        assert WRONG not in message
        assert str(tmp_path) not in message
    assert file.read_bytes() == before


def test_a_fresh_key(host: PanelHost, keyed: Coater, plain: Coater) -> None:
    job = host.jobs.new("t")
    text, path = new_key_file(keyed, " gallery \n\nprinter\n", PASSPHRASE, PASSPHRASE, job)
    made = KeyRing.load(path, PASSPHRASE)
    assert made.names == ("gallery", "printer")
    assert made.bits == BITS
    assert path.stat().st_mode & 0o077 == 0
    assert all(key.fingerprint() in text for _, key in made)
    for _, key in made:
        assert not [word for word in secrets_of(key) if word in text]
        assert not [word for word in secrets_of(key) if word.encode() in path.read_bytes()]
    second = new_key_file(keyed, "", PASSPHRASE, PASSPHRASE, host.jobs.new("t"))[1]
    assert KeyRing.load(second, PASSPHRASE).names == ("",)
    for coater, names, first, again, words in (
        (plain, "", PASSPHRASE, PASSPHRASE, "not keyed"),
        (keyed, "", PASSPHRASE, WRONG, "differ"),
        (keyed, "", "short", "short", "at least 8"),
        (keyed, "", None, None, "at least 8"),
        (keyed, "a\na", PASSPHRASE, PASSPHRASE, "already a key for 'a'"),
        (keyed, "x" * 201, PASSPHRASE, PASSPHRASE, "recipient's name"),
    ):
        empty = host.jobs.new("t")
        with pytest.raises((CoaterError, EvidenceError), match=words):
            new_key_file(coater, names, first, again, empty)
        assert list(empty.iterdir()) == []


def layout(limits: UploadLimits) -> tuple[MagicMock, str, dict[str, bool]]:
    """What the key's part lays out: the words in it, and which pieces can be seen."""
    gr = MagicMock(__version__="4.40.0")
    key_choice(gr, "p", limits, "For what.", "siren-ext coat", commitment=True)
    key_maker(gr, "p", PanelHost(limits=limits, coaters=CoaterLibrary(device="cpu")), (None, None))
    words = " ".join(call.args[0] for call in gr.HTML.call_args_list if call.args)
    pieces = [*gr.File.call_args_list, *gr.Textbox.call_args_list, *gr.Accordion.call_args_list]
    return gr, words, {p.kwargs["elem_id"]: p.kwargs.get("visible", True) for p in pieces}


def test_pages_that_others_reach_warn_and_draw_no_key() -> None:
    _, words, seen = layout(UploadLimits(folders=True))
    assert "opened in memory" in words
    assert "your own machine" not in words
    assert seen["p_newkey"]
    gr, words, seen = layout(UploadLimits(folders=False))
    assert "anybody who runs its server could read a key" in words
    assert "siren-ext coat" in words
    assert not seen["p_newkey"]
    assert seen["p_key_file"]
    kinds = {call.kwargs["elem_id"]: call.kwargs.get("type") for call in gr.Textbox.call_args_list}
    assert {name for name, kind in kinds.items() if kind == "password"} == {
        "p_key_passphrase", "p_newkey_passphrase", "p_newkey_again",
    }  # fmt: skip
    assert all(call.kwargs["value"] == "" for call in gr.Textbox.call_args_list)


def test_without_the_package_the_panel_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, ring: KeyRing, tmp_path: Path
) -> None:
    monkeypatch.setattr(keys, "find_spec", lambda name: None)
    _, words, seen = layout(UploadLimits(folders=True))
    assert "pip install cryptography" in words
    assert not any(
        seen[name] for name in ("p_key_file", "p_key_passphrase", "p_key_recipient", "p_newkey")
    )
    with pytest.raises(EvidenceError, match="pip install cryptography"):
        open_key(upload(tmp_path / "keys.json"), PASSPHRASE, "gallery")
    assert open_key(None, "", "") is None
