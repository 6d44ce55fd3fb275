"""The format of the state database: upgraded in one transaction, never downgraded."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from kong_ai_tracing import storeschema
from kong_ai_tracing.batches import Body
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.statedir import StoreError
from kong_ai_tracing.store import Commit, Store
from kong_ai_tracing.storerefused import RefusedBodies
from kong_ai_tracing.storeschema import FORMAT
from kong_ai_tracing.storestatus import read_parts, read_status

FORMATS = sorted((Path(__file__).parent / "fixtures" / "state").glob("format-*.sql"))


@pytest.fixture(params=FORMATS, ids=lambda path: path.stem)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A state directory that an older version left behind."""
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite3")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(request.param.read_text())
    return tmp_path


def content(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


def test_an_older_state_is_upgraded_with_everything_in_it(old: Path) -> None:
    """What waited is delivered, what was read is not read again."""  # covers CHK-07, PRC-10
    with contextlib.closing(Store(old)) as store:
        restored = store.restore()
        assert [(record.offset, record.inode) for record in restored.files] == [(4711, 77)]
        assert [held.call_id for held in restored.held] == ["call-1"]
        assert restored.roots == {"trace-1": 1_700_000_000_000}
        assert (restored.outbox, restored.follows) == ([3, 4], {4: 3})
        assert store.body(3) == Body(2, b"first", packed=True)
        assert not restored.positions_lost
        store.find_damage()
    with contextlib.closing(RefusedBodies(old)) as refused:
        [body] = refused.list()
        assert (body.id, body.bytes, body.reason, body.destination) == (1, 4, "400 Bad Request", "langfuse")


def test_an_upgrade_that_is_cut_off_changes_nothing_and_can_be_repeated(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One transaction for all steps."""  # covers CHK-07
    before = content(old / "state.sqlite3")
    with monkeypatch.context() as patched:
        broken = (*storeschema._MIGRATIONS, "CREATE TABLE more (id INTEGER); this is no SQL;")
        patched.setattr(storeschema, "_MIGRATIONS", broken)
        patched.setattr(storeschema, "FORMAT", len(broken))
        with pytest.raises(StoreError):
            Store(old)
    assert content(old / "state.sqlite3") == before
    with contextlib.closing(Store(old)) as store:
        assert store.restore().outbox == [3, 4]


def test_only_the_daemon_upgrades(old: Path) -> None:
    """A command beside an older daemon that still runs must not take its tables away."""  # covers PRC-10
    before = content(old / "state.sqlite3")
    with pytest.raises(StoreError, match="older format"):
        RefusedBodies(old)
    status = read_status(old)
    assert status is not None
    assert status.counters == {"lines": 12}
    assert content(old / "state.sqlite3") == before


def test_a_new_state_has_its_name_only_when_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in the first moment is no damage."""
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", lambda self, target: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Store(tmp_path)
    assert not (tmp_path / "state.sqlite3").exists()
    with contextlib.closing(Store(tmp_path)) as store:
        assert store._db.execute("PRAGMA user_version").fetchone() == (FORMAT,)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.sqlite3", "trouble"]


def test_what_an_older_format_did_not_say_is_not_known(old: Path) -> None:
    """From where on its files were read and how many calls they held: no backfill may skip them for that."""
    with contextlib.closing(Store(old)) as store:
        [record] = store.restore().files
        assert (record.begun, record.calls) == (None, None)
        store.commit(Commit(Progress(calls=Counter({record.file_id: 3}), retired=[record.file_id])))
    assert read_parts(old) == []
