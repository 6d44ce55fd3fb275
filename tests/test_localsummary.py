"""What lists know of the local store's traces: labels with their counts, sums, and words."""

from __future__ import annotations

import sqlite3
from collections import Counter

import orjson
import pytest

from kong_ai_tracing import localschema
from kong_ai_tracing.localsearch import found_by
from kong_ai_tracing.localstore import LocalStore
from test_localstore import DAY, START, Clock, body, span, trace_id


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "traces.sqlite3"


def open_store(path, clock, max_bytes=64 << 20):
    return LocalStore(path, max_age_seconds=7 * DAY, max_bytes=max_bytes, clock=clock)


def labels(store):
    return {
        (kind, value): count
        for kind, value, count in store._db.execute("SELECT kind, value, traces FROM labels")
    }


def labelled(store):
    query = "SELECT kind, value, count(*) FROM trace_labels JOIN labels USING (label) GROUP BY label"
    return {(kind, value): count for kind, value, count in store._db.execute(query)}


def found(store, word):
    tables = [number for (number,) in store._db.execute("SELECT number FROM words")]
    return sorted(
        {
            row
            for number in tables
            for (row,) in store._db.execute(
                f"SELECT rowid FROM words_{number} WHERE words_{number} MATCH ?", (word,)
            )
        }
    )


def test_a_trace_is_labelled_with_what_any_of_its_observations_says(path, clock):
    """Two models in one trace: either of them finds it; its status is the worst."""
    store = open_store(path, clock)
    context = {"user_id": "alice", "session_id": "s1"}
    store.write(
        body(
            span(1, id_="f" * 16, context=context, type="span"),
            span(1, id_="a" * 16, parent="f" * 16, context=context, model="gpt-4o", provider="openai"),
            span(
                1,
                id_="b" * 16,
                parent="f" * 16,
                context=context,
                model="claude",
                level="ERROR",
                metadata={"kong_service": "llm", "kong_route": "chat"},
            ),
        )
    )
    assert labels(store) == labelled(store)
    assert set(labels(store)) == {
        ("model", "gpt-4o"),
        ("model", "claude"),
        ("provider", "openai"),
        ("service", "llm"),
        ("route", "chat"),
        ("status", "error"),
        ("user", "alice"),
        ("session", "s1"),
        ("environment", "production"),
    }
    store.close()


def test_a_trace_that_changes_changes_its_labels(path, clock):
    """A repeat counts nothing twice, and a label that nobody has any more is gone."""
    store = open_store(path, clock)
    store.write(body(span(1, model="gpt-4o"), span(2, model="gpt-4o")))
    store.write(body(span(1, model="gpt-4o")))
    assert labels(store)["model", "gpt-4o"] == 2
    store.write(body(span(1, model="claude", level="WARNING")))
    assert labels(store) == labelled(store)
    assert (labels(store)["model", "gpt-4o"], labels(store)["model", "claude"]) == (1, 1)
    store.write(body(span(2, model="claude", level="WARNING")))
    assert ("model", "gpt-4o") not in labels(store)
    assert ("status", "ok") not in labels(store)
    store.write(body(span(3, model="gpt-4o")))
    assert labels(store) == labelled(store)
    store.close()


def test_labels_and_words_leave_with_their_traces(path, clock):
    """Nothing that lists and searches use outlives what it is about, whatever the bound was."""
    store = open_store(path, clock, max_bytes=2 << 20)
    for number in range(1, 1500):
        noise = " ".join(f"{number * each * 2654435761 % 2**32:08x}" for each in range(150))
        asked = f'"{noise} word{number}"'.encode()
        store.write(body(span(number, input=asked, context={"user_id": f"u{number}"})))
        assert store.size_bytes() <= 2 << 20
    kept = Counter(dict(store._db.execute("SELECT 'traces', count(*) FROM traces")))["traces"]
    assert 300 < kept < 1400
    assert labels(store) == labelled(store)
    assert sum(kind == "user" for kind, _ in labels(store)) == kept
    [tables, indexed] = store._db.execute("SELECT count(*), sum(observations) FROM words").fetchone()
    assert tables > 3
    assert kept <= indexed < 1.3 * kept
    assert len(found(store, "word1499")) == 1
    assert found(store, "word1") == []
    assert len(found(store, f"word{1500 - kept}")) == 1
    store.close()


