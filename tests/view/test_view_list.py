"""The list of `view`: what is found, in which order, page by page, and by way of which index."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import pytest
from pages import START, Document, body, client, open_store, span, trace_id

from kong_ai_tracing.view import listing
from kong_ai_tracing.view.filters import SORTS, Filters, read_filters
from kong_ai_tracing.view.listing import match_expression

PLANS_FILE = Path(__file__).parent.parent.parent / "docs" / "view-query-plans.txt"
MODELS = ("gpt-4o", "gpt-4o-mini", "claude")
HOUR_MS = 3_600_000


def call(number, **more):
    context = {
        "user_id": f"user-{number % 4}",
        "session_id": f"session-{number // 10}",
        "environment": "staging" if number % 5 == 0 else "production",
        **more.pop("context", {}),
    }
    said = {
        "started_at_ms": START + number // 2 * 1000,  # two at a time
        "ended_at_ms": START + number // 2 * 1000 + 100 * (number % 7),
        "model": MODELS[number % 3],
        "provider": "anthropic" if number % 3 == 2 else "openai",
        "level": ("DEFAULT", "ERROR", "WARNING", "DEFAULT")[number % 4],
        "usage_details": {"input": number % 9, "output": 1},
        "cost_details": {"total": (number % 11) / 1000},
        "metadata": {"kong_service": f"service-{number % 2}", "kong_route": f"route-{number % 2}"},
        "input": b'[{"role":"user","content":"Where is parcel %d?"}]' % number,
        **more,
    }
    return span(number, context=context, **said)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "traces.sqlite3"
    store = open_store(path)
    store.write(body(*(call(number) for number in range(180))))
    two = span(200, id_="f" * 16, type="span", started_at_ms=START - 1000, ended_at_ms=START)
    store.write(
        body(
            two,
            call(200, id_="1" * 16, parent="f" * 16, started_at_ms=START - 1000, ended_at_ms=START - 500),
            call(
                200,
                id_="2" * 16,
                parent="f" * 16,
                model="rare",
                started_at_ms=START - 500,
                ended_at_ms=START,
                output=b'{"role":"assistant","content":"Gr\\u00fc\\u00dfe an M\\u00fcller"}',
                metadata={"kong_request_id": "abcdef0123456789abcdef0123456789"},
            ),
        )
    )
    store.close()
    return path


async def listed(browser, address):
    """All traces of a list, through all of its pages."""
    found, pages = [], 0
    while address:
        page = Document((await browser.get(address)).text)
        found += page.traces
        address, pages = page.next, pages + 1
        assert pages < 20
    return found


def expected(condition):
    return {trace_id(number) for number in range(180) if condition(number)}


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ("model=claude", lambda n: n % 3 == 2),
        ("provider=anthropic", lambda n: n % 3 == 2),
        ("user=user-1", lambda n: n % 4 == 1),
        ("session=session-3", lambda n: n // 10 == 3),
        ("status=warning", lambda n: n % 4 == 2),
        ("service=service-1", lambda n: n % 2),
        ("route=route-1&environment=staging", lambda n: n % 2 and n % 5 == 0),
        ("model=gpt-4o&user=user-0&environment=staging", lambda n: n % 60 == 0),
        ("model=gpt-4o&sort=latency", lambda n: n % 3 == 0),
        ("model=gpt-4o&status=error&sort=cost&up=1", lambda n: n % 3 == 0 and n % 4 == 1),
        ("q=parcel&user=user-1&sort=tokens", lambda n: n % 4 == 1),
        ("model=never", lambda n: False),
        ("q=parcel+17", lambda n: n == 17),
        ("q=parc*+17*", lambda n: n == 17 or n // 10 == 17),
    ],
)
async def test_filters_find_what_they_say_in_any_order(path, query, condition):
    """Each filter alone, with others, with a search, and whatever the list is sorted by."""
    async with client(path) as browser:
        found = await listed(browser, f"/?{query}")
    assert len(found) == len(set(found))
    assert set(found) - {trace_id(200)} == expected(condition)


@pytest.mark.parametrize(("sort", "up"), [*product(SORTS, ("", "1"))])
async def test_pages_show_every_trace_once_and_in_order(path, sort, up):
    """Also where many traces have the same value."""
    async with client(path) as browser:
        found = [int(each, 16) for each in await listed(browser, f"/?sort={sort}&up={up}")]
    assert sorted(found) == [*range(180), 200]
    key = {
        "time": lambda n: n // 2,
        "latency": lambda n: 100 * (n % 7),
        "tokens": lambda n: n % 9 + 1,
        "cost": lambda n: n % 11,
    }[sort]
    values = [key(number) for number in found if number != 200]
    assert values == sorted(values, reverse=not up)


async def test_a_time_may_be_named_or_relative(path):
    """`range` counts back from now, and exact times are UTC."""
    async with client(path, clock=lambda: START / 1000 + 900 + 30) as browser:
        assert set(await listed(browser, "/?range=15m")) == expected(lambda n: n // 2 >= 30)
        since = "2026-11-23T07:51:00"  # 11.19 s after the start
        assert set(await listed(browser, f"/?since={since}&until=2026-11-23T07:51:09")) == expected(
            lambda n: 12 <= n // 2 <= 20
        )
        assert len(await listed(browser, f"/?until={since}&sort=cost")) == 25
        assert len(await listed(browser, "/?since=rubbish&range=rubbish&sort=rubbish&after=rubbish")) == 181


async def test_any_observation_of_a_trace_finds_it_by_label_word_or_id(path):
    """Umlauts and capitals do not matter; ids of a trace and of Kong's request are words as well."""
    async with client(path) as browser:
        for query in (
            "model=rare",
            "q=grüße",
            "q=GRUßE",
            "q=MULLER",
            "q=abcdef0123456789abcdef0123456789",
            f"q={trace_id(200)}",
        ):
            assert await listed(browser, f"/?{query}") == [trace_id(200)], query


