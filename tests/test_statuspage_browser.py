"""The page of the real daemon in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kong_host import wait_until
from kong_writer import kong_line
from langfuse_server import FakeLangfuse
from test_statuspage import Watched

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Watched]:
    """One that has something to tell: a name that is markup, and a server that says it in markup, too."""
    with FakeLangfuse() as langfuse:
        langfuse.script("401*")
        host = Watched(tmp_path, langfuse)
        host.log = host.log.with_name("<img src=x onerror=document.title='owned'>.log")
        host.watch(langfuse)
        host.write(kong_line(1, 1))
        host.start()
        wait_until(lambda: host.metric("destination_holding") == 1, "something to tell")
        yield host
        host.clean_up()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1000])
def test_it_is_readable_for_everybody_and_runs_nothing(host: Watched, scheme: str, width: int) -> None:
    """Both themes, a phone and a desk: its policy lets its own style in, and axe finds nothing."""
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        complaints: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("request", lambda request: asked.append(request.url))
        page.route("**/", _without_loading_anew)
        page.goto(f"http://127.0.0.1:{host.port}/")
        assert page.title() == "Traces do not flow - kong-ai-tracing"
        assert "refuses until somebody acts: 401" in page.inner_text("main")
        assert "<img src=x" in page.inner_text("main")
        assert page.query_selector("img") is None
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        red, green, blue = map(int, re.findall(r"\d+", _ground(page))[:3])
        assert (red + green + blue < 200) is (scheme == "dark")
        assert [one for one in complaints if "favicon" not in one and "404" not in one] == []
        assert {url.rsplit("/", 1)[1] for url in asked} <= {"", "favicon.ico"}
        report = Axe().run(page)
        assert report.violations_count == 0, report.generate_report()
        browser.close()


def _without_loading_anew(route) -> None:
    """It is looked at for longer than the five seconds after which it goes for another one."""
    answer = route.fetch()
    assert answer.headers["refresh"]
    route.fulfill(
        response=answer, headers={name: value for name, value in answer.headers.items() if name != "refresh"}
    )


def _ground(page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_the_page_is_loaded_anew_by_itself(host: Watched) -> None:
    """Without a script."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(java_script_enabled=False)
        page.goto(f"http://127.0.0.1:{host.port}/")
        with page.expect_navigation(timeout=60_000):
            pass
        browser.close()
