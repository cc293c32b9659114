"""The extension inside a small web UI with the Gradio of AUTOMATIC1111 and that of Forge.

With Forge's Gradio the small web UI generates on its main thread, as Forge does.
"""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.gradio_servers import ROOT, browser_python, free_port, interpreter, output_of, served

from siren_ext.samples.folder import sample_folder

pytestmark = pytest.mark.slow
SERVE = Path(__file__).parent / "webui" / "serve.py"
ACCOUNT = base64.b64encode(b"me:secret").decode()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The web UI's folder."""
    return tmp_path_factory.mktemp("webui")


@pytest.fixture(scope="module", params=["3", "4", "sdnext", "neo"])
def address(request: pytest.FixtureRequest, home: Path) -> Any:
    """The web UI with the extension, its API behind an account."""
    python, port = interpreter(request.param), free_port()
    extension = ROOT / "a1111_extension"
    flags = ["--port", str(port), "--api", "--api-auth", "me:secret"]
    with served(
        [python, "-W", "ignore", str(SERVE), str(extension), *flags],
        port,
        home / "log",
        SIREN_TEST_DATA=str(home),
        SIREN_TEST_FORGE="1" if request.param in ("4", "neo") else "",
        SIREN_TEST_PIP_LOG=str(home / "pip.jsonl"),
        SIREN_TEST_OPTIONS=json.dumps({"siren_api_mb": 2, "siren_max_files": 10}),
    ) as found:
        deadline = time.monotonic() + 60
        while "ready" not in (home / "log").read_text():  # the page is there before the routes
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield found


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Path]:
    for path in sorted(sample_folder().glob("*.png"))[:6]:
        shutil.copy(path, tmp_path)
    return tmp_path


def post(
    address: str, name: str, body: Any, account: str = ACCOUNT, kind: str = "application/json"
) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": kind, "Authorization": f"Basic {account}"}
    request = urllib.request.Request(f"{address}/siren/v1/{name}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def stated_size(address: str, size: int) -> int:
    """The answer to a request that states a size; sending it all could end in a broken pipe."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc, timeout=60)
    connection.putrequest("POST", "/siren/v1/score")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Authorization", f"Basic {ACCOUNT}")
    connection.putheader("Content-Length", str(size))
    connection.endheaders(b" ")
    status = connection.getresponse().status
    connection.close()
    return status


def texts(folder: Path) -> list[str]:
    return [base64.b64encode(path.read_bytes()).decode() for path in sorted(folder.glob("*.png"))]


def test_routes(address: str, images: Path) -> None:
    given = texts(images)
    status, coated = post(address, "coat", {"images": given[:2]})
    assert status == 200
    assert all(image["after"] < image["before"] for image in coated["images"])
    fresh = [image["image"] for image in coated["images"]]
    status, scores = post(address, "score", {"images": fresh})
    assert status == 200
    assert not any("features" in image for image in scores["images"])
    expected = [image["after"] for image in coated["images"]]
    assert [image["score"] for image in scores["images"]] == pytest.approx(expected, abs=1e-4)
    status, found = post(
        address, "verify", {"suspect": fresh, "reference": given[2:], "alpha": 0.1}
    )
    assert status == 200
    assert found["verdict"]["outcome"] == "not comparable"  # fewer than 15 images
    assert found["report_html"].startswith("<!DOCTYPE html>")


def test_routes_refuse(address: str, images: Path) -> None:
    given = texts(images)[:1]
    assert post(address, "score", {"images": given}, account="")[0] == 401
    wrong = base64.b64encode(b"me:guess").decode()
    assert post(address, "score", {"images": given}, account=wrong)[0] == 401
    assert post(address, "score", {"images": given}, kind="text/plain")[0] == 415
    assert post(address, "score", b"{")[0] == 400
    assert post(address, "score", b"[]")[0] == 400
    assert stated_size(address, 2_000_001) == 413
    for body in (
        {},
        {"images": "x"},
        {"images": ["!!"]},
        {"images": [base64.b64encode(b"no image").decode()]},
        {"images": given, "coater": "../../etc/passwd"},
        {"images": given * 11},
    ):
        status, answer = post(address, "score", body)
        assert status == 422, body.keys()
        assert answer["error"]
    status, answer = post(address, "coat", {"images": given, "strength": 99})
    assert status == 422
    assert "strength" in answer["error"]


def test_defaults_that_follow_files_are_not_frozen(address: str, home: Path) -> None:
    config = json.loads((home / "ui-config.json").read_text(encoding="utf-8"))
    names = {key.split("/")[1].split(" (")[0] for key in config}
    assert {
        "Sampling steps",
        "Strength of the coating",
        "Prompts, one per line",
    } <= names
    frozen = {"Coater", "Checkpoint", "Accepted risk of a false alarm", "Suspicious LoRA(s)"}
    assert not names & frozen
    assert not any("passphrase" in key.lower() for key in config)


def test_a_person_uses_the_tab(address: str, images: Path) -> None:
    script = Path(__file__).with_name("drive_tab.py")
    python, chromium = browser_python()
    words = [python, str(script), address, str(images)]
    seen = json.loads(output_of(words, seconds=500, SIREN_CHROMIUM=chromium))
    assert seen["coat"] == "6 images coated"
    assert seen["members"] == sorted(path.name for path in images.glob("*.png"))
    assert seen["progress_px"] >= 60
    assert seen["lora"] == "Not comparable"  # fewer than 15 images
    assert seen["charts"] == 2
    assert "Stopped" in seen["stop"]