@pytest.mark.parametrize(
    "text",
    [
        '"',
        "parcel\"' OR 1",
        "NEAR(a b)",
        "a-b",
        "*",
        "^parcel",
        "text:parcel",
        "物流",
        "\x00",
        "x" * 5000,
        "½ ² ٣ e\u0301",
        "{}",
    ],
)
async def test_no_search_breaks_the_page(path, text):
    """What is typed are words, never a language."""
    async with client(path) as browser:
        answer = await browser.get("/", params={"q": text})
    assert answer.status_code == 200


def test_words_are_quoted():
    """Nothing of the search engine's language is passed on."""
    assert match_expression('re-fund* AND "x') == '"re" AND "fund"* AND "AND" AND "x"'
    assert match_expression("- * !") == ""


async def test_more_matches_than_are_looked_at_are_admitted(path, monkeypatch):
    """A list that is not complete says so."""
    monkeypatch.setattr(listing, "MAX_HITS", 20)
    async with client(path) as browser:
        page = await browser.get("/?q=parcel&sort=cost")
        assert "among the newest" in page.text
        assert len(Document(page.text).traces) == 19  # two of the newest are in one trace
        assert "among the newest" not in (await browser.get("/?q=17")).text


async def test_live_mode_is_answered_only_when_something_changed(path, tmp_path):
    """Each second costs one small statement, not a list."""
    store = open_store(tmp_path / "traces.sqlite3")
    async with client(tmp_path / "traces.sqlite3") as browser:
        store.write(body(call(1)))
        [shown] = Document((await browser.get("/")).text).all("input", id="live")
        again = f"/?part=rows&model={MODELS[1]}&change="
        assert (await browser.get(again + shown["data-change"])).status_code == 204
        store.write(body(call(2), call(4)))
        news = await browser.get(again + shown["data-change"])
        assert Document(news.text).traces == [trace_id(4), trace_id(1)]
        assert "<html" not in news.text
        assert (await browser.get(again + news.headers["x-change"])).status_code == 204
    store.close()


