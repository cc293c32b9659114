"""Readers of keys, commitments, ledgers, time stamps and what belongs to them."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from support.calendar import Calendar
from support.evidence_samples import PASSPHRASE
from support.fuzz_reader import Reader, Sample, of_file, sample_of
from support.score_sets import drawn
from support.time_authority import TimeAuthority

from siren_ext.evidence.beacon import read_round
from siren_ext.evidence.commitment import Commitment, make_commitment
from siren_ext.evidence.ledger import count_test, ledger_of, read_ledger, start_ledger
from siren_ext.evidence.ots import read_proof, request_proof
from siren_ext.evidence.prompt_plan import read_plan
from siren_ext.evidence.stamp import check_stamp
from siren_ext.keys import encrypted_file
from siren_ext.keys.coating_key import KeyRing
from siren_ext.keys.derived import KeySalt
from siren_ext.keys.signing import Signer

BEFORE = Path(__file__).resolve().parents[1] / "fixtures" / "before"


def evidence_readers(work: Path, coater: Path) -> list[Reader]:
    """All of them; ``work`` has coated images, and their good files are made there."""
    return [*_keys(work), *_evidence(work, coater)]


class _Open:
    """A cipher that hides nothing, so that the content of a key file can be damaged."""

    def encrypt(self, nonce: bytes, plain: bytes, head: bytes) -> bytes:
        return plain

    decrypt = encrypt


def _keys(work: Path) -> list[Reader]:
    KeyRing.draw(["anna", "ben"], 16).save(work / "keys.json", PASSPHRASE)
    Signer.draw().save(work / "signing.json", PASSPHRASE)
    KeySalt(["anna"], 16).save(work / "salt.json", PASSPHRASE)
    kinds: dict[str, Any] = {"keys.json": KeyRing, "signing.json": Signer, "salt.json": KeySalt}

    def load(path: Path) -> object:
        return kinds[path.name].load(path, PASSPHRASE)

    names = tuple(kinds)
    closed = Reader("key files", [sample_of(work / name, "json") for name in names], of_file(load))
    usual = encrypted_file._cipher
    opened: list[Sample] = []
    try:
        encrypted_file._cipher = lambda passphrase, derivation: _Open()
        made = (KeyRing.draw(["anna"], 16), Signer.draw(), KeySalt(["anna"], 16))
        for name, secret in zip(names, made, strict=True):
            (work / name).unlink()
            secret.save(work / name, PASSPHRASE)
            text = json.loads((work / name).read_bytes())
            opened.append(Sample(name, _plain(text["sealed"]), "json"))
    finally:
        encrypted_file._cipher = usual
    heads = {name: json.loads((work / name).read_bytes()) for name in names}

    def load_plain(folder: Path, place: str) -> object:
        import base64

        sealed = base64.b64encode((folder / place).read_bytes()).decode()
        (folder / place).write_text(json.dumps({**heads[place], "sealed": sealed}))
        encrypted_file._cipher = lambda passphrase, derivation: _Open()
        try:
            return load(folder / place)
        finally:
            encrypted_file._cipher = usual

    return [closed, Reader("contents of key files", opened, load_plain)]


def _plain(sealed: str) -> bytes:
    import base64

    return base64.b64decode(sealed)


def _evidence(work: Path, coater: Path) -> list[Reader]:
    made = make_commitment(coater, ["ab" * 32], work / "coated")
    made.save(work / "commitment.json")
    files = {"new.json": work / "commitment.json", "old.json": BEFORE / "commitment.json"}
    commitments = [sample_of(file, "json", name) for name, file in files.items()]
    beacon = {"round": 1000, "randomness": "ab" * 32, "signature": "cd" * 48}
    plan = b'prompts = ["an image of a fox", "a fox"]\ncount = 100\nseed = 7\n'
    start_ledger(work / "keys.json")
    for number in range(3):
        count_test(work / "keys.json", drawn(2, 12, seed=number), "cd" * 32)
    ledger = sample_of(ledger_of(work / "keys.json"), "lines", "ledger.jsonl")
    return [
        Reader("commitments", commitments, of_file(Commitment.load)),
        Reader(
            "beacon rounds",
            [Sample("round.json", json.dumps(beacon).encode(), "json")],
            of_file(read_round),
        ),
        Reader(
            "prompt plans",
            [
                Sample("plan.toml", plan, "text"),
                Sample("plan.json", b'{"prompts": ["a fox"], "count": 9, "seed": 7}', "json"),
            ],
            of_file(read_plan),
        ),
        Reader("ledgers", [ledger], of_file(read_ledger)),
        *_stamps(work),
        *_proofs(work),
    ]


def _stamps(work: Path) -> list[Reader]:
    if shutil.which("openssl") is None:
        return []
    authority = TimeAuthority(work / "authority")
    token = authority.stamped(work / "commitment.json")
    files = {"stamp.tsr": token, "root.pem": authority.root, "file.json": work / "commitment.json"}
    kept = {name: file.read_bytes() for name, file in files.items()}
    samples = [Sample(name, kept[name], "") for name in ("stamp.tsr", "root.pem")]

    def check(folder: Path, place: str) -> object:
        return check_stamp(*(folder / name for name in ("stamp.tsr", "file.json", "root.pem")))

    return [Reader("time stamps", samples, check, kept)]


def _proofs(work: Path) -> list[Reader]:
    if find_spec("opentimestamps") is None:
        return []
    file = work / "commitment.json"
    with Calendar() as calendar:
        sample = Sample("c.ots", request_proof(calendar.url, file).data, "")

    def check(folder: Path, place: str) -> object:
        return read_proof(folder / place, folder / "file.json")

    return [Reader("calendar proofs", [sample], check, {"file.json": file.read_bytes()})]