def test_what_is_left_of_a_dropped_table_can_still_be_found(path, clock):
    """A trace that is written to for longer than all others does not lose its words."""
    store = open_store(path, clock, max_bytes=2 << 20)
    for number in range(1, 1500):
        noise = " ".join(f"{number * each * 2654435761 % 2**32:08x}" for each in range(150))
        again = [span(1, input=b'"everlasting"')] if number % 50 == 1 else []
        store.write(body(*again, span(number + 1, input=f'"{noise}"'.encode())))
    assert len(found(store, "everlasting")) == 1
    store.close()


def test_a_rolled_back_batch_leaves_the_counts_right(path, clock):
    """The numbers that are remembered of labels are forgotten with the transaction that made them."""
    store = open_store(path, clock)
    store.write(body(span(1, model="gpt-4o")))
    [pages] = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    big = body(*(span(number, model="claude", input=b'"x"') for number in range(2, 500)))
    with pytest.raises(sqlite3.OperationalError):
        store.write(big)
    store._db.execute("PRAGMA max_page_count = 100000")
    store.write(big)
    assert labels(store) == labelled(store)
    assert labels(store)["model", "claude"] == 498
    store.close()


def test_an_older_store_gets_its_lists(path, clock):
    """Traces of the first version are found and filtered as if they had been written today."""
    db = sqlite3.connect(path)
    db.executescript(localschema._MIGRATIONS[0])
    db.execute("PRAGMA user_version = 1")
    said = orjson.dumps({"name": "support", "userId": "alice"}).decode()
    db.execute(
        "INSERT INTO traces (trace, id, changed, written_ms, started_ms, ended_ms, said) VALUES"
        " (1, ?, 1, ?, ?, ?, ?)",
        (trace_id(1), START, START, START + 500, said),
    )
    db.execute(
        "INSERT INTO observations (observation, trace, id, type, name, started_ms, ended_ms, level, model,"
        " input_tokens, output_tokens, total_tokens, cost) VALUES"
        " (1, 1, 'a', 'generation', 'chat', ?, ?, 'ERROR', 'gpt-4o', 1, 2, 3, 0.5)",
        (START, START + 500),
    )
    asked = '[{"role":"user","content":"Where is my parcel?"}]'
    db.execute("INSERT INTO contents VALUES (1, ?, ?, NULL)", ('{"name":"chat"}', asked))
    db.commit()
    db.close()
    store = open_store(path, clock)
    assert labels(store) == {("model", "gpt-4o"): 1, ("status", "error"): 1, ("user", "alice"): 1}
    assert found(store, "parcel") == [1]
    row = store._db.execute(
        "SELECT latency_ms, lead, tokens, excerpt, changed FROM traces, observations"
    ).fetchone()
    assert row == (500, 1, 3, "Where is my parcel?", 1)
    store.close()


def test_words_are_those_of_the_last_turn_first():
    """A chat repeats its beginning with every turn; its names are no words."""
    long_ago = {"role": "user", "content": "ancient " * 2000}
    now = {"role": "user", "content": [{"type": "text", "text": "Wie geht's,\n  Müller?"}]}
    found = found_by("{}", orjson.dumps({"messages": [long_ago, now], "tools": []}), None)
    assert found.excerpt == "Wie geht's, Müller?"
    assert "Müller" in found.text
    assert len(found.text) <= 4100
    assert "role" not in found.text
    assert found_by('{"metadata":{"kong_request_id":"abc"}}', None, b'"answer"').text == "abc answer"
    assert found_by("{}", b"[]", b"null").excerpt is None
