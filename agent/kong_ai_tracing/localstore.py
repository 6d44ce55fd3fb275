"""The embedded trace store: where traces go when no Langfuse is configured.

One SQLite file takes what spans say and gives it back in the JSON form of a trace. Writing the same span
again replaces it, so repeats after a crash do no harm. Age and size are bounded: traces that were not
touched for longest leave first.

Lists are made from narrow columns; bodies lie in a table of their own, compressed when they are long, so
that a million calls can be listed without reading one of them.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from msgspec import Struct, structs

from kong_ai_tracing.localrecords import Record, Row, decode, packed, unpacked
from kong_ai_tracing.localschema import migrate
from kong_ai_tracing.localsearch import Words, found_by
from kong_ai_tracing.localsummary import Labels, forget_traces, sum_up
from kong_ai_tracing.tracejson import assemble, merge_trace_values

FILE_NAME = "traces.sqlite3"
_ROOM_AFTER_PRUNING = 0.95
_WRITTEN_AT_COMMIT_BYTES = 16 << 10
"""What the index of words may still add when a transaction ends."""
_WORD_TABLES = 32
"""Into so many tables words are parted, about; each leaves as a whole."""
_NEVER_MS = 1 << 62
_VACUUM_PAGES = 4000
"""Free pages given back to the file system after each write at most, so that no write takes long."""


class TraceSummary(Struct, frozen=True):
    """One line of a list of traces."""

    number: int
    id: str
    name: str
    user_id: str | None
    session_id: str | None
    environment: str
    started_ms: int
    ended_ms: int
    observations: int
    errors: int
    tokens: int
    cost: float


class LocalTraces:
    """The store for reading; any number of processes may read while one writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = self._connect()

    def traces(self, limit: int = 50, after: TraceSummary | None = None) -> list[TraceSummary]:
        """Traces by start, newest first; `after` is the last one of the page before."""
        before = (after.started_ms, after.number) if after else (_NEVER_MS, 0)
        rows = self._db.execute(_LIST_TRACES, (*before, limit))
        return [TraceSummary(*row) for row in rows]

    def trace(self, trace_id: str) -> dict[str, Any] | None:
        """One trace in its JSON form; bodies are fragments that a JSON writer splices in."""
        row = self._db.execute("SELECT trace, said FROM traces WHERE id = ?", (trace_id,)).fetchone()
        return self._trace(trace_id, *row) if row else None

    def changed_since(self, sequence: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Traces written after that point, in the order of their last change, each with its own point."""
        query = "SELECT changed, id, trace, said FROM traces WHERE changed > ? ORDER BY changed"
        for changed, trace_id, number, said in self._db.execute(query, (sequence,)).fetchall():
            yield changed, self._trace(trace_id, number, said)

    def size_bytes(self) -> int:
        """What the traces take; free pages inside the file are not counted."""
        pages, free, page_bytes = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * page_bytes)

    @property
    def connection(self) -> sqlite3.Connection:
        """For questions that a viewer has."""
        return self._db

    def close(self) -> None:
        self._db.close()

    def _connect(self) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5)

    def _trace(self, trace_id: str, number: int, said: str) -> dict[str, Any]:
        observations = []
        for details, asked, answered in self._db.execute(_CONTENTS_OF_TRACE, (number,)):
            observation = orjson.loads(details)
            for name, body in (("input", unpacked(asked)), ("output", unpacked(answered))):
                if body is not None:
                    observation[name] = orjson.Fragment(body)
            observations.append(observation)
        return assemble(trace_id, orjson.loads(said), observations)


class LocalStore(LocalTraces):
    """The store for writing, by one process. `clock` gives the time of day in seconds."""

    def __init__(
        self,
        path: Path,
        *,
        max_age_seconds: float,
        max_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._max_age_ms = int(max_age_seconds * 1000)
        self._max_bytes = max_bytes
        self._characters_per_table = max_bytes // _WORD_TABLES
        self._clock = clock
        self._lock = threading.Lock()  # batches are written from worker threads
        super().__init__(path)
        self._labels, self._words = Labels(self._db), Words(self._db, self._characters_per_table)

    def write(self, body: bytes) -> int:
        """Keep the spans of one batch body, all or none, and return how many they were.

        A full disk or a broken file raises sqlite3.Error with the path and the reason.
        """
        records = decode(body)
        with self._lock, self._naming_the_file():
            with self._transaction():
                now_ms = int(self._clock() * 1000)
                self._write(records, now_ms)
                self._prune(now_ms)
            self._db.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
        return len(records)

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        with self._naming_the_file():
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5)
            try:
                migrate(db, self._characters_per_table)
            except BaseException:
                db.close()
                raise
        return db

    def _write(self, records: Sequence[Record], now_ms: int) -> None:
        [sequence] = self._db.execute("SELECT last_change FROM state").fetchone()
        touched: dict[int, dict[str, Any]] = {}
        for record in records:
            number, said = self._upsert_trace(record, sequence)
            touched.pop(number, None)  # the last touch decides on the order
            touched[number] = said
            self._upsert_observation(number, record)
        for number, said in touched.items():
            sequence += 1
            sum_up(self._db, self._labels, number, said, sequence, now_ms)
        self._labels.save()
        self._words.save()
        self._db.execute("UPDATE state SET last_change = ?", (sequence,))

    def _upsert_observation(self, trace: int, record: Record) -> None:
        details = str(memoryview(record.details), "utf-8")
        asked, answered = record.bodies.get("input"), record.bodies.get("output")
        found = found_by(details, asked and bytes(asked), answered and bytes(answered))
        row = (trace, *structs.astuple(record.row), found.excerpt)
        [observation] = self._db.execute(_UPSERT_OBSERVATION, row).fetchone()
        contents = (observation, details, packed(asked), packed(answered))
        self._db.execute("INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?)", contents)
        self._words.add(observation, found.text)

    def _upsert_trace(self, record: Record, sequence: int) -> tuple[int, dict[str, Any]]:
        said, number = record.said, None
        known = self._db.execute("SELECT trace, said FROM traces WHERE id = ?", (record.trace_id,)).fetchone()
        if known:
            number, before = known[0], orjson.loads(known[1])
            is_root = record.row.parent_id is None
            said = merge_trace_values([before, said] if is_root else [said, before])
        values = (number, record.trace_id, orjson.dumps(said).decode())
        names = [said.get(name) for name in ("name", "userId", "sessionId", "environment")]
        row = record.row  # most traces have one observation, and keep its place in all indexes
        places = (row.started_ms, row.ended_ms - row.started_ms, row.total_tokens, row.cost)
        [number] = self._db.execute(_UPSERT_TRACE, (*values, *names, sequence, *places)).fetchone()
        return int(number), said

    def _prune(self, now_ms: int) -> None:
        while self._oldest_written_ms() < now_ms - self._max_age_ms:
            self._remove_oldest(100, now_ms - self._max_age_ms)
        if self.size_bytes() + _WRITTEN_AT_COMMIT_BYTES <= self._max_bytes:
            return
        while self.size_bytes() > self._max_bytes * _ROOM_AFTER_PRUNING:
            if not self._remove_oldest(self._a_fiftieth()):
                break

    def _oldest_written_ms(self) -> int:
        row = self._db.execute("SELECT written_ms FROM traces ORDER BY changed LIMIT 1").fetchone()
        return row[0] if row else _NEVER_MS

    def _a_fiftieth(self) -> int:
        [first, last] = self._db.execute("SELECT min(changed), max(changed) FROM traces").fetchone()
        return max(1, ((last or 0) - (first or 0)) // 50)

    def _remove_oldest(self, count: int, written_before_ms: int = _NEVER_MS) -> int:
        """Remove up to so many traces and return how many they were."""
        query = "SELECT trace FROM traces WHERE written_ms < ? ORDER BY changed LIMIT ?"
        doomed = self._db.execute(query, (written_before_ms, count)).fetchall()
        forget_traces(self._db, self._labels, doomed)
        self._labels.save()
        self._db.executemany(_DELETE_CONTENTS, doomed)
        self._db.executemany("DELETE FROM observations WHERE trace = ?", doomed)
        self._db.executemany("DELETE FROM traces WHERE trace = ?", doomed)
        self._words.drop_unused()
        return len(doomed)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._labels.forget()
            self._words.forget()
            if self._db.in_transaction:  # after a full disk SQLite may have rolled back already
                self._db.rollback()
            raise
        self._db.commit()

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise type(error)(f"local trace store {self.path}: {error}") from error


_DELETE_CONTENTS = """
    DELETE FROM contents WHERE observation IN (SELECT observation FROM observations WHERE trace = ?)
"""
_COLUMNS = (*Row.__struct_fields__, "excerpt")
_UPSERT_OBSERVATION = f"""
    INSERT INTO observations (trace, {", ".join(_COLUMNS)}) VALUES (?{", ?" * len(_COLUMNS)})
    ON CONFLICT (trace, id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)}
    RETURNING observation
"""  # noqa: S608  column names of our own
_UPSERT_TRACE = """
    INSERT INTO traces (trace, id, said, name, user_id, session_id, environment, changed, started_ms,
        latency_ms, tokens, cost) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (trace) DO UPDATE SET said = excluded.said, name = excluded.name, user_id = excluded.user_id,
        session_id = excluded.session_id, environment = excluded.environment
    RETURNING trace
"""
_LIST_TRACES = """
    SELECT trace, id, name, user_id, session_id, environment, started_ms, ended_ms, observations, errors,
           tokens, cost
    FROM traces WHERE (started_ms, trace) < (?, ?) ORDER BY started_ms DESC, trace DESC LIMIT ?
"""
_CONTENTS_OF_TRACE = """
    SELECT details, input, output FROM observations JOIN contents USING (observation) WHERE trace = ?
"""
