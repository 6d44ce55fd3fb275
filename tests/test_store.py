"""The state database: one transaction for each step, private, versioned, for one process."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from kong_ai_tracing.batches import Body
from kong_ai_tracing.identity import FileRecord, Position
from kong_ai_tracing.lines import EMPTY_MARKER, Origin, SetAside, marker_of
from kong_ai_tracing.patterns import Look
from kong_ai_tracing.progress import Progress, Refusal
from kong_ai_tracing.rotationrisk import Rotations
from kong_ai_tracing.statedir import StateLock, StoreError, prepare_state_dir
from kong_ai_tracing.store import Commit, Store
from kong_ai_tracing.storestatus import read_parts, read_status
from kong_ai_tracing.tracememory import RememberedTrace
from test_traces import call

RECORD = FileRecord(
    file_id=1,
    path="/var/log/kong-ai/ai.log",
    device=2049,
    inode=(1 << 63) + 5,
    generation=7,
    head_length=10,
    head_digest=b"head",
    offset=0,
    marker=EMPTY_MARKER,
)
MARKER = marker_of(b"the line before\n")


def held_call(name: str, offset: int = 0):
    one = call(name)
    origin = Origin(RECORD.path, RECORD.file_id, offset, 100)
    return replace(one, observation=replace(one.observation, origin=origin))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(tmp_path)) as store:
        yield store


def again(store: Store) -> Store:
    """The store as the next process finds it."""
    store.close()
    return Store(store.path.parent)


def test_positions_survive_a_restart(store: Store) -> None:
    """What was committed is found again, byte for byte."""
    progress = Progress(records={1: RECORD}, positions={1: Position(1, 4711, MARKER)})
    store.commit(Commit(progress))
    with contextlib.closing(again(store)) as found:
        [record] = found.restore().files
    assert record == replace(RECORD, offset=4711, marker=MARKER)


def test_a_renamed_file_keeps_its_position(store: Store) -> None:
    """A new path for a known file does not move its offset."""
    store.commit(Commit(Progress(records={1: RECORD}, positions={1: Position(1, 50, MARKER)})))
    store.commit(Commit(Progress(records={1: replace(RECORD, path="/var/log/kong-ai/ai.log.1")})))
    [record] = store.restore().files
    assert (record.path, record.offset) == ("/var/log/kong-ai/ai.log.1", 50)


def test_a_first_look_is_remembered(store: Store) -> None:
    """Also when it found nothing: that makes the next start no first one. And only once."""
    look = Look("/var/log/kong-ai/*.log", "/var/log/kong-ai")
    for _ in range(2):
        store.commit(Commit(Progress(looks=[look])))
    with contextlib.closing(again(store)) as found:
        assert found.restore().looks == [look]


def test_the_rhythm_of_rotation_is_kept(store: Store) -> None:
    """The newest of each log, for the next run and for `status`."""
    one = Rotations("/var/log/kong-ai/ai.log", 7, 3, [1.0, 2.5], 3)
    store.commit(Commit(rotations={one.log: Rotations(one.log)}))
    store.commit(Commit(rotations={one.log: one}))
    with contextlib.closing(again(store)) as found:
        assert found.restore().rotations == [one]
        assert found.status().rotations == {one.log: one}


def test_a_root_has_a_row_until_its_trace_is_remembered(store: Store) -> None:
    """Of a root that was sent before a crash the start is known, and nothing is left of it for good."""
    store.commit(Commit(new_roots={7: {"trace": 1_000, "other": 2_000}}))
    with contextlib.closing(again(store)) as found:
        assert found.restore().roots == {"trace": 1_000, "other": 2_000}
        remembered = {"trace": RememberedTrace("trace", "root", 5)}
        found.commit(Commit(Progress(remembered=remembered)))
        assert found.restore().roots == {"other": 2_000}


def test_waiting_calls_are_kept_by_place_or_whole(store: Store) -> None:
    """A call whose line may vanish is written whole, the others cost a row."""
    by_place, whole = held_call("a", 0), held_call("b", 100)
    store.commit(
        Commit(Progress(held={by_place.id: by_place, whole.id: whole}), held_by_value={whole.id: whole})
    )
    first, second = store.restore().held
    assert (first.call_id, first.origin.offset, first.call) == (by_place.id, 0, None)
    assert second.call == whole
    store.commit(Commit(Progress(released={by_place.id, whole.id})))
    assert store.restore().held == []


def test_a_step_is_written_whole_or_not_at_all(store: Store) -> None:
    """When one write of a step fails, nothing of it is there."""  # covers CHK-12
    step = Commit(Progress(records={1: RECORD}, counts={"lines": 5, "calls": None}))  # type: ignore[arg-type,dict-item]
    with pytest.raises(sqlite3.IntegrityError):
        store.commit(step)
    assert store.restore().files == []
    assert store.status().counters == {}


def test_spilled_bodies_come_back_in_order_and_go_when_delivered(store: Store) -> None:
    """The outbox is a queue on disk."""
    store.commit(Commit(spilled={2: Body(5, b"two"), 1: Body(3, b"one")}))
    assert store.restore().outbox == [1, 2]
    assert store.body(1) == Body(3, b"one", packed=True)
    assert store.outbox_size() == (6, 8)
    store.commit(Commit(delivered=[1]))
    assert store.restore().outbox == [2]
    assert store.outbox_size() == (3, 5)
    store.commit(Commit(spilled={3: Body(1, b"three")}, delivered=[3, 2, 77]))
    assert store.outbox_size() == (0, 0)


def test_a_body_delivered_in_the_step_that_spills_it_does_not_stay(store: Store) -> None:
    """A late acknowledgement wins over the spill."""
    store.commit(Commit(spilled={1: Body(3, b"one")}, delivered=[1]))
    assert store.restore().outbox == []


def test_steps_that_could_not_be_written_add_up(store: Store) -> None:
    """A failed step merged with the next one says the same as both in order."""
    waiting = held_call("a")
    failed = Commit(Progress(held={waiting.id: waiting}), held_by_value={waiting.id: waiting})
    failed.merge(Commit(Progress(released={waiting.id}), delivered=[4]))
    store.commit(failed)
    assert store.restore().held == []


def test_remembered_traces_are_kept_and_forgotten(store: Store) -> None:
    """A late call finds its root after a restart, until the trace is forgotten."""
    trace = RememberedTrace("t" * 32, "r" * 16, 5)
    store.commit(Commit(Progress(remembered={trace.trace_id: trace}, counts={"lines": 1})))  # type: ignore[arg-type]
    assert store.restore().remembered == [trace]
    store.commit(Commit(Progress(forgotten=[trace.trace_id], counts={"lines": 1})))  # type: ignore[arg-type]
    assert store.restore().remembered == []


def test_everything_is_private(tmp_path: Path) -> None:
    """Directory 0700, files 0600: positions and outbox hold prompts."""
    state_dir = tmp_path / "state"
    prepare_state_dir(state_dir)
    with contextlib.closing(StateLock(state_dir)), contextlib.closing(Store(state_dir)) as store:
        store.commit(Commit(spilled={1: Body(1, b"x")}))
        modes = {path.name: path.stat().st_mode & 0o777 for path in state_dir.iterdir()}
    assert state_dir.stat().st_mode & 0o777 == 0o700
    assert set(modes.values()) == {0o600}, modes


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    """Two daemons on one state directory would deliver twice."""  # covers PRC-08, CHK-05
    with contextlib.closing(StateLock(tmp_path)), pytest.raises(StoreError, match="in use by another"):
        StateLock(tmp_path)
    StateLock(tmp_path).close()


def test_a_newer_format_is_refused_and_left_alone(store: Store) -> None:
    """A downgrade must not damage what it does not understand."""  # covers CHK-08
    store._db.execute("PRAGMA user_version = 99")
    store.close()
    before = store.path.read_bytes()
    with pytest.raises(StoreError, match="newer") as refused:
        Store(store.path.parent)
    assert refused.value.exit_code == 78, "a service manager that starts it again would do so for ever"
    assert store.path.read_bytes() == before


def test_a_directory_that_cannot_be_made_is_said_clearly(tmp_path: Path) -> None:
    """The message names the directory and what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="state_dir"):
        prepare_state_dir(tmp_path / "file" / "state")


