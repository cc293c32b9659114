"""Use a key as a person does, with every mistake first; prints what was seen as JSON.

``drive_keys.py ADDRESS FOLDER [SHOTS]``: FOLDER holds ``images`` to coat, ``pictures`` of a model
that knows the message, ``clean 1.json`` and ``clean 2.json`` with scores of clean models,
``keys.json``, ``plain.json``, which is no key, and ``downloads``.
Screenshots go into the folder SHOTS where one is named. The passphrase comes from the environment.
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
PASSPHRASE = os.environ["SIREN_TEST_PASSPHRASE"]


def shot(page: Any, name: str) -> None:
    if SHOTS is not None:
        page.wait_for_timeout(1500)
        page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def unfold(page: Any, elem_id: str) -> None:
    page.locator(f"#{elem_id} .label-wrap").first.click()
    page.wait_for_timeout(300)


def choose_coater(page: Any, prefix: str, name: str) -> None:
    box = page.locator(f"#{prefix}_coater input").first
    box.click()
    box.fill(name)
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.wait_for_timeout(300)


def take_out(page: Any, elem_id: str) -> None:
    """Empty a file field by its cross."""
    page.locator(f"#{elem_id} button[aria-label='Clear']").first.click()
    page.wait_for_selector(f"#{elem_id} input[type=file]", state="attached")


def passphrase(page: Any, elem_id: str, text: str) -> None:
    page.fill(f"#{elem_id} input[type=password]", text)
    page.keyboard.press("Tab")


def run(page: Any, prefix: str, card: str) -> str:
    """Press the button and read the new card."""
    page.evaluate(f"document.querySelector('#{prefix}_{card} .box')?.remove()")
    page.click(f"#{prefix}_run")
    page.wait_for_selector(f"#{prefix}_{card} .box")
    return page.inner_text(f"#{prefix}_{card} .box")


def download(page: Any, elem_id: str, file: str, name: str = "") -> Path:
    """Save one of the files that a component offers, under a name of our own if one is given."""
    link = f"#{elem_id} a[href$='{file}']"
    page.wait_for_selector(link)
    with page.expect_download() as waiting:
        page.locator(link).last.click()
    target = FOLDER / "downloads" / (name or file)
    waiting.value.save_as(target)
    return target


def wrong_keys(page: Any, prefix: str, card: str) -> dict[str, str]:
    """A file that is no key, no passphrase, and a wrong one."""
    unfold(page, f"{prefix}_key")
    give(page, f"{prefix}_key_file", [FOLDER / "plain.json"])
    passphrase(page, f"{prefix}_key_passphrase", PASSPHRASE)
    seen = {f"{prefix}: no key file": run(page, prefix, card)}
    take_out(page, f"{prefix}_key_file")
    give(page, f"{prefix}_key_file", [FOLDER / "keys.json"])
    passphrase(page, f"{prefix}_key_passphrase", "")
    seen[f"{prefix}: no passphrase"] = run(page, prefix, card)
    passphrase(page, f"{prefix}_key_passphrase", "a wrong passphrase")
    seen[f"{prefix}: wrong passphrase"] = run(page, prefix, card)
    passphrase(page, f"{prefix}_key_passphrase", PASSPHRASE)
    return seen


def coat(page: Any) -> dict[str, Any]:
    give(page, "siren_coat_files", sorted((FOLDER / "images").glob("*.png")))
    choose_coater(page, "siren_coat", "keyed.safetensors")
    seen: dict[str, Any] = {"coat: no key": run(page, "siren_coat", "result")}
    seen |= wrong_keys(page, "siren_coat", "result")
    choose_coater(page, "siren_coat", "plain.safetensors")
    seen["coat: plain coater"] = run(page, "siren_coat", "result")
    choose_coater(page, "siren_coat", "keyed.safetensors")
    seen["coat"] = run(page, "siren_coat", "result")
    with zipfile.ZipFile(download(page, "siren_coat_zip", "coated.zip")) as archive:
        seen["members"] = archive.namelist()
    shot(page, "coat_keyed")
    return seen


def make_key(page: Any) -> dict[str, str]:
    unfold(page, "siren_coat_newkey")
    passphrase(page, "siren_coat_newkey_passphrase", PASSPHRASE)
    passphrase(page, "siren_coat_newkey_again", f"{PASSPHRASE}!")
    page.click("#siren_coat_newkey_run")
    page.wait_for_selector("#siren_coat_newkey_result .box")
    seen = {"key: passphrases differ": page.inner_text("#siren_coat_newkey_result .box")}
    passphrase(page, "siren_coat_newkey_again", PASSPHRASE)
    page.click("#siren_coat_newkey_run")
    page.get_by_text("Key made").first.wait_for()
    seen["key"] = page.inner_text("#siren_coat_newkey_result .box")
    download(page, "siren_coat_newkey_file", "siren_keys.json", "made.json")
    return seen


def verify(page: Any) -> dict[str, Any]:
    page.locator("button[role=tab], .tab-nav button").filter(has_text="Verify").last.click()
    page.wait_for_timeout(500)
    give(page, "siren_verify_suspect", sorted((FOLDER / "pictures").glob("*.png")))
    choose_coater(page, "siren_verify", "keyed.safetensors")
    seen: dict[str, Any] = wrong_keys(page, "siren_verify", "verdict")
    run(page, "siren_verify", "verdict")
    seen["verify"] = page.inner_text("#siren_verify_verdict .outcome")
    seen["bits"] = page.text_content("#siren_verify_verdict .facts")
    seen["charts"] = page.locator("#siren_verify_charts svg").count()
    download(page, "siren_verify_report", "report.json")
    shot(page, "verify_keyed")
    give(page, "siren_verify_reference", sorted((FOLDER / "images").glob("*.png")))
    run(page, "siren_verify", "verdict")
    page.wait_for_function("document.querySelectorAll('#siren_verify_charts svg').length === 3")
    seen["both"] = page.inner_text("#siren_verify_verdict table")
    shot(page, "verify_both")
    take_out(page, "siren_verify_reference")
    clean = [FOLDER / "clean 1.json", *(FOLDER / "images").glob("*.png"), FOLDER / "clean 2.json"]
    give(page, "siren_verify_reference", clean)
    run(page, "siren_verify", "verdict")
    page.locator("#siren_verify_verdict").get_by_text("several reference models").first.wait_for()
    seen["several"] = page.inner_text("#siren_verify_verdict table")
    shot(page, "verify_several")
    return seen


with sync_playwright() as playwright:
    chromium = os.environ["SIREN_CHROMIUM"]
    browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS.split())
    view = browser.new_page(viewport={"width": 1280, "height": 900})
    view.set_default_timeout(60_000)
    view.goto(ADDRESS)
    view.wait_for_selector("#siren_coat_run")
    result = coat(view) | make_key(view) | verify(view)
    result["page"] = view.inner_text("body")
    browser.close()
json.dump(result, sys.stdout)
