"""Who may look at the pages of `view`."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import PORT, body, client, keys, open_store, span, trace_id

import kong_ai_tracing.view

COOKIE = f"kong-ai-tracing-view-{PORT}"


@pytest.fixture
def path(tmp_path):
    store = open_store(tmp_path / "traces.sqlite3")
    store.write(body(span(1, input=b'"secret"')))
    store.close()
    return tmp_path / "traces.sqlite3"


@pytest.mark.parametrize(
    "address", ["/", "/overview", f"/trace/{trace_id(1)}", "/static/view.css", "/nowhere"]
)
async def test_nothing_is_shown_without_the_cookie(path, address):
    """Another user of the machine, or another page in the browser, sees only how to get in."""
    async with client(path, admitted=False) as stranger:
        answer = await stranger.get(address)
        assert (answer.status_code, answer.headers["content-type"]) == (403, "text/plain; charset=utf-8")
        stranger.cookies.set(COOKIE, "guessed")
        assert (await stranger.get(address)).status_code == 403


async def test_the_link_works_once_and_the_next_one_is_announced(path):
    """What stays in a history or on a screen is worth nothing; another browser gets a link of its own."""
    made, announced = keys()
    first = made.token
    async with client(path, made, admitted=False) as browser, client(path, made, admitted=False) as second:
        welcome = await browser.get(f"/?token={first}")
        assert welcome.status_code == 200
        assert welcome.headers["set-cookie"].split("; ")[1:] == ["HttpOnly", "Path=/", "SameSite=strict"]
        assert trace_id(1) in (await browser.get("/")).text
        assert (await second.get(f"/?token={first}")).status_code == 403
        assert (await second.get("/?token=")).status_code == 403
        assert announced == [made.token]
        await second.get(f"/?token={announced[0]}")
        assert (await second.get("/")).status_code == 200
        assert (await browser.get("/")).status_code == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (f"127.0.0.1:{PORT}", 200),
        (f"localhost:{PORT}", 200),
        (f"LOCALHOST:{PORT}", 200),
        (f"[::1]:{PORT}", 200),
        (f"rebound.example:{PORT}", 421),
        (f"localhost.example:{PORT}", 421),
        ("127.0.0.1:80", 421),
        ("127.0.0.1", 421),
        ("", 421),
    ],
)
async def test_a_name_that_was_made_to_point_here_is_refused(path, host, expected):
    """A page that rebinds its own name to this address sends that name, cookie or not."""
    made, announced = keys()
    async with client(path, made) as browser:
        before = list(announced)
        assert (await browser.get("/", headers={"host": host})).status_code == expected
        await browser.get(f"/?token={made.token}", headers={"host": "rebound.example"})
        assert announced == before


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_pages_are_only_for_reading(path, method):
    """There is nothing that a request could change."""
    async with client(path) as browser:
        assert (await browser.request(method, "/")).status_code == 405


@pytest.mark.parametrize(
    "address",
    ["/", f"/trace/{trace_id(1)}", "/overview?range=all", "/static/view.js", "/nowhere", "/trace/x"],
)
async def test_every_answer_forbids_what_no_page_needs(path, address):
    """No script but ours, no frame, nothing from elsewhere, nothing cached: also when something failed."""
    async with client(path) as browser:
        headers = (await browser.get(address)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


def test_pages_are_made_of_files_of_the_package_alone():
    """No template and no style names another host, and none has what the policy would forbid."""
    folder = Path(kong_ai_tracing.view.__file__).parent
    for path in [*folder.glob("templates/*"), *folder.glob("static/*")]:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http" not in text, path
        assert "style=" not in text, path
        assert "onclick" not in text, path
