"""Refused bodies: bounded, shown, sent again without being lost or doubled on the way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

import pytest

from kong_ai_tracing.outcomes import Accepted, Refused, TryLater
from kong_ai_tracing.progress import Progress, Refusal
from kong_ai_tracing.statedir import StoreError
from kong_ai_tracing.store import Commit, Store
from kong_ai_tracing.storerefused import ROTTEN, RefusedBodies
from kong_ai_tracing.storerepair import open_store
from test_delivery import Rig, until


def refuse(store: Store, *bodies: bytes) -> None:
    for body in bodies:
        store.commit(Commit(Progress(refused=[Refusal(1, "400", body, "langfuse")])))


def mark(state_dir: Path, *ids: int) -> None:
    """As an operator's command does, beside whoever runs."""
    with contextlib.closing(RefusedBodies(state_dir)) as bodies:
        bodies.mark(ids or [body.id for body in bodies.list()])


def test_at_the_limit_the_oldest_go_and_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is refused must not fill the disk, and is not forgotten in silence."""  # covers SNK-13
    with contextlib.closing(Store(tmp_path, refused_max_bytes=250)) as store:
        with caplog.at_level(logging.ERROR):
            refuse(store, b"1" * 100, b"2" * 100, b"3" * 100, b"4" * 100)
        status = store.status()
        assert (status.refused, status.counters) == (2, {"spans_refused_dropped": 2})
        with contextlib.closing(RefusedBodies(tmp_path)) as bodies:
            assert [body.id for body in bodies.list()] == [3, 4]
            assert bodies.body(3) == b"3" * 100
            with pytest.raises(KeyError):
                bodies.body(1)
    assert "refused.dropped spans=1" in caplog.text


async def test_marked_bodies_are_delivered_by_the_running_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go through the outbox, and leave it when they were accepted."""  # covers SNK-14
    monkeypatch.setattr("kong_ai_tracing.delivery._MARKED_INTERVAL_SECONDS", 0.01)
    rig = Rig(tmp_path)
    rig.sink.answer = lambda parts: Refused("400")
    rig.start()
    await rig.submit(b"a")
    await rig.submit(b"b")
    await rig.delivery.drained()
    rig.sink.answer = lambda parts: TryLater("503")
    await asyncio.to_thread(mark, tmp_path, 1)
    await until(lambda: rig.delivery.undelivered_batches == 1)
    assert rig.store.status().refused == 1
    rig.sink.answer = lambda parts: Accepted()
    rig.clock.now += 100
    rig.delivery.gate.look_again()
    await rig.delivery.drained()
    assert rig.sink.spans == [b"a"]
    await rig.submit(b"c")
    await rig.delivery.drained()
    assert rig.sink.spans == [b"a", b"c"]
    await rig.stop()
    assert (rig.store.status().outbox_batches, rig.store.status().refused) == (0, 1)
    rig.store.close()


def test_marks_wait_for_the_next_start(tmp_path: Path) -> None:
    """A crash between refused and outbox leaves the body in one of the two."""  # covers SNK-14
    with contextlib.closing(Store(tmp_path)) as store:
        refuse(store, b"a", b"b")
    mark(tmp_path, 2)
    store, restored = open_store(tmp_path)
    with contextlib.closing(store):
        assert restored.outbox == [-2]
        body = store.body(-2)
        assert body is not None
        assert body.data == b"b"
        assert store.take_marked() == []
        refuse(store, b"c")
        store.commit(Commit(delivered=[-2]))
        refuse(store, b"d")
        mark(tmp_path)
        assert store.take_marked() == [-1, -3, -4]


def test_a_number_is_never_given_twice(tmp_path: Path) -> None:
    """The newest body may be refused, sent again and refused again while an older one is on its way."""
    with contextlib.closing(Store(tmp_path)) as store:
        refuse(store, b"a")
        mark(tmp_path)
        assert store.take_marked() == [-1]
        refuse(store, b"b")
        mark(tmp_path)
        assert store.take_marked() == [-2]
        assert store.restore().outbox == [-2, -1]


def test_what_rotted_is_not_sent_again(tmp_path: Path) -> None:
    """Neither when it was marked before, nor when it was set aside as rotten."""
    with contextlib.closing(Store(tmp_path)) as store:
        refuse(store, b"a")
        store._db.execute("UPDATE refused SET body = x'00'")
        mark(tmp_path)
        assert store.take_marked() == []
        mark(tmp_path)
        assert store.take_marked() == []
        with contextlib.closing(RefusedBodies(tmp_path)) as bodies:
            assert [(body.reason, body.retry) for body in bodies.list()] == [(ROTTEN, False)]


def test_without_a_state_there_is_a_sentence(tmp_path: Path) -> None:
    """And no empty database is made."""
    with pytest.raises(StoreError, match="cannot be used"):
        RefusedBodies(tmp_path)
    assert list(tmp_path.iterdir()) == []
