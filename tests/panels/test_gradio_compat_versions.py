"""The panels build alike in every Gradio that a host may bring."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.gradio_servers import VARIABLES, interpreter, output_of

PASSPHRASES = {
    *(f"siren_{panel}_key_passphrase" for panel in ("coat", "verify", "lora")),
    "siren_coat_newkey_passphrase",
    "siren_coat_newkey_again",
}
VERSIONS = {"3": "3.41.", "4": "4.40.", "sdnext": "3.43.", "neo": "4.40.", "current": "6."}


@pytest.mark.slow
@pytest.mark.parametrize("which", VARIABLES)
def test_panels_build(which: str) -> None:
    script = Path(__file__).with_name("print_panels.py")
    found = json.loads(output_of([interpreter(which), "-W", "ignore", str(script)]))
    assert found["version"].startswith(VERSIONS[which])
    assert set(found["made"]) <= set(found["rendered"])
    assert len(found["made"]) == len(set(found["made"]))
    assert found["public"] == []
    # version 3 has no such setting and always uses PNG
    assert found["formats"] == (["None"] if found["version"].startswith("3.") else ["png"])
    assert not any(found["folders"])
    assert found["folders"]
    assert found["nameless"] == []
    assert found["unguarded"] == []
    assert found["uploads"] > 10
    # never saved by a web UI that offers to keep what stands in its fields
    assert set(found["passphrases"]) == PASSPHRASES
    assert all(found["passphrases"].values())
