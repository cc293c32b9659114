"""Use the tab as a person does: upload, coat, download, verify a LoRA; prints what was seen.

``drive_tab.py ADDRESS FOLDER [SHOTS]``: screenshots go into the folder SHOTS where one is named.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright
from support.browsing import give

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
ADDRESS, FOLDER = sys.argv[1], Path(sys.argv[2])
SHOTS = Path(sys.argv[3]) if len(sys.argv) > 3 else None


def shot(page: Any, name: str) -> None:
    if SHOTS is None:
        return
    page.wait_for_timeout(2500)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def tab(page: Any, title: str) -> None:
    page.locator("button").filter(has_text=title).first.click()
    page.wait_for_timeout(500)


def progress_height(page: Any, output: str) -> float:
    """How much room the progress of a running job has: it must be seen."""
    script = """(output) => {
        const text = document.querySelector(`#${output} .progress-level-inner`);
        return text && { height: text.closest(".wrap").getBoundingClientRect().height };
    }"""
    return float(page.wait_for_function(script, arg=output).json_value()["height"])


def coat(page: Any) -> dict[str, Any]:
    give(page, "siren_coat_files", sorted(FOLDER.glob("*.png")))
    page.click("#siren_coat_run")
    page.wait_for_selector("#siren_coat_result .box")
    outcome = page.inner_text("#siren_coat_result .outcome")
    page.wait_for_selector("#siren_coat_zip a")
    with page.expect_download() as waiting:
        page.locator("#siren_coat_zip a").last.click()
    with zipfile.ZipFile(waiting.value.path()) as archive:
        members = archive.namelist()
    shot(page, "coat")
    return {"coat": outcome, "members": members}


def verify_lora(page: Any) -> dict[str, Any]:
    tab(page, "Verify a LoRA")
    choice = page.locator("#siren_lora_suspect input").first
    choice.click()
    choice.type("guilty")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.fill("#siren_lora_prompts textarea", "an icon of a dog\nan icon of a cat")
    for name, value in (("count", 14), ("more", 20), ("size", 128)):
        page.fill(f"#siren_lora_{name} input[type=number]", str(value))
        page.keyboard.press("Tab")
    page.click("#siren_lora_run")
    seen: dict[str, Any] = {"progress_px": progress_height(page, "siren_lora_verdict")}
    page.wait_for_selector("#siren_lora_verdict .box")
    seen["lora"] = page.inner_text("#siren_lora_verdict .outcome")
    page.wait_for_selector("#siren_lora_report a")
    seen["charts"] = page.locator("#siren_lora_charts svg").count()
    shot(page, "verify_lora")
    return seen


def stop(page: Any) -> dict[str, Any]:
    page.fill("#siren_lora_count input[type=number]", "400")
    page.keyboard.press("Tab")
    page.click("#siren_lora_run")
    page.wait_for_timeout(2500)
    page.click("#siren_lora_stop")
    page.get_by_text("Stopped").first.wait_for()
    return {"stop": page.inner_text("#siren_lora_verdict .box")}


with sync_playwright() as playwright:
    chromium = os.environ["SIREN_CHROMIUM"]
    browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS.split())
    view = browser.new_page(viewport={"width": 1280, "height": 900})
    view.set_default_timeout(120_000)
    view.goto(ADDRESS)
    view.wait_for_selector("#siren_coat_run")
    result = coat(view) | verify_lora(view) | stop(view)
    browser.close()
json.dump(result, sys.stdout)
