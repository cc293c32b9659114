"""A small web UI: loads an extension as AUTOMATIC1111 does and serves its tabs.

``python serve.py EXTENSION [--port N] [flags of the web UI and of the extension]``. The names and
signatures under ``modules`` are those of AUTOMATIC1111 1.10 and Forge. With SIREN_TEST_FORGE set,
generation belongs to the main thread, as in Forge.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# of the web UIs' own style: a text's progress is as high as the text, so not seen over an empty one
STYLE = "div.wrap.full { height: 100%; }"
sys.path.insert(0, str(HERE))
if os.environ.get("SIREN_TEST_FORGE"):
    sys.path.insert(0, str(HERE.parent / "forge"))


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def install(extension: Path) -> None:
    """The web UI runs the installer in a process of its own."""
    env = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    subprocess.run([sys.executable, str(extension / "install.py")], check=True, env=env)


def parse(extension: Path, words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("listen", "share", "api", "nowebui", "hide-ui-dir-config"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--api-auth", default=None)
    parser.add_argument("--ngrok", default=None)
    load(extension / "preload.py").preload(parser)
    return parser.parse_args(words)


def load_scripts(extension: Path) -> None:
    """In name order, with the extension's folder first on the path only meanwhile."""
    before = list(sys.path)
    for script in sorted((extension / "scripts").glob("*.py")):
        sys.path.insert(0, str(extension))
        load(script)
    sys.path[:] = before


def kept(part: Any, tab: str) -> dict[str, Any]:
    """What the web UIs write into ui-config.json at the first start and restore ever after."""
    import gradio as gr

    if children := getattr(part, "children", None):
        return {key: value for child in children for key, value in kept(child, tab).items()}
    tracked = (gr.Slider, gr.Radio, gr.Checkbox, gr.Textbox, gr.Number, gr.Dropdown)
    if type(part) not in tracked or getattr(part, "do_not_save_to_config", False):
        return {}
    return {f"{tab}/{part.label}/value": part.value}


def build(extension: Path) -> tuple[Any, list[tuple[Any, str, str]]]:
    import gradio as gr
    from modules import paths, script_callbacks

    for callback in script_callbacks.REGISTERED.get("ui_settings", []):
        callback()
    found = [tab for call in script_callbacks.REGISTERED["ui_tabs"] for tab in call()]
    config = {key: value for page, _, name in found for key, value in kept(page, name).items()}
    text = json.dumps(config, indent=1)
    Path(paths.data_path, "ui-config.json").write_text(text, encoding="utf-8")
    style = (extension / "style.css").read_text(encoding="utf-8")
    with gr.Blocks(title="web UI", css=STYLE + style) as demo, gr.Tabs(elem_id="tabs"):
        for page, title, name in found:
            with gr.TabItem(title, id=name, elem_id=f"tab_{name}"):
                page.render()
    return demo, found


def main() -> None:
    extension = Path(sys.argv[1]).resolve()
    words = sys.argv[2:]
    port = int(words[words.index("--port") + 1]) if "--port" in words else 7861
    if "--port" in words:
        place = words.index("--port")
        words = words[:place] + words[place + 2 :]
    from modules import script_callbacks, shared

    install(extension)
    shared.cmd_opts = parse(extension, words)
    load_scripts(extension)
    demo, _ = build(extension)
    demo.queue(**({"concurrency_count": 8} if sys.modules["gradio"].__version__ < "4" else {}))
    app, _, _ = demo.launch(server_port=port, prevent_thread_lock=True, show_api=True)
    for callback in script_callbacks.REGISTERED["app_started"]:
        callback(demo, app)
    sys.stdout.write(f"ready {port}\n")
    sys.stdout.flush()
    if os.environ.get("SIREN_TEST_FORGE"):
        from modules_forge import main_thread

        main_thread.loop()
    demo.block_thread()


if __name__ == "__main__":
    main()
