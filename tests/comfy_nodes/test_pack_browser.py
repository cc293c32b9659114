"""The example workflows in the real front end: opened, drawn, queued, finished.

Needs SIREN_COMFYUI_PYTHON and a Chromium (SIREN_CHROMIUM, else what is on the path). Where
SIREN_COMFYUI_PICTURES names a folder, screenshots are kept there. For pictures worth showing, set
SIREN_COMFYUI_COUNTS to 30 and SIREN_COMFYUI_STEPS to 5, the values of the example.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.comfy_server import PACK, Server
from support.comfy_workflows import EXAMPLES

pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(1200)]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # the front end looks for news and templates elsewhere; the test needs the server alone
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-proxy-server",
]
FILES = {"checkpoints": "any checkpoint.safetensors", "loras": "any lora.safetensors"}
PATIENCE = 1_000_000
"""Milliseconds."""
RESULTS = {
    "coat_and_save": {"SirenSaveCoatedImage": "Public coater: try-out only"},
    "train_a_coater": {"SirenTrainCoater": "Coater %s", "SirenSaveCoatedImage": "Protected"},
    "verify_a_lora": {
        "SirenSaveScores": "3 scores saved",
        "SirenKeyedVerify": "Inconclusive",
        "SirenVerificationReport": "Inconclusive",
    },
    "which_images": {"SirenWhichImages": "Of your 4 images"},
}
"""How the lines that nodes show begin. (An example with a checkpoint is run without a browser.)"""


@pytest.fixture(scope="module", params=["classic", "new"])
def page(server: Server, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A front end in a browser: the classic one, or the new one ("Nodes 2.0")."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = os.environ.get("SIREN_CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if not chromium:
        pytest.skip("No Chromium found; install one or name it in SIREN_CHROMIUM")
    # what a user has, whatever its name; the page marks nodes whose file is unknown to it
    for kind, name in FILES.items():
        file = server.base / "models" / kind / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    settings = {"Comfy.TutorialCompleted": True, "Comfy.Validation.Workflows": True}
    settings |= {"Comfy.Minimap.Visible": False, "Comfy.Graph.CanvasInfo": False}
    settings["Comfy.VueNodes.Enabled"] = request.param == "new"
    server.post("settings", settings)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1500, "height": 900})
        tab.set_default_timeout(PATIENCE)
        tab.goto(server.url, wait_until="commit")
        tab.wait_for_function(
            "window.app && window.app.graph && window.app.vueAppReady", polling=500
        )
        # it opens a graph of its own, some time after it says that it is ready
        with contextlib.suppress(playwright.TimeoutError):
            tab.wait_for_function("window.app.graph.nodes.length > 0", timeout=30_000)
        yield tab
        browser.close()


def small(name: str, tab: Any) -> None:
    """Shorten what would take minutes."""
    steps = int(os.environ.get("SIREN_COMFYUI_STEPS", "2"))
    changes = {
        "verify_a_lora": {"SirenPocketSampler": {"steps": steps}},
        "which_images": {"SirenPocketSampler": {"count": 1}, "SirenWhichImages": {"noises": 2}},
    }
    counts = os.environ.get("SIREN_COMFYUI_COUNTS", "3").split(",")
    tab.evaluate(
        """([changes, counts]) => {
            for (const node of window.app.graph.nodes) {
                const values = {...(changes[node.type] || {})};
                if (node.type === 'SirenPocketSampler' && !values.count)
                    values.count = Number(counts.shift());
                for (const [name, value] of Object.entries(values))
                    node.widgets.find((widget) => widget.name === name).value = value;
            }
        }""",
        [changes.get(name, {}), counts],
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_opens_runs_and_is_seen(
    server: Server, page: Any, name: str, request: pytest.FixtureRequest
) -> None:
    text = (PACK / "example_workflows" / f"{name}.json").read_text("utf-8")
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    before = set(server.get("history"))
    page.evaluate(
        "async (text) => { await window.app.loadGraphData(JSON.parse(text), true, true); }", text
    )
    missing = page.evaluate("window.app.graph.nodes.filter((n) => n.has_errors).map((n) => n.type)")
    assert missing == []
    front = request.node.callspec.params["page"]
    assert overlaps(page) == []
    if name == "verify_a_file":  # needs the user's own key
        keep_picture(page, name, front)
        return
    if name not in RESULTS:
        chosen = page.evaluate(
            """window.app.graph.nodes.filter((n) => n.type.includes('Loader')).map(
                (n) => [n.type, n.widgets.map((w) => w.value)])"""
        )
        assert dict(chosen)["CheckpointLoaderSimple"] == [FILES["checkpoints"]]
        assert dict(chosen)["LoraLoader"] == [FILES["loras"], 1.0, 1.0]
        keep_picture(page, name, front)
        return
    small(name, page)
    # fitting takes minutes, so the tests of one server share the coater: the first of them saves it
    known = (server.base / "models" / "siren" / "my coater.safetensors").exists()
    page.evaluate("async () => { await window.app.queuePrompt(0, 1); }")
    entry = finished(server, page, before)
    assert entry["status"]["status_str"] == "success", entry["status"]
    # every node of ours is drawn under its name, and the pictures have arrived on the nodes
    drawn = page.evaluate("window.app.graph.nodes.map((n) => [n.type, n.title])")
    for kind, title in drawn:
        if kind.startswith("Siren"):
            assert title
            assert title != kind
    kinds = ["SirenSaveCoatedImage", "PreviewImage"]
    page.wait_for_function(
        """(kinds) => window.app.graph.nodes.filter((n) => kinds.includes(n.type)).every(
            (n) => (n.imgs && n.imgs.length)
                || document.querySelector(`[data-node-id="${n.id}"] img`))""",
        arg=kinds,
        polling=500,
    )
    # what they report is drawn on the nodes, in the classic front end and in the new one
    words = RESULTS[name] if "SIREN_COMFYUI_COUNTS" not in os.environ else {}
    words = {
        kind: text.replace("%s", "loaded" if known else "saved") for kind, text in words.items()
    }
    seen = results(page)
    assert {kind: seen.get(kind, "")[: len(text)] for kind, text in words.items()} == words
    assert overlaps(page) == []
    assert problems == []
    keep_picture(page, name, front)


def overlaps(tab: Any) -> list[list[str]]:
    """Pairs of nodes that cover each other, as they are drawn."""
    fitted(tab)
    tab.wait_for_timeout(1500)
    pairs: list[list[str]] = tab.evaluate(
        """() => {
            const boxes = window.app.graph.nodes.map((node) => {
                const drawn = document.querySelector(`[data-node-id="${node.id}"]`);
                if (!drawn) return [node.type, node.pos[0], node.pos[1] - 30,
                                    node.pos[0] + node.size[0], node.pos[1] + node.size[1]];
                const at = drawn.getBoundingClientRect();
                return [node.type, at.left, at.top, at.right, at.bottom];
            });
            const common = (a, b, i) => Math.min(a[i + 2], b[i + 2]) - Math.max(a[i], b[i]);
            return boxes.flatMap((a, i) => boxes.slice(i + 1)
                .filter((b) => common(a, b, 1) > 1 && common(a, b, 2) > 1)
                .map((b) => [a[0], b[0]]));
        }"""
    )
    return pairs


def test_no_word_is_wider_than_its_card(page: Any) -> None:
    """Paths and fingerprints have no spaces, and the end of a path matters."""
    text = (PACK / "example_workflows" / "coat_and_save.json").read_text("utf-8")
    page.evaluate(
        "async (text) => { await window.app.loadGraphData(JSON.parse(text), true, true); }", text
    )
    fitted(page)
    page.wait_for_timeout(1500)
    wide, room = page.evaluate(
        """() => {
            const node = window.app.graph.nodes.find((one) => one.type === 'SirenNewKey');
            const lines = ['/home/' + 'x'.repeat(200)];
            node.onExecuted({siren: [{title: 'Key made', tone: 'good', lines}]});
            const box = node.widgets.find((one) => one.name === 'siren_result').element;
            return [box.scrollWidth, box.clientWidth];
        }"""
    )
    assert 0 < wide <= room


def results(tab: Any) -> dict[str, str]:
    """The first line on each node that shows a result and is visible in the page."""
    fitted(tab)
    tab.wait_for_timeout(1500)
    found: dict[str, str] = tab.evaluate(
        """() => Object.fromEntries(window.app.graph.nodes.flatMap((node) => {
            const widget = (node.widgets || []).find((one) => one.name === 'siren_result');
            const first = widget && widget.element.querySelector(':scope > div > div');
            return first && widget.element.isConnected ? [[node.type, first.textContent]] : [];
        }))"""
    )
    return found


def finished(server: Server, tab: Any, before: set[str]) -> dict[str, Any]:
    """The history entry that came after ``before``; the page lives on meanwhile."""
    end = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end:
        history = server.get("history")
        for name in set(history) - before:
            if history[name].get("status", {}).get("status_str"):
                return dict(history[name])
        tab.wait_for_timeout(500)
    raise TimeoutError(f"The queued graph did not end:\n{server.log.read_text()[-3000:]}")


def fitted(tab: Any) -> dict[str, float]:
    """Show the whole graph, as the new front end draws only what is seen; where it is."""
    area: dict[str, float] = tab.evaluate(
        """() => {
            const nodes = window.app.graph.nodes, canvas = window.app.canvas, edge = 24;
            const left = Math.min(...nodes.map((n) => n.pos[0]));
            const top = Math.min(...nodes.map((n) => n.pos[1])) - 52;
            const wide = Math.max(...nodes.map((n) => n.pos[0] + n.size[0])) - left;
            const high = Math.max(...nodes.map((n) => n.pos[1] + n.size[1])) - top;
            const room = canvas.canvas.getBoundingClientRect();
            const scale = Math.min(
                (room.width - 2 * edge) / wide, (room.height - 2 * edge) / high, 1.1);
            canvas.ds.scale = scale;
            canvas.ds.offset[0] = edge / scale - left;
            canvas.ds.offset[1] = edge / scale - top;
            canvas.setDirty(true, true);
            return {x: room.x, y: room.y, width: wide * scale + 2 * edge,
                    height: high * scale + 2 * edge};
        }"""
    )
    return area


def keep_picture(tab: Any, name: str, front: str) -> None:
    """A screenshot, where a folder for them is named."""
    folder = os.environ.get("SIREN_COMFYUI_PICTURES")
    if folder:
        picture(tab, Path(folder) / f"{name}{'_new' if front == 'new' else ''}.png")


def picture(tab: Any, path: Path) -> None:
    """The whole graph, without the menus that the front end lays over it."""
    menus = tab.add_style_tag(
        content="body * { visibility: hidden !important }"
        " #graph-canvas, .dom-widget, .dom-widget *, [data-node-id], [data-node-id] *"
        " { visibility: visible !important }"
    )
    area = fitted(tab)
    tab.wait_for_timeout(1500)
    tab.screenshot(path=str(path), clip=area)
    menus.evaluate("(style) => style.remove()")
