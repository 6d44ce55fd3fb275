"""What a person sees of the daemon."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from kong_ai_tracing.statuspage.page import CONTENT_SECURITY_POLICY, page_of
from kong_ai_tracing.statuspage.situation import Now, Situation
from situations import bad_situation, config, report, situation, vitals


class Elements(HTMLParser):
    """The elements and the text of a page; every element that is opened must be closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.text += data


@pytest.mark.parametrize(
    ("shown", "headline"),
    [
        (situation(), "Traces flow"),
        (situation(one=vitals(reason="503")), "Traces flow, with a problem"),
        (situation(one=vitals(reason="401", holding=True)), "Traces do not flow"),
        (situation(one=vitals(following=False)), "Starting"),
        (bad_situation(), "Traces do not flow"),
    ],
)
def test_the_first_words_say_whether_it_flows(shown, headline):
    """In the title, too: a tab is enough."""
    page = page_of(shown)
    assert re.search(r"<h1 [^>]*>([^<]*)</h1>", page)[1] == headline
    assert re.search(r"<title>([^<]*) - ", page)[1] == headline


def test_how_far_behind_and_what_to_do_is_told():
    """In words that need no manual."""
    text = Elements(page_of(bad_situation())).text
    assert "8.8 KiB of log are unread; the oldest request of it began 77 s ago" in text
    assert "90 spans wait on disk to be sent" in text
    assert "Reading waits: the outbox is full" in text
    assert "keep enough generations" in text or "keeps enough generations" in text
    assert "kong-ai-tracing refused list says why" in text


def test_names_and_words_of_others_are_text_and_nothing_else():
    """Whatever a file is called, and whatever a server answers."""
    page = page_of(bad_situation())
    elements = Elements(page)
    assert elements.names <= {
        "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "h1", "h2", "p", "ul",
        "li", "strong", "div", "table", "thead", "tbody", "tr", "th", "td", "a",
    }  # fmt: skip
    assert elements.attributes <= {
        "lang", "charset", "name", "content", "class", "scope", "href", "role", "aria-label", "tabindex",
    }  # fmt: skip
    assert "<script>alert(1)</script>" in elements.text
    for character in ("\x1b", "\x07", "\u202e", "\udcff"):
        assert character not in page
    page.encode("utf-8")


def test_nothing_comes_from_elsewhere_and_nothing_runs():
    """The policy lets in the page's own style, by its digest."""
    page = page_of(situation())
    assert "http://" not in page
    assert "https://" not in page
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'")
    assert "unsafe" not in CONTENT_SECURITY_POLICY


def test_a_long_list_of_files_is_cut_where_it_is_least_interesting():
    """Those furthest behind come first."""
    from kong_ai_tracing.files import FileStatus

    files = [FileStatus(f"/logs/{number}.log", number, 0, number) for number in range(500)]
    text = Elements(page_of(situation(one=vitals(files=files)))).text
    assert text.index("/logs/499.log") < text.index("/logs/498.log")
    assert "and 450 more files" in text


def test_a_start_without_anything_is_a_page_as_well():
    """Before the first project is followed."""
    assert "Starting" not in page_of(Situation(Now(config(), [])))
    assert "It is not followed" in page_of(Situation(Now(config(), [])))
    assert "kong-ai-tracing" in page_of(Situation(Now(config(), []), {"langfuse": report()}))
