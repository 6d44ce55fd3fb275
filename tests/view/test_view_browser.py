"""`view` in Debian's Chromium: what one sees and does, in both themes and at the width of a phone."""

from __future__ import annotations

import threading
import time
import warnings
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
import pytest
from pages import body, open_store, span, trace_id
from running import CHROMIUM, eventually, viewer

from kong_ai_tracing.lines import Origin

if CHROMIUM is None:
    warnings.warn(
        "no Chromium: the viewer is not tried in a browser (apt-get install chromium)", stacklevel=1
    )
    pytest.skip("needs chromium", allow_module_level=True)

axe_playwright = pytest.importorskip("axe_playwright_python.sync_playwright")
playwright_api = pytest.importorskip("playwright.sync_api")

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
LOOKS = [("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE), ("dark", PHONE)]
EVIL = "<script>window.broken=1</script><img src=x onerror='window.broken=2'>\u202e\u0007\u001b[31m"
NOW_MS = int(time.time() * 1000)
MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4")


def call(number, **more):
    started = more.pop("started_at_ms", NOW_MS - 3_600_000 + number * 30_000)
    messages = [
        {"role": "system", "content": "You are kind."},
        {"role": "user", "content": f"Where is parcel {number}? My key is [REDACTED:openai_key]."},
    ]
    answer = {
        "role": "assistant",
        "content": 'Look:\n```json\n{"parcel": 1}\n```',
        "tool_calls": [{"id": "call_1", "function": {"name": "lookup", "arguments": '{"order": 1}'}}],
    }
    said = {
        "started_at_ms": started,
        "ended_at_ms": started + 200 + 37 * (number % 11),
        "completion_started_at_ms": started + 150,
        "model": MODELS[number % 3],
        "provider": "openai",
        "level": "ERROR" if number % 9 == 4 else "WARNING" if number % 9 == 5 else "DEFAULT",
        "status_message": "HTTP 429 Too Many Requests" if number % 9 == 4 else None,
        "input": orjson.dumps(messages),
        "output": orjson.dumps(answer),
        "usage_details": {"input": 10 * number, "output": 7},
        "cost_details": {"total": number / 1000},
        "model_parameters": {"temperature": 0.2},
        "metadata": {
            "kong_service": "llm",
            "kong_route": "chat",
            "kong_latency_ms": 20,
            "proxy_latency_ms": 130,
        },
        "origin": Origin("/var/log/kong-ai/ai.log", 1, number * 100, 100),
    }
    context = {"user_id": f"user-{number % 5}", "session_id": "s", "tags": ["beta"]}
    return span(number, **(said | {"context": context} | more))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = open_store(tmp_path_factory.mktemp("state") / "traces.sqlite3", clock=time.time)
    made.write(body(*(call(number) for number in range(120))))
    evil = {
        "input": orjson.dumps([{"role": "user", "content": EVIL + "x" * 100_000}, EVIL]),
        "name": EVIL,
        "model": EVIL,
    }
    made.write(body(call(500, **evil, metadata={EVIL: EVIL}, context={"trace_name": EVIL, "user_id": EVIL})))
    tried = [
        call(600, id_="f" * 16),
        call(
            600,
            id_="e" * 16,
            parent="f" * 16,
            type="span",
            name="try 1",
            input=None,
            output=None,
            origin=None,
        ),
    ]
    made.write(body(*tried))
    yield made
    made.close()


@pytest.fixture(scope="module")
def running(store):
    with viewer(state_dir=store.path.parent) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def cookies(browser, running):
    context = browser.new_context()
    page = context.new_page()
    page.goto(running.link)
    page.wait_for_selector("h1")
    assert page.url == f"{running.base}/"
    cookies = context.cookies()
    context.close()
    return cookies


@pytest.fixture
def open_page(browser, running, cookies):
    """Opens pages; whatever they complain of, and whatever they ask of others, fails the test."""
    contexts, complaints = [], []

    def open_page(address, theme="light", viewport=DESKTOP):
        context = browser.new_context(color_scheme=theme, viewport=viewport)
        contexts.append(context)
        context.add_cookies(cookies)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith(running.base) else complaints.append(request.url),
        )
        page.goto(running.base + address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@contextmanager
def another_page(page):
    """What is done in here leads to a page, which is there whole afterwards."""
    with page.expect_navigation(wait_until="load"):
        yield


def rows(page):
    return page.locator("table.traces tbody tr").count()


def names(page, column):
    return [
        each.strip() for each in page.locator(f"table.traces tbody td:nth-child({column})").all_inner_texts()
    ]


MAIN_PAGES = ["/", f"/trace/{trace_id(31)}", "/overview"]
OTHER_PAGES = [
    "/?provider=openai&since=2026-01-01T00:00",
    "/?q=nothingatall",
    f"/trace/{trace_id(500)}",
    f"/trace/{trace_id(600)}",
    "/overview?by=user&range=all",
]


@pytest.mark.parametrize(
    ("address", "theme", "viewport"),
    [
        *((address, *look) for address in MAIN_PAGES for look in LOOKS),
        *((address, *look) for address in OTHER_PAGES for look in (LOOKS[0], LOOKS[3])),
    ],
)
def test_axe_finds_nothing_and_nothing_is_cut(open_page, address, theme, viewport):
    """Each page, in either theme, on a desktop and on a phone."""
    page = open_page(address, theme, viewport)
    results = axe_playwright.Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_list_is_filtered_sorted_and_paged(open_page):
    """By the form, by a click on a value, by a heading, and onwards."""
    page = open_page("/")
    assert rows(page) == 50
    page.select_option("select[name=model]", "gpt-4o-mini")
    with another_page(page):
        page.click("button[type=submit]")
    assert set(names(page, 4)) == {"gpt-4o-mini"}
    with another_page(page):
        page.click("td a.label:has-text('user-2') >> nth=0")
    assert set(names(page, 5)) == {"user-2"}
    assert page.locator("input[name=user]").input_value() == "user-2"
    with another_page(page):
        page.click("text=Clear")
    with another_page(page):
        page.click("th >> text=Tokens")
    tokens = [int(each.replace(",", "")) for each in names(page, 8) if each]
    assert tokens == sorted(tokens, reverse=True)
    with another_page(page):
        page.click("text=Next page")
    later = [int(each.replace(",", "")) for each in names(page, 8) if each]
    assert max(later) <= min(tokens)
    page.goto(page.url.split("?")[0])
    page.fill("#search", "parcel 77")
    with another_page(page):
        page.press("#search", "Enter")
    assert rows(page) == 1


def test_everything_can_be_done_with_keys(open_page):
    """j, k, Enter, /, ?, t, g, o: and none of them while one types."""
    page = open_page("/")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    wanted = page.locator("tbody tr a.open").nth(1).get_attribute("href")
    assert page.evaluate("document.activeElement.getAttribute('href')") == wanted
    with another_page(page):
        page.keyboard.press("Enter")
    assert page.url.endswith(wanted)
    page.keyboard.press("?")
    page.locator("dialog").wait_for(state="visible")
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="hidden")
    with another_page(page):
        page.keyboard.press("o")
    assert page.url.endswith("/overview")
    with another_page(page):
        page.keyboard.press("g")
    page.keyboard.press("/")
    page.keyboard.type("jk?to/g")
    assert page.locator("#search").input_value() == "jk?to/g"
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"


def test_a_trace_is_shown_with_its_tries_and_its_conversation(open_page):
    """The failed try is chosen by a click; JSON unfolds; what was taken out stands out."""
    page = open_page(f"/trace/{trace_id(600)}")
    assert page.locator("li.step").count() == 2
    assert page.locator("mark.redacted").inner_text() == "REDACTED:openai_key"
    assert "lookup" in page.locator(".call").inner_text()
    assert page.locator("pre[data-language=json]").count() == 1
    assert page.locator("li.step rect.kong").first.bounding_box()["width"] > 1
    page.click("text=try 1")
    page.wait_for_selector("li.step.chosen:has-text('try 1')")
    page.wait_for_selector("main:has-text('holds no prompt')")


def test_live_mode_shows_what_arrives_and_keeps_the_place(open_page, store):
    """New calls appear by themselves, marked, under the filters that are set, and the focus stays."""
    page = open_page("/?model=gpt-4o&sort=time")
    page.keyboard.press("l")
    page.keyboard.press("j")
    focused = page.evaluate("document.activeElement.getAttribute('href')")
    later = int(time.time() * 1000) + 60_000
    store.write(
        body(call(900, model="gpt-4o", started_at_ms=later), call(901, model="other", started_at_ms=later))
    )
    page.wait_for_selector(f"tr.new a[href='/trace/{trace_id(900)}']")
    assert page.locator(f"a[href='/trace/{trace_id(901)}']").count() == 0
    assert page.evaluate("document.activeElement.getAttribute('href')") == focused
    page.wait_for_selector("#news:text-is('1 new')")
    page.keyboard.press("l")
    assert not page.locator("#live").is_checked()


def test_the_overview_draws_what_the_table_says(open_page):
    """Charts with a bar for each time and model, the sums, and links into the list."""
    page = open_page("/overview?range=all")
    assert page.locator("figure svg").count() == 5
    bars = page.locator("figure:has-text('Calls by') svg rect")
    assert bars.count() > 20
    assert all(bars.nth(number).bounding_box()["height"] > 0 for number in range(5))
    assert page.locator("figure:has-text('Latency') polyline").count() == 3
    with another_page(page):
        page.click("th a:has-text('claude-sonnet-4')")
    assert page.locator("table.traces").count() == 1
    assert page.locator("select[name=model]").input_value() == "claude-sonnet-4"


def test_what_strangers_wrote_cannot_run(open_page):
    """Scripts, pictures, turned text and control characters in a prompt, in names and in metadata."""
    for address in ("/", f"/trace/{trace_id(500)}", "/overview?by=user&range=all"):
        page = open_page(address)
        assert page.evaluate("window.broken === undefined")
        assert page.locator("main img, main script").count() == 0
        assert "<script>" in page.locator("main").inner_text()


def test_a_page_elsewhere_cannot_use_the_browser_that_may_look(
    open_page, browser, running, cookies, tmp_path
):
    """Another origin gets neither a frame nor an answer, though the browser has the cookie."""

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self):
            html = (
                f"<iframe id=f src='{running.base}/'></iframe><img id=i src='{running.base}/static/icon.svg'>"
            )
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_):
            pass

    elsewhere = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
    context = browser.new_context()
    context.add_cookies(cookies)
    page = context.new_page()
    page.goto(f"http://localhost:{elsewhere.server_port}/")
    assert page.evaluate("document.getElementById('i').naturalWidth") == 0
    # The frame has a process of its own, whose word may come after the page's.
    eventually(lambda: page.wait_for_timeout(20) or page.frames[-1].url.startswith("chrome-error:"))
    assert (
        page.evaluate(
            f"fetch('{running.base}/', {{credentials: 'include'}}).then(() => 'read', () => 'refused')"
        )
        == "refused"
    )
    context.close()
    elsewhere.shutdown()
    elsewhere.server_close()
