"""What a store cannot take is kept, told, and written later."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from kong_ai_tracing.lines import SetAside
from kong_ai_tracing.outcomes import Accepted, Outcome, TryLater
from kong_ai_tracing.statedir import DamagedStoreError
from kong_ai_tracing.storetrouble import read_trouble
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


async def test_a_batch_that_never_passes_ends_in_the_outbox(tmp_path: Path) -> None:
    """Later ones are delivered, the position moves, and it is still there."""  # covers ACK-02
    rig = Rig(tmp_path)

    def answer(parts: list[bytes]) -> Outcome:
        return TryLater("503") if b"never" in parts else Accepted()

    rig.sink.answer = answer
    rig.start()
    await rig.submit(b"never")
    await until(lambda: not rig.delivery.gate.healthy)
    for part in (b"b", b"c"):
        await rig.submit(part)
    for _ in range(200):
        rig.clock.now += 61
        rig.delivery.gate.look_again()
        await asyncio.sleep(0.005)  # real threads (SQLite) take real time
        if sorted(rig.sink.spans) == [b"b", b"c"] and rig.offset == 300:
            break
    assert sorted(rig.sink.spans) == [b"b", b"c"]
    assert rig.offset == 300
    assert rig.store.restore().outbox == [1]
    await rig.stop()
    rig.store.close()


async def test_a_fault_of_our_own_while_sending_costs_nothing(tmp_path: Path) -> None:
    """The process ends, and the batch is in the outbox for the next one."""  # covers ACK-03
    rig = Rig(tmp_path)

    def answer(parts: list[bytes]) -> Outcome:
        raise RuntimeError("a mistake")

    rig.sink.answer = answer
    rig.start()
    await rig.submit(b"a", set_aside=[SetAside(held_call("x").observation.origin, "why")])
    assert rig.running is not None
    with pytest.raises(ExceptionGroup):
        await rig.running
    await rig.delivery.finish()
    assert rig.store.restore().outbox == [1]
    rig.store.close()
