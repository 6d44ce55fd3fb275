import sqlite3
import stat
import threading

import orjson
import pytest

from kong_ai_tracing.calls import Context, Observation
from kong_ai_tracing.lines import Origin
from kong_ai_tracing.localrecords import encode, join, split
from kong_ai_tracing.localstore import LocalStore, LocalTraces
from kong_ai_tracing.spans import Span
from kong_ai_tracing.tracejson import trace_json

START = 1_795_420_248_810
DAY = 86_400


class Clock:
    def __init__(self):
        self.now = START / 1000

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "traces.sqlite3"


@pytest.fixture
def store(path, clock):
    store = LocalStore(path, max_age_seconds=7 * DAY, max_bytes=64 << 20, clock=clock)
    yield store
    store.close()


def trace_id(number):
    return f"{number:032x}"


def span(number=1, id_="a" * 16, parent=None, context=None, **said):
    said = {"type": "generation", "name": "chat", "started_at_ms": START, "ended_at_ms": START + 412} | said
    about = {
        "trace_id": trace_id(number),
        "shared": False,
        "trace_name": "support",
        "environment": "production",
    }
    return Span(trace_id(number), id_, parent, Context(**about | (context or {})), Observation(**said))


def body(*spans):
    return join(map(encode, spans))


def plain(trace):
    return orjson.loads(orjson.dumps(trace))


def test_a_trace_comes_back_as_preview_would_print_it(store):
    """The store keeps every value of every span, whatever its size or characters."""
    spans = [
        span(id_="f" * 16, type="span", context={"user_id": "alice", "session_id": "s", "tags": ["a"]}),
        span(
            id_="b" * 16,
            parent="f" * 16,
            completion_started_at_ms=START + 100,
            level="ERROR",
            status_message="429 Grüße 😀",
            provider="openai",
            model="gpt-4o",
            model_parameters={"temperature": 0.2},
            input=b'[{"role":"user",\n"content":"' + b"long " * 1000 + b'"}]',
            output='{"role":"assistant","content":"Grüße\\n😀"}'.encode(),
            usage_details={"input": 3, "output": 2, "total": 5},
            cost_details={"total": 0.1},
            metadata={"nested": {"a": [1, None]}},
            origin=Origin("/var/log/ai.log", 1, 10, 20),
        ),
    ]
    assert store.write(body(*spans)) == 2
    assert plain(store.trace(trace_id(1))) == plain(trace_json(spans))
    assert store.trace(trace_id(2)) is None


def test_writing_the_same_again_changes_nothing(store):
    """A repeat after a crash replaces rows; nothing is counted twice."""
    batch = body(span(usage_details={"input": 3, "output": 2, "total": 5}, cost_details={"total": 0.5}))
    store.write(batch)
    before = store.traces()
    store.write(batch)
    assert store.traces() == before
    assert (before[0].observations, before[0].tokens, before[0].cost) == (1, 5, 0.5)


def test_a_later_call_joins_its_trace_and_the_root_may_come_again(store):
    """A group that wakes later gets its new call and its root's new end."""
    root = {"id_": "f" * 16, "type": "span"}
    store.write(body(span(**root), span(id_="b" * 16, parent="f" * 16)))
    late = span(
        id_="c" * 16, parent="f" * 16, level="ERROR", ended_at_ms=START + 9000, context={"user_id": "x"}
    )
    store.write(body(late, span(**root, ended_at_ms=START + 9000, context={"metadata": {"calls": 2}})))
    [summary] = store.traces()
    assert (summary.observations, summary.errors, summary.ended_ms) == (3, 1, START + 9000)
    trace = plain(store.trace(trace_id(1)))
    assert [each["id"][0] for each in trace["observations"]] == ["f", "b", "c"]
    assert (trace["metadata"], trace["userId"]) == ({"calls": 2}, "x")


