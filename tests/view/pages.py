"""A store with a few traces, and the pages over it, for the tests of `view`."""

from __future__ import annotations

from html.parser import HTMLParser

import httpx

from kong_ai_tracing.localstore import LocalStore
from kong_ai_tracing.view.access import Access, Keys
from kong_ai_tracing.view.app import Settings, application
from kong_ai_tracing.view.sources import Source
from test_localstore import START, Clock, body, span, trace_id

PORT = 4321
DAY = 86_400

__all__ = ["START", "Clock", "body", "span", "trace_id"]


def open_store(path, clock=None, max_bytes=1 << 30):
    return LocalStore(path, max_age_seconds=7 * DAY, max_bytes=max_bytes, clock=clock or Clock())


def keys():
    announced = []
    made = Keys(announced.append)
    return made, announced


def client(path, made=None, admitted=True, **settings):
    """A browser before the pages of the store at that path, with the cookie unless told otherwise."""
    made = made or keys()[0]
    settings.setdefault("clock", lambda: START / 1000 + 3600)
    app = Access(
        application(Source(path, str(path)), Settings(**settings)), made, port=PORT, names=frozenset()
    )
    browser = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://127.0.0.1:{PORT}")
    if admitted:
        browser.cookies.set(f"kong-ai-tracing-view-{PORT}", made.redeem(made.token))
    return browser


class Document(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag, **attributes):
        return [
            found
            for name, found in self.elements
            if name == tag and all(found.get(key.rstrip("_")) == value for key, value in attributes.items())
        ]

    @property
    def traces(self):
        """The ids of the listed traces, in order."""
        return [
            found["href"].removeprefix("/trace/") for found in self.all("a") if found.get("class") == "open"
        ]

    @property
    def next(self):
        return next((found["href"] for found in self.all("a", id="next")), None)
