"""Two visitors: one whose job runs, one with a bad form. ``drive_form.py ADDRESS FILE``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ADDRESS, HELD = sys.argv[1], Path(sys.argv[2])
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
CARD = "#siren_form_result .box"


def send(page: Page, word: str) -> None:
    page.fill("#siren_form_word textarea, #siren_form_word input", word)
    page.keyboard.press("Tab")
    page.click("#siren_form_run")


with sync_playwright() as driver:
    browser = driver.chromium.launch(executable_path=os.environ["SIREN_CHROMIUM"], args=FLAGS)
    first, second = browser.new_page(), browser.new_page()
    for page in (first, second):
        page.set_default_timeout(120_000)
        page.goto(ADDRESS, wait_until="domcontentloaded")
        page.wait_for_selector("#siren_form_run")
    HELD.touch()
    send(first, "slow")
    while not Path(f"{HELD}.slow").exists():
        first.wait_for_timeout(100)
    send(second, "bad")
    second.wait_for_selector(CARD)
    seen = {"bad, while another job runs": second.inner_text(CARD)}
    # nor does a refused form leave a job behind
    second.wait_for_timeout(1000)
    HELD.unlink()
    first.wait_for_selector(CARD)
    seen["slow"] = first.inner_text(CARD)
    seen["begun"] = str(sorted(path.suffix for path in HELD.parent.glob(f"{HELD.name}.*")))
    send(second, "good")
    second.get_by_text("good, as True").wait_for()
    browser.close()
print(json.dumps(seen))
