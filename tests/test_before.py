"""Files that earlier versions wrote still load, with the same values, and are written the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from support.evidence_samples import PASSPHRASE, known_key

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coating.journal import JOURNAL_NAME, CoatJournal
from siren_ext.coating.manifest import CoatConfig, CoatManifest
from siren_ext.evidence.commitment import Commitment, check_commitment
from siren_ext.experiments.layout import cached_value
from siren_ext.files import sha256_file, write_json
from siren_ext.keys import encrypted_file
from siren_ext.keys.coating_key import KeyRing
from siren_ext.keys.signing import Signer
from siren_ext.panels.recheck import recheck_step
from siren_ext.report.check import check_report
from siren_ext.report.integrity import read_seal, write_seal
from siren_ext.schema import to_plain
from siren_ext.scoring.score import score_folder
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.suspects.base import PromptPlan, Usage, generate_images, read_missed
from siren_ext.training.state import read_state
from siren_ext.workflows.demo_summary import DemoSummary
from siren_ext.workflows.run_log import RunLog

BEFORE = Path(__file__).parent / "fixtures" / "before"
EXPECTED: dict[str, Any] = json.loads((BEFORE / "expected.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(EXPECTED["coaters"]))
def test_coaters(name: str, tmp_path: Path) -> None:
    coater, expected = Coater.load(BEFORE / name), EXPECTED["coaters"][name]
    picture = torch.linspace(0, 1, 3 * 20 * 24).view(1, 3, 20, 24)
    assert coater.fingerprint == expected["fingerprint"]
    assert float(coater.score(picture)[0]) == pytest.approx(expected["score"], rel=1e-5)
    assert coater.config.to_dict() == expected["config"]
    assert coater.provenance == expected["provenance"]
    coater.save(tmp_path / name)
    with (
        safe_open(str(BEFORE / name), framework="pt") as old,
        safe_open(str(tmp_path / name), framework="pt") as new,
    ):
        assert new.metadata() == old.metadata()


@pytest.mark.parametrize("name", sorted(EXPECTED["bundled"]))
def test_bundled_coaters_keep_their_fingerprints(name: str) -> None:
    assert Coater.load(coater_path(name)).fingerprint == EXPECTED["bundled"][name]


def test_manifest(tmp_path: Path) -> None:
    manifest = CoatManifest.load(BEFORE / "siren_manifest.json")
    assert json.loads(json.dumps(to_plain(manifest))) == EXPECTED["manifest"]
    assert manifest.entries[0].size == (32, 32)
    assert [failure.source for failure in manifest.failures] == ["broken.png"]
    manifest.save(tmp_path / "manifest.json")
    assert same_bytes(tmp_path / "manifest.json", "siren_manifest.json")


def test_journal(tmp_path: Path) -> None:
    shutil.copy(BEFORE / "journal.jsonl", tmp_path / JOURNAL_NAME)
    lines = (BEFORE / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    header, entries = json.loads(lines[0]), list(map(json.loads, lines[1:]))
    assert len(lines) == EXPECTED["journal"]["lines"] == 4
    journal = CoatJournal(tmp_path, header["coater"], CoatConfig(strength=1.5))
    known = [journal.known(entry["source"]) for entry in entries]
    assert [json.loads(json.dumps(to_plain(entry))) for entry in known] == entries
    journal.begin(header["outputs"], [entry for entry in known if entry is not None])
    assert same_bytes(tmp_path / JOURNAL_NAME, "journal.jsonl")


@pytest.mark.parametrize("name", sorted(EXPECTED["scores"]))
def test_scores(name: str, tmp_path: Path) -> None:
    scores, expected = ScoreSet.load(BEFORE / name), EXPECTED["scores"][name]
    assert scores.to_dict() == expected
    assert scores.scores.tolist() == [row["score"] for row in expected["images"]]
    assert scores.looks is not None
    assert (scores.features is not None) == (name == "scores.json")
    scores.save(tmp_path / name)
    assert same_bytes(tmp_path / name, name)


def test_keys_and_signatures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cryptography")
    ring = KeyRing.load(BEFORE / "owner.key", PASSPHRASE)
    found = {
        name: {"fingerprint": key.fingerprint(), "signs": key.signs().tolist()}
        for name, key in ring
    }
    assert found == EXPECTED["keys"]
    signer = Signer.load(BEFORE / "signing.key", PASSPHRASE)
    assert signer.public == EXPECTED["signing"]["public"]
    assert signer.sign(b"x") == EXPECTED["signing"]["signature_of_x"]
    monkeypatch.setattr(encrypted_file, "COST", 14)
    for name, secret in (("owner.key", ring), ("signing.key", signer)):
        head = json.loads((BEFORE / name).read_text(encoding="utf-8"))
        drawn = iter(
            [bytes.fromhex(head["derivation"]["salt"]), bytes.fromhex(head["cipher"]["nonce"])]
        )
        with monkeypatch.context() as patch:
            patch.setattr("os.urandom", lambda size, drawn=drawn: next(drawn))
            secret.save(tmp_path / name, PASSPHRASE)
        assert same_bytes(tmp_path / name, name)


def test_commitment(tmp_path: Path) -> None:
    commitment, expected = Commitment.load(BEFORE / "commitment.json"), EXPECTED["commitment"]
    values = json.loads(json.dumps(to_plain(commitment)))
    added = {"salt": None, "plan": None, "bits": [], "twins": None}  # what such files can't hold
    assert {**values, "sha256": sha256_file(BEFORE / "commitment.json")} == expected | added
    assert commitment.save(tmp_path / "again.json") == expected["sha256"]
    coater = Coater.load(BEFORE / "keyed.safetensors").fingerprint
    keys = [next(iter(EXPECTED["keys"].values()))["fingerprint"]]
    found = check_commitment(
        BEFORE / "commitment.json",
        coater=coater,
        keys=keys,
        coater_file=BEFORE / "keyed.safetensors",
    )
    assert found.to_dict() == EXPECTED["precedence"]


@pytest.mark.parametrize("name", sorted(EXPECTED["reports"]))
def test_reports_are_still_intact(name: str) -> None:
    pytest.importorskip("cryptography")
    folder, *with_key = name.split(" ", 1)
    secret: dict[str, Any] = {}
    if with_key:
        suspect = ScoreSet.load(BEFORE / "report_keyed_suspect.json")
        secret = {"key": known_key(), "suspect": suspect}
    found = check_report(BEFORE / folder, public=EXPECTED["signing"]["public"], **secret)
    assert found.sound
    states = [(point.name, point.state) for point in found.points]
    later = ("page", "commitment", "number of tests")  # points that came after these reports
    assert {state for name, state in states if name in later} == {"not checked"}
    states = [(name, state) for name, state in states if name not in later]
    expected = [(point["name"], point["state"]) for point in EXPECTED["reports"][name]]
    if name == "report_ks":  # its find by a reference alone is none today
        expected[-1] = ("verdict", "not checked")
        told = next(point.text for point in found.points if point.name == "verdict")
        assert "an earlier version could state 'coating found' of these figures" in told
        assert "by today's rules they give 'not comparable'" in told
    assert states == expected


@pytest.mark.parametrize("name", ["report_ks", "report_keyed"])
def test_reports_are_shown_again(name: str) -> None:
    again = recheck_step(BEFORE / name / "report.json")
    assert again.agrees
    assert again.stated == "coating found"
    few = "not comparable"  # what is said today of 12 images, too few to be shown to look alike
    assert again.verdict.outcome == (few if name == "report_ks" else "coating found")


@pytest.mark.parametrize("name", ["report_ks", "report_keyed"])
def test_seals_are_written_as_before(name: str, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    shutil.copytree(BEFORE / name, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "report.seal.json"
    old = json.loads(path.read_text(encoding="utf-8"))
    write_seal(tmp_path, Signer.load(BEFORE / "signing.key", PASSPHRASE))
    assert read_seal(tmp_path).valid
    new = json.loads(path.read_text(encoding="utf-8"))
    assert new["created"] > old["created"]
    assert list(new) == list(old)
    # the signature is over the time as well
    write_json(path, new | {name: old[name] for name in ("created", "signature")})
    assert same_bytes(path, f"{name}/report.seal.json")
    assert read_seal(tmp_path).valid


class Silent:
    """The suspect of the stored pictures; it must not be asked for those that are there."""

    def __init__(self, provenance: dict[str, Any]) -> None:
        self.usage, self.told, self.asked = Usage(), provenance["suspect"], [-1]

    def describe(self) -> dict[str, Any]:
        return dict(self.told)

    def generate(self, plan: Any, *, indices: Any = None, progress: Any = None) -> Any:
        self.asked = list(indices)
        yield from ()


def test_generated_pictures(tmp_path: Path) -> None:
    expected = EXPECTED["provenance"]
    assert read_missed(BEFORE / "generated") == list(expected["missed"].items())
    shutil.copytree(BEFORE / "generated", tmp_path / "o")
    suspect = Silent(expected)
    plan = PromptPlan.from_dict(expected["plan"])
    paths = generate_images(suspect, plan, tmp_path / "o")
    assert suspect.asked == [1], "only the picture that was missed is asked for again"
    assert suspect.usage.requests == expected["requests"]
    assert [path.name for path in paths] == ["00000.png", "00002.png", "00003.png"]
    again = json.loads((tmp_path / "o" / "provenance.json").read_text(encoding="utf-8"))
    assert again == {name: value for name, value in expected.items() if name != "missed"}
    coater = Coater.load(BEFORE / "coater.safetensors")
    scored = score_folder(BEFORE / "generated", coater)
    assert scored.source["provenance"] == expected


def test_adapter() -> None:
    from siren_ext.adapters.read import read_summary
    from siren_ext.personalize.record import RUN_KEY

    summary = read_summary(BEFORE / "adapter.safetensors")
    assert set(summary.ranks) == {1}
    with safe_open(str(BEFORE / "adapter.safetensors"), framework="pt") as stream:
        assert stream.metadata() == EXPECTED["adapter"]
        assert len(stream.metadata()[RUN_KEY]) == 64


def test_demo(tmp_path: Path) -> None:
    shutil.copytree(BEFORE / "demo", tmp_path, dirs_exist_ok=True)
    assert DemoSummary.load(tmp_path) is None, "its report is not there"
    (tmp_path / "report.html").touch()
    summary = DemoSummary.load(tmp_path)
    assert summary is not None
    assert summary.to_dict(tmp_path) == EXPECTED["demo"]["summary"]
    path = tmp_path / "demo.json"
    log = RunLog(path, "demo", EXPECTED["demo"]["config"], key="config")
    account = EXPECTED["demo"]["ledger"]
    assert log.costs() == {name: account[name] for name in ("seconds", "peak_memory_gb")}
    with log.step("another"):
        pass
    assert keeps(path, "demo/demo.json")


def test_study(tmp_path: Path) -> None:
    shutil.copytree(BEFORE / "study", tmp_path, dirs_exist_ok=True)
    log = RunLog(tmp_path / "study.json", "study", EXPECTED["study"]["identity"])
    assert log.costs() == EXPECTED["study"]["costs"]
    with log.step("another"):
        pass
    assert keeps(tmp_path / "study.json", "study/study.json")
    key = {"images": ["a"], "levels": (0.1, 0.5)}
    value = cached_value(tmp_path / "stages.json", key, lambda: pytest.fail("made again"))
    assert value == {"survival": [1.5, None], "learnt": {"x": 1}}


def test_training_state() -> None:
    state = read_state(BEFORE / "training.state", EXPECTED["state"]["run"], torch.device("cpu"))
    assert state is not None
    assert sorted(state) == EXPECTED["state"]["names"]


def keeps(path: Path, name: str) -> bool:
    """Whether a log with one more step differs from the old one in that alone, text included."""
    now = json.loads(path.read_text(encoding="utf-8"))
    now["seconds"].pop("another")
    now["peak_memory_gb"] = json.loads((BEFORE / name).read_bytes())["peak_memory_gb"]
    write_json(path, now)
    return same_bytes(path, name)


def same_bytes(path: Path, name: str) -> bool:
    return path.read_bytes() == (BEFORE / name).read_bytes()
