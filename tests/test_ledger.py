"""What a store cannot take is kept, told, and written later."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from kong_ai_tracing.files import LogFiles
from kong_ai_tracing.identity import Position
from kong_ai_tracing.lines import marker_of
from kong_ai_tracing.outcomes import TryLater
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.statedir import DamagedStoreError
from kong_ai_tracing.store import Commit, Store
from kong_ai_tracing.storetrouble import read_trouble
from tailing import Tail, write
from test_delivery import Rig, until
from test_store import held_call


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kong_ai_tracing.ledger._RETRY_SECONDS", 0.01)


async def test_a_state_that_becomes_read_only_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As with a full disk: nothing is claimed, and all of it is written when it can be."""  # covers CHK-06
    rig = Rig(tmp_path)
    rig.store._db.execute("PRAGMA query_only = ON")
    rig.start()
    with caplog.at_level(logging.INFO):
        await rig.submit(b"a")
        await until(lambda: rig.delivery.pause_reason == "the state directory cannot be written")
        trouble = read_trouble(tmp_path)
        assert trouble is not None
        assert trouble.reason == "attempt to write a readonly database"
        assert rig.offset == 0
        rig.store._db.execute("PRAGMA query_only = OFF")
        await rig.delivery.drained()
    assert rig.offset == 100
    assert read_trouble(tmp_path) is None
    assert [record.message.split()[0] for record in caplog.records if "store." in record.message] == [
        "store.failing",
        "store.resumed",
    ]
    await rig.stop()
    rig.store.close()


async def test_a_pause_is_told_once_with_its_reason_and_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However often the reader asks meanwhile."""
    rig = Rig(tmp_path, max_in_flight_bytes=1)
    rig.sink.gate.clear()
    rig.start()
    with caplog.at_level(logging.INFO):
        await rig.submit(b"a")
        rig.delivery.tell_pause()
        rig.delivery.tell_pause()
        rig.sink.gate.set()
        await rig.submit(b"b")
        await rig.submit(b"c")
        await rig.delivery.drained()
    told = [record.message for record in caplog.records if "reading." in record.message]
    assert told == ["reading.paused reason='the destination is slower than the log'", "reading.resumed"]
    await rig.stop()
    rig.store.close()


async def test_what_a_damaged_store_did_not_take_is_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one gets it: its files may be gone."""  # covers CHK-03
    rig = Rig(tmp_path)
    rig.sink.answer = lambda parts: TryLater("503", 1_000)

    def commit(step: Any) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    waiting = held_call("a")
    with monkeypatch.context() as patched:
        patched.setattr(rig.store, "commit", commit)
        rig.start()
        await rig.submit(b"a", held={waiting.id: waiting})
        assert rig.running is not None
        with pytest.raises(DamagedStoreError):
            await rig.running
        with pytest.raises(DamagedStoreError):
            await rig.delivery.finish()
    rig.store.commit(rig.delivery.unwritten)
    restored = rig.store.restore()
    assert restored.outbox == [1]
    assert restored.held[0].call == waiting
    rig.store.close()


async def test_a_name_that_cannot_be_written_down_is_told_and_passed_over(tmp_path: Path) -> None:
    """One odd file in the directory must not keep the daemon from storing anything."""
    write(tmp_path / "ai.log", "fine")
    write(tmp_path / "ai.log.\udcff", "odd")
    tail = Tail(tmp_path / "*.log*")
    assert await tail.step() == ["fine"]
    assert await tail.step() == []
    assert tail.notices == ["name"]
    await tail.stop()


def test_rows_of_short_lived_files_leave_the_store(tmp_path: Path) -> None:
    """The state does not grow with the number of files there ever were."""  # covers CHK-10
    log = tmp_path / "ai.log"
    with contextlib.closing(Store(tmp_path)) as store:
        asyncio.run(follow_short_lived_files(log, store, 300))
        assert len(store.restore().files) <= 5
        (pages,) = store._db.execute("PRAGMA page_count").fetchone()
        assert pages * 16_384 < 1 << 20


def remove(log: Path) -> None:
    log.unlink(missing_ok=True)


async def follow_short_lived_files(log: Path, store: Store, files: int) -> None:
    found = LogFiles([str(log)])
    for number in range(files):
        write(log, f"line {number}")
        for _ in range(4):
            result = await found.scan()
            progress = Progress(records={each.file_id: each for each in result.records})
            progress.retired.extend(result.retired)
            while (chunk := await found.read()) is not None:
                item = chunk.items[-1]
                end = item.origin.offset + item.origin.length
                progress.positions[chunk.file_id] = Position(chunk.file_id, end, marker_of(item.tail))
            store.commit(Commit(progress))
            remove(log)
    await found.close()