async def test_a_store_that_is_not_there_yet_is_an_empty_list(tmp_path):
    """The viewer may be started before the daemon."""
    path = tmp_path / "traces.sqlite3"
    async with client(path) as browser:
        for address in ("/", "/overview", "/?part=rows&change=1"):
            assert (await browser.get(address)).status_code == 200
        store = open_store(path)
        store.write(body(call(1)))
        assert Document((await browser.get("/")).text).traces == [trace_id(1)]
        store.close()


# -- plans

WISHES = {
    "newest first": Filters(),
    "a later page": Filters(after=(START, 7)),
    "a time": Filters(range="24h"),
    "one filter": Filters(labels={"model": "gpt-4o"}),
    "three filters, a time, a later page": Filters(
        labels={"model": "gpt-4o", "user": "user-0", "status": "ok"}, range="24h", after=(START, 7)
    ),
    "by latency": Filters(sort="latency"),
    "by tokens, a later page, smallest first": Filters(sort="tokens", ascending=True, after=(3, 7)),
    "by cost, a rare filter": Filters(sort="cost", labels={"model": "rare"}),
    "by cost, a frequent filter": Filters(sort="cost", labels={"model": "frequent"}),
    "by latency, a short time": Filters(sort="latency", range="1h"),
    "words": Filters(text="parcel"),
    "words, a filter, by cost": Filters(text="parcel", labels={"model": "gpt-4o"}, sort="cost"),
}


def plan_of(db, filters, hits=None):
    query = listing.list_query(db, filters, START + HOUR_MS, hits)
    assert query is not None
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query.sql}", query.values)]


def test_no_list_reads_the_whole_store(tmp_path):
    """The plans of all kinds of lists, which are in the documentation. UPDATE_DOCS=1 writes them anew."""
    store = open_store(tmp_path / "traces.sqlite3")
    store.write(
        body(*(call(number) for number in range(24)), call(90, model="rare"), call(91, model="frequent"))
    )
    store._db.execute("UPDATE labels SET traces = 1000000 WHERE value = 'frequent'")
    told = []
    for name, filters in WISHES.items():
        plan = plan_of(store._db, filters, [1, 2] if filters.text else None)
        for step in plan:
            if step.startswith("SCAN"):
                # Along an index in its own order, or over numbers that were found before: both end early.
                assert "INDEX traces_by_" in step or "json_each" in step, (name, step)
        told.append(f"{name}\n" + "".join(f"    {step}\n" for step in plan))
    store.close()
    text = "\n".join(told)
    if os.environ.get("UPDATE_DOCS"):
        PLANS_FILE.write_text(text)
    assert PLANS_FILE.read_text() == text


def test_only_short_lists_are_sorted(tmp_path):
    """A temporary order is made of what the rarest condition leaves, never of all traces."""
    store = open_store(tmp_path / "traces.sqlite3")
    store.write(body(*(call(number) for number in range(24)), call(91, model="frequent")))
    store._db.execute("UPDATE labels SET traces = 1000000 WHERE value = 'frequent'")
    for sort, ascending, labels in product(SORTS, (False, True), ({}, {"model": "frequent"})):
        plan = plan_of(store._db, Filters(sort=sort, ascending=ascending, labels=labels))
        assert not any("TEMP B-TREE FOR ORDER BY" in step for step in plan), (sort, plan)
    store.close()


def test_an_address_leads_back_to_its_wishes():
    """Links change one wish and keep the others."""
    filters = read_filters(
        {"model": "a&b=c", "q": "x y", "sort": "cost", "up": "1", "range": "7d", "after": "3~4"}
    )
    address = filters.address(status="error")
    import urllib.parse

    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address).query))
    assert read_filters(query).labels == {"model": "a&b=c", "status": "error"}
    assert (read_filters(query).text, read_filters(query).after) == ("x y", None)
