"""What the state keeps of files: from where, how far and how many calls, also when they are gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping

from kong_ai_tracing.identity import ENDLESS, TELLING_BYTES, Position
from kong_ai_tracing.lines import EMPTY_MARKER

_MAX_PAST_FILES = 20_000
_PAST = "path, head_length, head_digest, begun, offset, marker_length, marker_digest, calls"


def found(db: sqlite3.Connection, calls: Mapping[int, int]) -> None:
    """So many more calls were found, by file. What is not known stays unknown."""
    db.executemany(
        "UPDATE files SET calls = calls + ? WHERE file_id = ?",
        [(count, file_id) for file_id, count in calls.items()],
    )


def rewind(db: sqlite3.Connection, positions: Iterable[Position]) -> None:
    """Let files be read from other places on. What was found up to there is unknown then."""
    db.executemany(
        """UPDATE files SET begun = CASE WHEN ?1 > offset OR ?1 < begun THEN ?1 ELSE begun END, calls = NULL,
           offset = ?1, marker_length = ?2, marker_digest = ?3 WHERE file_id = ?4""",
        [(one.offset, one.marker.length, one.marker.digest, one.file_id) for one in positions],
    )


def retire(db: sqlite3.Connection, file_ids: Collection[int]) -> None:
    """These files are gone. What was read of them may be in an archive."""
    if not file_ids:
        return
    ids = [(file_id,) for file_id in file_ids]
    db.executemany(
        f"""INSERT INTO past_files ({_PAST}) SELECT {_PAST} FROM files
            WHERE file_id = ? AND begun < offset AND offset < {ENDLESS}
            AND head_length >= {TELLING_BYTES}""",  # noqa: S608 - of ours
        ids,
    )
    db.executemany("DELETE FROM files WHERE file_id = ?", ids)
    db.execute("DELETE FROM past_files WHERE id <= (SELECT max(id) FROM past_files) - ?", (_MAX_PAST_FILES,))


def forget_delivered(db: sqlite3.Connection) -> None:
    """Nobody is to rely on what was read so far: some of it was not delivered."""
    db.execute("UPDATE files SET begun = NULL, calls = NULL")
    db.execute("DELETE FROM past_files")


def read_again(db: sqlite3.Connection) -> None:
    """All files are read from their beginning when they are asked for."""
    db.execute(
        f"""UPDATE files SET offset = 0, marker_length = ?, marker_digest = ?, begun = 0, calls = NULL
            WHERE offset < {ENDLESS}""",  # noqa: S608 - of ours
        (EMPTY_MARKER.length, EMPTY_MARKER.digest),
    )
    db.execute("DELETE FROM past_files")


def chosen_by(db: sqlite3.Connection) -> bytes | None:
    """The settings by which calls were chosen, as a digest; None when that is not known."""
    row = db.execute("SELECT digest FROM chosen_by").fetchone()
    return None if row is None else bytes(row[0])


def enter_account(db: sqlite3.Connection, file_ids: Collection[int]) -> int:
    """How many calls earlier accounts found in these files; 0 when this account has been told."""
    there = 0
    for file_id in file_ids:
        row = db.execute("SELECT calls FROM files WHERE file_id = ? AND accounted = 0", (file_id,)).fetchone()
        there += (row and row[0]) or 0
        db.execute("UPDATE files SET accounted = 1 WHERE file_id = ?", (file_id,))
    return there


def begin_new_account(db: sqlite3.Connection) -> None:
    db.execute("UPDATE files SET accounted = 0")
