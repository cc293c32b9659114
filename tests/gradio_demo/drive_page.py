"""Two visitors on the page at once, with every mistake; prints what they saw as JSON.

``drive_page.py ADDRESS FOLDER``: FOLDER holds ``good.png``, ``huge.png``, ``broken.png``,
``notes.txt`` and ``broken.zip``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright
from support.browsing import give

ADDRESS, FOLDER = sys.argv[1], Path(sys.argv[2])
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
COAT, STORY = "#siren_coat_result .box", "#siren_try_story"


def opened(browser: Any) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(400_000)
    page.goto(ADDRESS, wait_until="domcontentloaded")
    page.wait_for_selector("#siren_try_run")
    return page


def coat(page: Page, name: str) -> str:
    """Coat one file; what the card says."""
    page.evaluate("document.querySelector('#siren_coat_result .box')?.remove()")
    clear = page.locator("#siren_coat_files button[aria-label='Clear']")
    if clear.count():
        clear.first.click()
        page.wait_for_function("!document.querySelector('#siren_coat_files a[href]')")
    give(page, "siren_coat_files", [FOLDER / name])
    page.click("#siren_coat_run")
    page.wait_for_selector(COAT)
    return page.inner_text(COAT)


with sync_playwright() as driver:
    browser = driver.chromium.launch(executable_path=os.environ["SIREN_CHROMIUM"], args=FLAGS)
    first, second = opened(browser), opened(browser)
    seen: dict[str, Any] = {
        "before": first.inner_text(STORY),
        "finished": first.inner_text("#siren_try_verdict .outcome"),
    }
    # one trains meanwhile
    first.click("#siren_try_run")
    first.wait_for_selector(f"{STORY} li")
    seen["begun"] = first.locator(f"{STORY} li.done").count()
    # the other's empty form is answered at once, and so are files that can't be used
    second.get_by_label("My own images").click()
    second.wait_for_selector("#siren_try_files")
    second.click("#siren_try_run")
    second.locator(STORY).get_by_text("No images were given").wait_for()
    seen["empty form"] = second.inner_text(STORY)
    second.get_by_role("tab", name="Coat", exact=True).click()
    second.wait_for_selector("#siren_coat_run", state="visible")
    for name in ("huge.png", "broken.png", "notes.txt", "broken.zip", "good.png"):
        seen[name] = coat(second, name)
    # a finished test of images without a coating is there, and an empty form is answered at once
    second.get_by_role("tab", name="My images, not coated", exact=True).click()
    second.wait_for_selector("#siren_passive_run", state="visible")
    seen["uncoated"] = second.inner_text("#siren_uncoated_finished .outcome")
    second.click("#siren_passive_run")
    second.wait_for_selector("#siren_passive_result .box")
    seen["uncoated form"] = second.inner_text("#siren_passive_result .box")
    # and the other may train as well, after the first
    third = opened(browser)
    third.click("#siren_try_run")
    third.wait_for_function(
        """() => {
            const story = document.querySelector('#siren_try_story');
            return story.querySelector('li') || /queue/.test(story.innerText);
        }"""
    )
    third.click("#siren_try_stop")
    first.wait_for_selector("#siren_try_verdict .outcome")
    seen["first"] = first.inner_text("#siren_try_verdict .outcome")
    seen["steps"] = first.locator(f"{STORY} li.done").count()
    third.get_by_text("Nothing from this run is kept").wait_for()
    seen["stopped"] = third.inner_text(STORY)
    browser.close()
print(json.dumps(seen))
