"""Coating and verifying with a key: matched with coaters, used, and kept nowhere."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from support.evidence_samples import PASSPHRASE
from support.keyed_samples import BITS, noise, owners_key, secrets_of

from siren_ext.coater.coater import Coater
from siren_ext.coating.outputs import folder_to_coat
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import CoaterError, EvidenceError, ScoreError
from siren_ext.evidence.commitment import make_commitment
from siren_ext.evidence.ledger import ledger_of, start_ledger
from siren_ext.keys.coating_key import CoatingKey, KeyRing
from siren_ext.panels import html as cards
from siren_ext.panels.actions import (
    coat_step,
    require_matching_key,
    verify_step,
)
from siren_ext.panels.host import PanelHost
from siren_ext.panels.keys import open_key, with_ledger
from siren_ext.panels.verify import verdict_values

pytestmark = pytest.mark.usefixtures("cheap")


def test_key_and_coater_have_to_belong_together(keyed: Coater, plain: Coater) -> None:
    key = CoatingKey.draw(BITS)
    require_matching_key(keyed, key, needed=True)
    require_matching_key(plain, None, needed=True)
    require_matching_key(keyed, None)
    with pytest.raises(CoaterError, match=r"Add your key file.*siren-ext key new"):
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
    assert folder_to_coat(done.folder, data, keyed, key) == done.folder
    assert folder_to_coat(done.folder, data, keyed, other).name == f"{done.folder.name}-2"
    card = cards.coat_card(done)
    assert key.fingerprint()[:12] in card
    assert "You need that coater and your key" in card
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
    assert "<b>100 %</b><span>how well the secret message fits" in card
    assert "share of random keys that would fit the pictures as well" in card
    assert "No commitment" in card
    charts = cards.chart_card(verification.verdict, verification.suspect, None)
    assert charts.count("<svg") == 1
    assert "secret message" in charts
    assert "secret message" in verification.report.html.read_text(encoding="utf-8")
    told = [card, charts, *(p.read_text("utf-8", "replace") for p in job.rglob("*") if p.is_file())]
    for secret in secrets_of(key):
        assert not [text for text in told if secret in text]
    innocent = verify_step(suspect, None, keyed, host.jobs.new("t"), key=CoatingKey.draw(BITS))
    assert innocent.verdict.outcome == "inconclusive", "an untrained coater reads nothing"
    assert "This coater can't read pictures of this kind" in innocent.verdict.headline


def test_a_test_is_entered_into_the_ledger_that_came_with_the_key(
    host: PanelHost, keyed: Coater, tmp_path: Path
) -> None:
    suspect = noise(tmp_path / "s", 8, seed=2)
    KeyRing([("a", owners_key(keyed, suspect)), ("b", CoatingKey.draw(BITS))]).save(
        tmp_path / "keys.json", PASSPHRASE
    )
    start_ledger(tmp_path / "keys.json")
    given = [str(ledger_of(tmp_path / "keys.json"))]
    for number, seed in ((1, 2), (2, 5)):
        pictures = noise(tmp_path / f"s{number}", 8, seed=seed)
        key = open_key([str(tmp_path / "keys.json")], PASSPHRASE, "a")
        job = host.jobs.new("t")
        done = verify_step(pictures, None, keyed, job, key=with_ledger(key, given, job))
        assert done.verdict.config.price == 2 * number * (number + 1)
        assert f"test {number} of the key file" in cards.verdict_card(done.verdict)
        assert "There was no ledger" not in done.verdict.precedence.text
        assert verdict_values(done)[2][2:] == [str(done.ledger)]
        assert done.ledger is not None
        assert done.ledger.name == "keys.json.ledger"
        given = [str(done.ledger)]
    job = host.jobs.new("t")
    begun = verify_step(suspect, None, keyed, job, key=with_ledger(key, None, job))
    assert "There was no ledger beside the key file" in cards.verdict_card(begun.verdict)
    with pytest.raises(EvidenceError, match="without a key file"):
        with_ledger(None, given, job)


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
    crafted = owners_key(keyed, suspect)
    make_commitment(tmp_path / "coaters" / "keyed.safetensors", [other.fingerprint()], None).save(
        tmp_path / "others.json"
    )
    unfit = verify_step(
        suspect, None, keyed, jobs.new("t"), key=crafted, commitment=tmp_path / "others.json"
    )
    assert unfit.verdict.outcome == "inconclusive"
    assert "That counts for nothing" in cards.verdict_card(unfit.verdict)
    many = [CoatingKey.draw(BITS).fingerprint() for _ in range(9)]
    make_commitment(
        tmp_path / "coaters" / "keyed.safetensors", [key.fingerprint(), *many], None
    ).save(tmp_path / "ten.json")
    ten = verify_step(
        suspect, None, keyed, jobs.new("t"), key=key, commitment=tmp_path / "ten.json"
    )
    assert ten.verdict.config.price == 10
    assert "The commitment holds 10 keys, and p is multiplied by it" in cards.verdict_card(
        ten.verdict
    )
    with pytest.raises(EvidenceError):
        verify_step(suspect, None, keyed, jobs.new("t"), key=key, commitment=tmp_path / "none.json")
