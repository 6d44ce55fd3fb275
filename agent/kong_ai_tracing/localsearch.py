"""What a stored observation can be found by, and the one line of it that a list shows.

The index of words keeps no text: it gives numbers of observations.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, TypeAlias

import orjson
from msgspec import Struct

from kong_ai_tracing.localrecords import unpacked

JsonText: TypeAlias = str | bytes

_DROP_BELOW = 0.1
_MAX_CHARACTERS = 4000
"""Of a question the last, of an answer the last: a chat repeats its beginning with every turn."""
_EXCERPT_CHARACTERS = 160
_NO_WORDS_OF_PEOPLE = frozenset({"role", "type"})
_FOUND_BY = ("name", "model", "provider", "statusMessage")


class Found(Struct, frozen=True):
    """The words of an observation, and its question on one line."""

    text: str
    excerpt: str | None


def found_by(details: JsonText, asked: JsonText | None, answered: JsonText | None) -> Found:
    """What an observation with these JSON texts can be found by."""
    said, question, answer = orjson.loads(details), _parsed(asked), _parsed(answered)
    known = [str(said[name]) for name in _FOUND_BY if name in said]
    words = [*known, *_texts(said.get("metadata")), *_texts(question), *_texts(answer)]
    return Found(" ".join(words), _excerpt(question))


class Words:
    """The index of words: one table after the other, each for a run of observations.

    Taking single texts out of such an index costs as much as putting them in, and gives no room back for
    long. So a table is dropped as a whole when the observations it was made for have left. What is written
    is kept back until `save`: within a transaction the index flushes before each statement that may be
    undone, which would cost more than all the rest.
    """

    def __init__(self, db: sqlite3.Connection, characters_per_table: int) -> None:
        self._db = db
        self._characters_per_table = characters_per_table
        self._new: dict[int, str] = {}

    def add(self, observation: int, text: str) -> None:
        self._new[observation] = text

    def save(self) -> None:
        if not self._new:
            return
        number = self._table()
        query = f"INSERT INTO words_{number} (rowid, text) VALUES (?, ?)"  # noqa: S608  a number of our own
        self._db.executemany(query, self._new.items())
        self._db.execute("SAVEPOINT words")  # now it is in the file, and counts for the file's size
        self._db.execute("RELEASE words")
        characters = sum(map(len, self._new.values()))
        self._db.execute(_ADD_TO_TABLE, (max(self._new), len(self._new), characters, number))
        self._new.clear()

    def forget(self) -> None:
        """What was not saved."""
        self._new.clear()

    def drop_unused(self) -> None:
        """Drop the oldest table when nearly all of its observations have left; the rest moves on."""
        oldest = self._db.execute(_OLDEST_TABLE).fetchone()
        if oldest is None:
            return
        number, last, made_for = oldest
        [left] = self._db.execute(
            "SELECT count(*) FROM observations WHERE observation <= ?", (last,)
        ).fetchone()
        if left > made_for * _DROP_BELOW:
            return
        self._db.execute(f"DROP TABLE words_{number}")
        self._db.execute("DELETE FROM words WHERE number = ?", (number,))
        for observation, details, asked, answered in self._db.execute(_CONTENTS_UP_TO, (last,)).fetchall():
            self.add(observation, found_by(details, unpacked(asked), unpacked(answered)).text)
        self.save()

    def _table(self) -> int:
        """The newest table, or a new one when it is full."""
        newest = self._db.execute(_NEWEST_TABLE).fetchone()
        if newest is not None and newest[1] < self._characters_per_table:
            return int(newest[0])
        [number] = self._db.execute("INSERT INTO words DEFAULT VALUES RETURNING number").fetchone()
        self._db.execute(
            f"CREATE VIRTUAL TABLE words_{number} USING fts5 (text, content = '', detail = none)"
        )
        return int(number)


def _excerpt(question: Any) -> str | None:
    asked = question.get("messages", question) if isinstance(question, dict) else question
    last = asked[-1] if isinstance(asked, list) and asked else asked
    said = last.get("content", last) if isinstance(last, dict) else last
    text = said if isinstance(said, str) else " ".join([*_texts(said)][::-1])
    return " ".join(text[: 4 * _EXCERPT_CHARACTERS].split())[:_EXCERPT_CHARACTERS] or None


def _parsed(body: JsonText | None) -> Any:
    return None if body is None else orjson.loads(body)


def _texts(value: Any) -> Iterator[str]:
    """The strings in a JSON value from the last to the first, until there are enough characters."""
    left, stack = _MAX_CHARACTERS, [value]
    while stack and left > 0:
        here = stack.pop()
        if isinstance(here, str):
            yield here[-left:]
            left -= len(here)
        elif isinstance(here, dict):
            stack.extend(each for name, each in here.items() if name not in _NO_WORDS_OF_PEOPLE)
        elif isinstance(here, list):
            stack.extend(here)


_NEWEST_TABLE = "SELECT number, characters FROM words ORDER BY number DESC LIMIT 1"
_OLDEST_TABLE = "SELECT number, last, observations FROM words ORDER BY number LIMIT 1"
_ADD_TO_TABLE = """
    UPDATE words SET last = max(last, ?), observations = observations + ?, characters = characters + ?
    WHERE number = ?
"""
_CONTENTS_UP_TO = """
    SELECT observation, details, input, output FROM observations JOIN contents USING (observation)
    WHERE observation <= ?
"""
