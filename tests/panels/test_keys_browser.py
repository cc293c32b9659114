"""Keys in a browser: the mistakes are told, the test is made, and the secret is found nowhere."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.evidence_samples import PASSPHRASE
from support.gradio_servers import browser_python, free_port, interpreter, output_of, served
from support.keyed_samples import coaters, noise, owners_key

from siren_ext.keys.coating_key import KeyRing
from siren_ext.report.check import check_report
from siren_ext.scoring.score import score_folder

HERE = Path(__file__).parent


def with_cryptography(which: str) -> str:
    python = interpreter(which)
    if subprocess.run([python, "-c", "import cryptography"], capture_output=True).returncode:
        pytest.skip(f"the Python with Gradio {which} lacks the package cryptography")
    return python


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("which", ["3", "current"])
def test_a_person_uses_a_key(which: str, tmp_path: Path) -> None:
    server = with_cryptography(which)
    python, chromium = browser_python()
    noise(tmp_path / "images", 6, seed=1)
    noise(tmp_path / "pictures", 8, seed=2)
    (tmp_path / "downloads").mkdir()
    (tmp_path / "plain.json").write_text('{"a key": "no"}')
    keyed = coaters(tmp_path / "coaters")
    for number in (1, 2):
        images = noise(tmp_path / f"clean {number}", 6, seed=10 + number)
        score_folder(images, keyed).save(tmp_path / f"clean {number}.json")
    key = owners_key(keyed, tmp_path / "pictures")
    KeyRing([("", key)]).save(tmp_path / "keys.json", PASSPHRASE)
    temp = tmp_path / "temp"
    temp.mkdir()
    port = free_port()
    words = [server, "-W", "ignore", str(HERE / "serve_panels.py"), str(tmp_path / "coaters")]
    with served([*words, str(port)], port, tmp_path / "log", TMPDIR=str(temp)) as address:
        drive = [python, str(HERE / "drive_keys.py"), address, str(tmp_path)]
        extra = {"SIREN_CHROMIUM": chromium, "SIREN_TEST_PASSPHRASE": PASSPHRASE}
        text = output_of(drive, seconds=800, **extra)
        kept = [path.read_bytes() for path in temp.rglob("*") if path.is_file()]
    seen: dict[str, Any] = json.loads(text)

    for prefix in ("siren_coat", "siren_verify"):
        assert "not a key file" in seen[f"{prefix}: no key file"]
        assert "passphrase is missing" in seen[f"{prefix}: no passphrase"]
        assert "passphrase is wrong" in seen[f"{prefix}: wrong passphrase"]
    assert "keyed" in seen["coat: no key"]
    assert "key file" in seen["coat: no key"]
    assert "not keyed" in seen["coat: plain coater"]
    assert "6 images coated" in seen["coat"]
    assert key.fingerprint()[:12] in seen["coat"]
    assert seen["members"] == [f"{index}.png" for index in range(6)]
    assert "differ" in seen["key: passphrases differ"]
    made = KeyRing.load(tmp_path / "downloads" / "made.json", PASSPHRASE)
    assert made.key().bits == key.bits
    assert made.key().fingerprint() in seen["key"]
    assert seen["verify"].lower() == "coating found"
    assert "100 %" in seen["bits"]  # how well the message fits
    assert seen["charts"] == 1
    assert "(decides)" in seen["both"]
    assert "Comparison with a reference model" in seen["both"]
    assert "several" not in seen["both"]
    assert "Comparison with several reference models" in seen["several"]
    report = json.loads((tmp_path / "downloads" / "report.json").read_text())
    assert [finding["test"] for finding in report["verdict"]["findings"]] == ["keyed"]
    (tmp_path / "downloads" / "made.json").unlink()
    assert check_report(tmp_path / "downloads").sound

    told = [text.encode(), (tmp_path / "log").read_bytes(), *kept]
    told += [path.read_bytes() for path in (tmp_path / "downloads").iterdir()]
    assert len(kept) > 10  # the server's temporary files were indeed looked at
    signs = key.signs()
    bits = "".join("1" if sign > 0 else "0" for sign in signs)
    for secret in (
        PASSPHRASE, bits, np.packbits(signs > 0).tobytes().hex(), key._salt.hex(),
        json.dumps(signs.tolist()), json.dumps(signs.tolist(), separators=(",", ":")),
    ):  # fmt: skip
        assert not [content for content in told if secret.encode() in content]