def test_traces_are_listed_newest_first_page_by_page(store):
    """Pages neither repeat nor skip, even when many traces start in the same millisecond."""
    store.write(body(*(span(number, started_at_ms=START + number // 3) for number in range(10))))
    listed, last = [], None
    while page := store.traces(4, after=last):
        listed += page
        last = page[-1]
    assert [each.id for each in listed] == [trace_id(number) for number in reversed(range(10))]


def test_readers_follow_what_changes(store, path):
    """Another process sees each trace once per change, in order, and can go on from where it was."""
    store.write(body(span(1), span(2)))
    reader = LocalTraces(path)
    seen = [(sequence, trace["id"]) for sequence, trace in reader.changed_since(0)]
    assert [each for _, each in seen] == [trace_id(1), trace_id(2)]
    store.write(body(span(3), span(1, id_="b" * 16, parent="a" * 16)))
    news = [trace for _, trace in reader.changed_since(seen[-1][0])]
    assert [(each["id"], len(each["observations"])) for each in news] == [(trace_id(3), 1), (trace_id(1), 2)]
    reader.close()


def test_a_store_nobody_writes_to_can_be_read(store, path):
    """The files of the write-ahead log are gone after a clean stop; reading must not need them."""
    store.write(body(span()))
    store.close()
    reader = LocalTraces(path)
    assert len(reader.traces()) == 1
    reader.close()


def test_the_files_are_private(store, path):
    """Prompts are nobody else's business: the folder and each file belong to one user alone."""
    store.write(body(span()))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}


def test_old_traces_leave(store, clock):
    """A trace goes when nothing was written to it for the set time, with all it said."""
    store.write(body(span(1, input=b'"a"'), span(2)))
    clock.now += 6 * DAY
    store.write(body(span(1)))
    clock.now += 2 * DAY
    store.write(body(span(3)))
    assert {each.id for each in store.traces()} == {trace_id(1), trace_id(3)}
    db = sqlite3.connect(store.path)
    assert [
        db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("observations", "contents")
    ] == [2, 2]
    db.close()


def test_the_store_never_outgrows_its_limit(path, clock):
    """Whatever comes, the oldest make room, the newest stay, and the file itself stays small."""
    limit = 1 << 20
    store = LocalStore(path, max_age_seconds=7 * DAY, max_bytes=limit, clock=clock)
    for number in range(1, 401):
        noise = "".join(f"{number * each * 2654435761 % 2**32:08x}" for each in range(2000))
        store.write(body(span(number, input=f'"{noise}"'.encode())))
        assert store.size_bytes() <= limit
    kept = [each.id for each in reversed(store.traces(1000))]
    assert kept == sorted(kept)
    assert kept[-1] == trace_id(400)
    assert 50 < len(kept) < 400
    store.close()
    assert path.stat().st_size <= limit * 1.1


def test_a_full_disk_is_told_with_the_path_and_loses_nothing_stored(store):
    """The batch that did not fit is not half there, and goes in when there is room."""
    store.write(body(span(1)))
    [pages] = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    big = body(span(2), *(span(3, id_=f"{number:016x}", input=b'"x"') for number in range(500)))
    with pytest.raises(sqlite3.OperationalError, match=r"traces\.sqlite3: database or disk is full"):
        store.write(big)
    assert [each.id for each in store.traces()] == [trace_id(1)]
    store._db.execute("PRAGMA max_page_count = 100000")
    assert store.write(big) == 501


def test_a_store_of_a_later_version_is_left_alone(path, store):
    """Downgrading must not damage what the newer version wrote."""
    store._db.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(sqlite3.NotSupportedError, match=r"traces\.sqlite3: made by a later version"):
        LocalStore(path, max_age_seconds=DAY, max_bytes=1 << 20)


def test_a_file_that_is_no_store_is_named(path):
    """The message says which file is broken."""
    path.parent.mkdir()
    path.write_bytes(b"something else entirely, and long enough to be read as a header" * 100)
    with pytest.raises(sqlite3.DatabaseError, match=r"traces\.sqlite3: file is not a database"):
        LocalStore(path, max_age_seconds=DAY, max_bytes=1 << 20)


def test_batches_from_several_threads_do_not_mix(store):
    """Batches are written from worker threads, each as a whole."""

    def write(first):
        for number in range(first, first + 20):
            store.write(body(span(number), span(number, id_="b" * 16, parent="a" * 16)))

    threads = [threading.Thread(target=write, args=(first,)) for first in (100, 200, 300, 400)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.observations for each in store.traces(1000)] == [2] * 80


def test_a_body_can_be_cut_into_its_spans_and_joined_again(store):
    """Batches are split and resent without encoding anything twice; an empty one does no harm."""
    batch = body(span(1, input=b'{\n"a":1}'), span(2))
    parts = split(batch)
    assert len(parts) == 2
    assert join(parts) == batch
    assert store.write(b"") == 0


def test_texts_can_be_searched_and_metadata_filtered_in_sql(store):
    """A viewer asks SQLite, not Python, for what it shows."""
    store.write(body(span(1, input=b'"find me"', metadata={"finish_reason": "stop"}), span(2)))
    query = (
        "SELECT json_extract(details, '$.metadata.finish_reason') FROM contents WHERE input LIKE '%find me%'"
    )
    assert store._db.execute(query).fetchall() == [("stop",)]
