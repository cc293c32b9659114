"""Keys in the panels: opened from uploads, matched with coaters, used, and kept nowhere."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
from support.evidence_samples import PASSPHRASE
from support.keyed_samples import BITS, coaters, noise, owners_key

from siren_ext.coater.coater import Coater
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import CoaterError, ConfigError, EvidenceError, ScoreError
from siren_ext.evidence.commitment import make_commitment
from siren_ext.keys.coating_key import CoatingKey, KeyRing
from siren_ext.panels import html as cards
from siren_ext.panels import keys
from siren_ext.panels.actions import coat_step, require_matching_key, verify_step
from siren_ext.panels.host import CoaterLibrary, PanelHost, UploadLimits
from siren_ext.panels.keys import key_choice, key_maker, new_key_file, open_key
from siren_ext.panels.lora import KEY_ALONE, ImageRequest, lora_step, reference_remark
from siren_ext.panels.recheck import recheck_step
from siren_ext.panels.report import recheck_note
from siren_ext.panels.verify import verdict_values
from siren_ext.progress import Progress

pytestmark = pytest.mark.usefixtures("cheap")
WRONG = "quite another passphrase"


@pytest.fixture
def keyed(tmp_path: Path) -> Coater:
    return coaters(tmp_path / "coaters")


@pytest.fixture
def plain(tmp_path: Path, keyed: Coater) -> Coater:
    return Coater.load(tmp_path / "coaters" / "plain.safetensors")


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    made = KeyRing.draw(["gallery", "printer"])
    made.save(tmp_path / "keys.json", PASSPHRASE)
    return made


def upload(path: Path) -> SimpleNamespace:
    return SimpleNamespace(name=str(path))


def secrets_of(key: CoatingKey) -> list[str]:
    signs = key.signs()
    bits = "".join("1" if sign > 0 else "0" for sign in signs)
    lists = [
        json.dumps(signs.tolist(), separators=between) for between in ((", ", ": "), (",", ":"))
    ]
    return [bits, np.packbits(signs > 0).tobytes().hex(), key._salt.hex(), *lists, PASSPHRASE]


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
        (b"{}", PASSPHRASE, "", "This is no key file"),
        (b"\x89PNG\r\n\x1a\n\xff", PASSPHRASE, "", "This is no key file"),
        (b"[" * 100_000, PASSPHRASE, "", "This is no key file"),
        (b" " * 2_000_000, PASSPHRASE, "", "at most"),
        (before.replace(b'"cost": 14', b'"cost": 30'), PASSPHRASE, "", "scrypt cost"),
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


def test_key_and_coater_have_to_belong_together(keyed: Coater, plain: Coater) -> None:
    key = CoatingKey.draw(BITS)
    require_matching_key(keyed, key, needed=True)
    require_matching_key(plain, None, needed=True)
    require_matching_key(keyed, None)
    with pytest.raises(CoaterError, match="Add your key file"):
        require_matching_key(keyed, None, needed=True)
    with pytest.raises(CoaterError, match="not keyed"):
        require_matching_key(plain, key)
    with pytest.raises(CoaterError, match="has 16 bits, but this coater needs 48"):
        require_matching_key(keyed, CoatingKey.draw(16))


def test_coating_with_a_key(host: PanelHost, pictures: Path, keyed: Coater, plain: Coater) -> None:
    key, other = CoatingKey.draw(BITS), CoatingKey.draw(BITS)
    data = ImageSet.open(pictures)
    done = coat_step(data, keyed, host.jobs.new("t"), key=key)
    again = coat_step(data, keyed, host.jobs.new("t"), key=other)
    assert [path.read_bytes() for path in done.files] != [p.read_bytes() for p in again.files]
    card = cards.coat_card(done)
    assert key.fingerprint()[:12] in card
    assert "together with your key" in card
    with pytest.raises(CoaterError, match="Add your key file"):
        coat_step(data, keyed, host.jobs.new("t"))
    with pytest.raises(CoaterError, match="not keyed"):
        coat_step(data, plain, host.jobs.new("t"), key=key)
    told = [card.encode(), *(p.read_bytes() for p in done.folder.rglob("*") if p.is_file())]
    with zipfile.ZipFile(done.archive) as archive:
        told += [archive.read(name) for name in archive.namelist()]
    for secret in secrets_of(key):
        assert not [text for text in told if secret.encode() in text]


def test_a_verdict_with_the_key_alone(host: PanelHost, keyed: Coater, tmp_path: Path) -> None:
    suspect = noise(tmp_path / "s", 8, seed=2)
    key, job = owners_key(keyed, suspect), host.jobs.new("t")
    verification = verify_step(suspect, None, keyed, job, alpha=1e-6, key=key)
    assert verification.verdict.outcome == "coating found"
    assert verification.reference is None
    assert [one.test for one in verification.verdict.findings] == ["keyed"]
    card = cards.verdict_card(verification.verdict)
    assert f"{BITS} of {BITS} bits" in card
    assert "secret message had nothing to do" in card
    assert "No commitment" in card
    charts = cards.chart_card(verification.verdict, verification.suspect, None)
    assert charts.count("<svg") == 1
    assert "the secret" in charts
    assert "the secret" in verification.report.html.read_text(encoding="utf-8")
    told = [card, charts, *(p.read_text("utf-8", "replace") for p in job.rglob("*") if p.is_file())]
    for secret in secrets_of(key):
        assert not [text for text in told if secret in text]
    innocent = verify_step(suspect, None, keyed, host.jobs.new("t"), key=CoatingKey.draw(BITS))
    assert innocent.verdict.outcome == "no evidence"


def test_every_finding_that_the_data_permit(host: PanelHost, keyed: Coater, tmp_path: Path) -> None:
    suspect, clean = noise(tmp_path / "s", 8, seed=2), noise(tmp_path / "r", 9, seed=3)
    key, job = owners_key(keyed, suspect), host.jobs.new("t")
    verification = verify_step(suspect, clean, keyed, job, alpha=1e-2, key=key)
    assert [one.test for one in verification.verdict.findings] == ["keyed", "ks"]
    # decided by what was supplied: the key, whatever the other test's p
    assert verification.verdict.test == "keyed"
    card = cards.verdict_card(verification.verdict)
    assert "Keyed test (decides)" in card
    assert "Comparison with a reference model" in card
    assert (
        cards.chart_card(verification.verdict, verification.suspect, verification.reference).count(
            "<svg"
        )
        == 3
    )
    without = verify_step(suspect, clean, keyed, host.jobs.new("t"), alpha=1e-2)
    assert [one.test for one in without.verdict.findings] == ["ks"]
    assert without.verdict.finding == verification.verdict.finding


def test_nothing_to_test_with(
    host: PanelHost, keyed: Coater, plain: Coater, tmp_path: Path
) -> None:
    suspect = noise(tmp_path / "s", 4, seed=2)
    with pytest.raises(ScoreError, match="nothing to compare"):
        verify_step(suspect, None, keyed, host.jobs.new("t"))
    with pytest.raises(CoaterError, match="not keyed"):
        verify_step(suspect, None, plain, host.jobs.new("t"), key=CoatingKey.draw(BITS))


def test_a_commitment_is_compared(host: PanelHost, keyed: Coater, tmp_path: Path) -> None:
    suspect, file = noise(tmp_path / "s", 4, seed=2), tmp_path / "commitment.json"
    key = owners_key(keyed, suspect)
    made = make_commitment(tmp_path / "coaters" / "keyed.safetensors", [key.fingerprint()], None)
    made.save(file)
    jobs = host.jobs
    good = verify_step(suspect, None, keyed, jobs.new("t"), key=key, commitment=file)
    assert good.verdict.precedence.status == "committed before"
    assert "No commitment" not in cards.verdict_card(good.verdict)
    other = CoatingKey.draw(BITS)
    bad = verify_step(suspect, None, keyed, jobs.new("t"), key=other, commitment=file)
    assert bad.verdict.precedence.status == "does not fit"
    with pytest.raises(EvidenceError):
        verify_step(suspect, None, keyed, jobs.new("t"), key=key, commitment=tmp_path / "none.json")


class Generator:
    """Draws noise."""

    def __init__(self) -> None:
        self.requests: list[ImageRequest] = []

    def checkpoints(self) -> list[str]:
        return ["tiny"]

    def loras(self) -> list[str]:
        return ["accused"]

    def generate(self, request: ImageRequest, out: Path, progress: Progress) -> dict[str, object]:
        self.requests.append(request)
        noise(out, request.count, request.seed + len(request.loras))
        return {"prompts": list(request.prompts)}


REQUEST = ImageRequest("tiny", (("accused", 1.0),), ("a dog",), 8, 1, 3, 7.0, 64)


@pytest.mark.parametrize(("clean", "roles"), [(None, 1), ((), 2)])
def test_a_lora_with_a_key(
    keyed: Coater, tmp_path: Path, clean: tuple[()] | None, roles: int
) -> None:
    key, generator = owners_key(keyed, noise(tmp_path / "same", 8, seed=2)), Generator()
    job = tmp_path / "job"
    job.mkdir()
    done = lora_step(generator, REQUEST, clean, 9, keyed, job, alpha=1e-6, key=key)
    card, charts, report, low, _ = verdict_values(done, reference_remark(clean))
    assert len(generator.requests) == roles
    assert f"{BITS} of {BITS} bits" in card
    assert ("without a LoRA" in card) is (roles == 2)
    assert charts.count("<svg") == (1 if roles == 1 else 3)
    assert len(report) == 2
    assert low


def test_nothing_is_generated_for_an_impossible_test(
    keyed: Coater, plain: Coater, tmp_path: Path
) -> None:
    key, generator = CoatingKey.draw(BITS), Generator()
    with pytest.raises(ConfigError, match="key alone decides, but no key"):
        lora_step(generator, REQUEST, None, 9, keyed, tmp_path)
    with pytest.raises(CoaterError, match="not keyed"):
        lora_step(generator, REQUEST, None, 9, plain, tmp_path, key=key)
    assert generator.requests == []
    assert KEY_ALONE.startswith("no reference")


def test_a_keyed_report_is_computed_again(host: PanelHost, keyed: Coater, tmp_path: Path) -> None:
    suspect = noise(tmp_path / "s", 8, seed=2)
    key, job = owners_key(keyed, suspect), host.jobs.new("t")
    verification = verify_step(suspect, None, keyed, job, alpha=1e-6, key=key)
    renamed = tmp_path / "report (1).json"
    renamed.write_bytes(verification.report.json.read_bytes())
    found = recheck_step(renamed)
    assert found.agrees
    assert found.verdict.deciding.p_value == pytest.approx(verification.verdict.deciding.p_value)
    assert "its figures follow from its scores" in recheck_note(found)
    assert "can be checked only with the key" in recheck_note(found)
    assert cards.chart_card(found.verdict, found.suspect, found.reference).count("<svg") == 1
    other = replace(found, stated="no evidence")
    assert "It states 'no evidence', based on a test that looked at the images one by one" in recheck_note(other)
    data = json.loads(renamed.read_text(encoding="utf-8"))
    data["verdict"]["findings"][0]["p_value"] = 1e-40
    renamed.write_text(json.dumps(data), encoding="utf-8")
    forged = recheck_step(renamed)
    assert not forged.agrees
    assert "Do not rely on this report" in recheck_note(forged)
    for finding in (None, {"test": "keyed"}, {"test": "keyed", "result": {}}, 5):
        data["verdict"]["findings"] = [finding]
        renamed.write_text(json.dumps(data), encoding="utf-8")
        with pytest.raises((ScoreError, EvidenceError)):
            recheck_step(renamed)


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
        (keyed, "a\na", PASSPHRASE, PASSPHRASE, "there already"),
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
    assert "whoever runs its server could read a key" in words
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
