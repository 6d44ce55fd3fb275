"""Makes the pictures of the viewer in docs/images: `make screenshots`. Needs Chromium.

The lines are those of the demo, told again and again over a day; the real command reads them.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from pathlib import Path

from pages import Document
from playwright.sync_api import sync_playwright
from running import CHROMIUM, eventually, viewer

from kong_ai_tracing.demolines import Gateway
from kong_ai_tracing.demostory import story

IMAGES = Path(__file__).parent.parent.parent / "docs" / "images"
DAY_MS = 86_400_000
TIMES_TOLD = 60
USERS = (b"alice", b"bob", b"carol", b"dan", b"erin", b"frank")
PHONE = {"width": 390, "height": 780}
DESKTOP = {"width": 1200, "height": 760}


class Day:
    """A clock that goes through the last day, quicker at night, and comes to its end now."""

    def __init__(self) -> None:
        self._now_ms = time.time_ns() / 1e6 - DAY_MS

    def __call__(self) -> int:
        return int(self._now_ms)

    def passes(self, milliseconds: float) -> None:
        self._now_ms += milliseconds


def write_log(path: Path) -> None:
    chance = random.Random(4)
    day = Day()
    gateway = Gateway(day, lambda count: chance.randbytes(count).hex())
    weights = [chance.uniform(0.3, 2) for _ in range(TIMES_TOLD)]
    with path.open("wb") as log:
        for number, weight in enumerate(weights):
            alice, bob = chance.sample(USERS, 2)
            for scene in story(gateway):
                line = scene.line.replace(b"invoice-2041", b"invoice-%d" % (2041 + number))
                line = line.replace(b"bestellung-18832", b"bestellung-%d" % (18832 + number))
                log.write(line.replace(b"alice", alice).replace(b"bob", bob))
                day.passes(1500)
            day.passes(weight / sum(weights) * (DAY_MS - 16 * 1500 * TIMES_TOLD) * 0.98)


def main() -> None:
    if CHROMIUM is None:
        sys.exit("Chromium is needed: apt-get install chromium")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_log(Path("ai.log"))
        with viewer("ai.log") as running, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            take(browser, running)
            browser.close()


def take(browser, running) -> None:
    context = browser.new_context(viewport=DESKTOP, color_scheme="light")
    page = context.new_page()
    page.goto(running.link)
    page.wait_for_selector("h1")
    cookies = context.cookies()
    eventually(lambda: page.goto(running.base) and len(Document(page.content()).traces) == 50)
    time.sleep(3)  # until the rest of the log is there
    page.goto(running.base)
    page.screenshot(path=IMAGES / "view-list.png")
    page.goto(f"{running.base}/?q=parcel+lookup_order")
    page.click("a.open >> nth=0")
    page.click("li.step a >> nth=2")
    page.wait_for_selector("li.step:nth-child(3).chosen")
    page.screenshot(path=IMAGES / "view-trace.png")
    dark = browser.new_context(viewport=DESKTOP, color_scheme="dark")
    dark.add_cookies(cookies)
    page = dark.new_page()
    page.goto(f"{running.base}/overview?range=24h")
    page.screenshot(path=IMAGES / "view-overview.png")
    phone = browser.new_context(viewport=PHONE, color_scheme="dark")
    phone.add_cookies(cookies)
    page = phone.new_page()
    page.goto(running.base)
    page.screenshot(path=IMAGES / "view-phone.png")


if __name__ == "__main__":
    main()
