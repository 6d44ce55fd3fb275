"""Opens the state, and when it is damaged sets it aside and goes on with a new one.

The damaged files go into a folder of their own beside the new ones, with a report of what was taken over. The
folder stays until an operator removes it: so long `status` tells of it. Every step can be cut off and is
taken up by the next start.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from kong_ai_tracing.statedir import DamagedStoreError, StoreError, as_store_error
from kong_ai_tracing.store import REFUSED_MAX_BYTES, Restored, Store
from kong_ai_tracing.storesalvage import Salvaged, salvage
from kong_ai_tracing.storeschema import create, side_files
from kong_ai_tracing.storestatus import FILE_NAME
from kong_ai_tracing.walcheck import wal_frames

log = logging.getLogger(__name__)

FOLDER = "damaged-"
_UNFINISHED = ".unfinished"
_REASON = "reason"
_REPORT = "report.json"


class Damage(Struct, frozen=True):
    """A damaged database that was set aside, and what became of what it held."""

    folder: str
    reason: str
    noticed_at: str
    salvaged: Salvaged


def open_store(state_dir: Path, *, refused_max_bytes: int = REFUSED_MAX_BYTES) -> tuple[Store, Restored]:
    """The state database and what is in it; in place of a damaged one a new one with what could be saved.

    Raises StoreError when neither can be used.
    """
    with as_store_error(state_dir / FILE_NAME):
        _take_up_repair(state_dir)
    try:
        return _open_whole(state_dir, refused_max_bytes)
    except DamagedStoreError as error:
        reason = str(error.__cause__)
        log.error("store.damaged path=%s reason=%r", state_dir / FILE_NAME, reason)
        with as_store_error(state_dir):
            repair(state_dir, reason)
    return _open_whole(state_dir, refused_max_bytes)


def damages(state_dir: Path) -> list[Damage]:
    """The damaged databases that nobody has removed yet, oldest first."""
    found = []
    for folder in sorted(state_dir.glob(f"{FOLDER}*")):
        try:
            found.append(msgspec.json.decode((folder / _REPORT).read_bytes(), type=Damage))
        except (OSError, msgspec.MsgspecError):
            found.append(Damage(str(folder), "see the log of the daemon", "", Salvaged()))
    return found


def repair(state_dir: Path, reason: str) -> None:
    """Set the database aside and build a new one with what can be read of it. Nobody may have it open."""
    noticed = datetime.now(UTC)
    folder = state_dir / f"{FOLDER}{noticed:%Y%m%dT%H%M%S.%fZ}{_UNFINISHED}"
    folder.mkdir(mode=0o700)
    _write_privately(folder / _REASON, reason.encode())
    _finish(state_dir, folder)


def _open_whole(state_dir: Path, refused_max_bytes: int) -> tuple[Store, Restored]:
    path = state_dir / FILE_NAME
    wal, _ = side_files(path)
    with as_store_error(path):
        frames = wal_frames(wal)
        if frames is not None and not path.exists():
            # SQLite would throw the log away.
            raise sqlite3.DatabaseError("the file is gone, its write-ahead log is not")
    store = Store(state_dir, refused_max_bytes=refused_max_bytes)
    try:
        store.find_damage(frames)
        _take_marked(store)
        return store, store.restore()
    except BaseException:
        store.close()
        raise


def _take_marked(store: Store) -> None:
    """Before the first look at the outbox, so that a run to the end delivers them, too."""
    try:
        with as_store_error(store.path):
            store.take_marked()
    except DamagedStoreError:
        raise
    except StoreError as error:
        log.warning("refused.not_retried reason=%r", str(error.__cause__))


def _take_up_repair(state_dir: Path) -> None:
    """Finish a repair that was cut off."""
    for folder in state_dir.glob(f"{FOLDER}*{_UNFINISHED}"):
        _finish(state_dir, folder)


def _finish(state_dir: Path, folder: Path) -> None:
    path, aside = state_dir / FILE_NAME, folder / FILE_NAME
    if not aside.exists():
        # The log goes first: of the two it is the one that SQLite would throw away without the other.
        for side in side_files(path):
            with suppress(FileNotFoundError):
                side.rename(folder / side.name)
        if not path.exists():
            path.touch(0o600)
        path.rename(aside)
    done = folder.with_name(folder.name.removesuffix(_UNFINISHED))
    if not path.exists():
        create(path, lambda db: _save_what_can_be(folder, done, db))
    folder.rename(done)
    log.error("store.rebuilt path=%s damaged=%s", path, done)


def _save_what_can_be(folder: Path, done: Path, new: sqlite3.Connection) -> None:
    """Fill the new database, and write down how that went."""
    aside = folder / FILE_NAME
    now = datetime.now(UTC)
    if aside.stat().st_size:
        # Read-only: what is damaged stays as it was found.
        with closing(sqlite3.connect(f"{aside.as_uri()}?mode=ro", uri=True, isolation_level=None)) as old:
            found = salvage(old, new, int(now.timestamp() * 1000))
    else:
        found = salvage(None, new, int(now.timestamp() * 1000))
    log.error(
        "store.salvaged rows=%s incomplete=%s",
        ",".join(f"{name}:{count}" for name, count in found.rows.items()),
        ",".join(found.incomplete) or "nothing",
    )
    reason = (folder / _REASON).read_text() if (folder / _REASON).exists() else "unknown"
    damage = Damage(str(done), reason, now.isoformat(timespec="seconds"), found)
    _write_privately(folder / _REPORT, msgspec.json.encode(damage))


def _write_privately(path: Path, text: bytes) -> None:
    """Left out on a full disk: it must not keep the daemon from starting."""
    with suppress(OSError), open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(text)