def test_status_is_read_beside_the_writer(store: Store) -> None:
    """Another process sees what was committed; before the first commit there is nothing."""
    step = Progress(
        records={1: RECORD},
        set_aside=[SetAside(Origin(RECORD.path, 1, 10, 20), "not JSON")],
        refused=[Refusal(2, "400", b"x")],
        counts={"lines": 5},  # type: ignore[arg-type]
    )
    store.commit(Commit(step, {1: Body(3, b"one")}, health={"langfuse": {"state": "ok"}}))
    status = read_status(store.path.parent)
    assert status is not None
    assert (status.outbox_batches, status.outbox_bytes, status.outbox_spans) == (1, 3, 3)
    assert (status.refused, status.set_aside, status.counters) == (2, 1, {"lines": 5})
    assert status.health == {"langfuse": {"state": "ok"}}
    assert status.updated_at_ms > 0


def test_there_is_no_status_before_the_first_start(tmp_path: Path) -> None:
    """A missing database is not an error."""
    assert read_status(tmp_path) is None


def test_a_dry_run_works_on_a_copy(store: Store) -> None:
    """What a dry run commits is gone with it."""
    store.commit(Commit(Progress(records={1: RECORD})))
    with contextlib.closing(Store.copy_in_memory(store.path.parent)) as copy:
        assert copy.restore().files == [RECORD]
        copy.commit(Commit(spilled={1: Body(1, b"x")}))
    assert store.restore().outbox == []


@pytest.mark.parametrize("end", ["calls_dropped", "calls_rotten", "calls_lost"])
def test_what_was_dropped_after_it_was_read_does_not_count_as_delivered(store: Store, end: str) -> None:
    """Nobody knows any more which lines it came from: a backfill finds out."""
    known = replace(RECORD, head_length=100, begun=0)
    gone = replace(known, file_id=2, head_digest=b"other")
    here = Position(1, 4711, MARKER), Position(2, 4711, MARKER)
    store.commit(Commit(Progress(records={1: known, 2: gone}, positions=dict(enumerate(here, 1)))))
    store.commit(Commit(Progress(retired=[2])))
    directory = store.path.parent
    assert len(read_parts(directory)) == 2
    store.commit(Commit(Progress(counts=Counter({end: 1}))))
    assert read_parts(directory) == []


def test_what_was_read_under_other_settings_does_not_count_as_delivered(store: Store) -> None:
    """Neither for who asks with other settings, nor for anybody after the owner has taken them up."""
    known = replace(RECORD, head_length=100, begun=0)
    store.choose_by(b"these")
    store.commit(Commit(Progress(records={1: known}, positions={1: Position(1, 4711, MARKER)})))
    directory = store.path.parent
    assert len(read_parts(directory, b"these")) == 1
    assert read_parts(directory, b"others") == []
    store.choose_by(b"these")
    assert len(read_parts(directory, b"these")) == 1
    store.choose_by(b"others")
    assert read_parts(directory, b"others") == []
    assert store.restore().files[0].offset == 4711
