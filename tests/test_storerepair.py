"""A damaged state database: set aside, rebuilt from what can be read of it, never passed over in silence."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from kong_ai_tracing.batches import Body
from kong_ai_tracing.files import LogFiles
from kong_ai_tracing.identity import FileRecord, Position
from kong_ai_tracing.progress import Progress, Refusal
from kong_ai_tracing.statedir import DamagedStoreError, StoreError
from kong_ai_tracing.store import Commit, Restored, Store
from kong_ai_tracing.storerepair import Damage, damages, open_store
from kong_ai_tracing.storeschema import side_files
from kong_ai_tracing.tracememory import RememberedTrace
from tailing import Tail, line, lines, text, write
from test_store import MARKER, RECORD, held_call

PAGE = 16_384
ROWS = 40


def step(number: int, rng: random.Random) -> Commit:
    """One commit that leaves a row in every table that matters."""
    waiting = held_call(f"call-{number}", number * 100)
    trace = RememberedTrace(f"trace-{number}", "r" * 16, number)
    return Commit(
        Progress(
            records={number: replace(RECORD, file_id=number, path=f"/log/{number}", inode=number)},
            positions={number: Position(number, number * 1000, MARKER)},
            held={waiting.id: waiting},
            remembered={trace.trace_id: trace},
            refused=[Refusal(1, "400", rng.randbytes(2_000))],
            counts={"lines": 1},  # type: ignore[arg-type]
        ),
        spilled={number: Body(3, rng.randbytes(20_000), packed=True)},
        held_by_value={waiting.id: waiting} if number % 2 else {},
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with something in every table, closed in good order."""
    directory = tmp_path_factory.mktemp("whole")
    rng = random.Random(1)
    with contextlib.closing(Store(directory)) as store:
        for number in range(1, ROWS + 1):
            store.commit(step(number, rng))
    return directory


@pytest.fixture
def state(whole: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    directory = tmp_path / "state"
    shutil.copytree(whole, directory)
    return directory / "state.sqlite3"


def offsets(files: list[FileRecord]) -> list[tuple[int, int]]:
    """Without what counts as delivered: a body that rotted changes that."""
    return [(record.file_id, record.offset) for record in files]


def opened(path: Path) -> tuple[Restored, list[Damage], dict[int, Body | None]]:
    store, restored = open_store(path.parent)
    with contextlib.closing(store):
        return restored, damages(path.parent), {number: store.body(number) for number in restored.outbox}


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def pages_of(path: Path, table: str) -> list[int]:
    """Where the pages of a table begin."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    return [(root - 1) * PAGE]


def rot(path: Path, table: str) -> None:
    """Nothing of a table can be read any more."""
    for offset in pages_of(path, table):
        overwrite(path, offset, b"\xff" * PAGE)


def damage_at_random(path: Path, seed: int) -> str:
    rng = random.Random(seed)
    data = bytearray(path.read_bytes())
    kind = rng.choice(["page", "stretches", "cut", "bits", "zeros"])
    if kind == "page":
        start = rng.randrange(len(data) // PAGE) * PAGE
        data[start : start + PAGE] = rng.randbytes(PAGE)
    elif kind == "stretches":
        for _ in range(rng.randint(2, 30)):
            start = rng.randrange(len(data))
            length = min(rng.randint(1, 20_000), len(data) - start)
            data[start : start + length] = rng.randbytes(length)
    elif kind == "cut":
        del data[rng.randrange(len(data)) :]
    elif kind == "bits":
        for _ in range(rng.randint(1, 40)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    else:
        start = rng.randrange(len(data))
        data[start:] = bytes(len(data) - start)
    path.write_bytes(data)
    return kind


@pytest.mark.parametrize("seed", range(24))
def test_no_damage_is_passed_over_in_silence(state: Path, seed: int) -> None:
    """Whatever is missing, it is told, and the files are read again that stand for it."""  # covers CHK-03
    before, _, bodies = opened(state)
    kind = damage_at_random(state, seed)
    after, found, bodies_after = opened(state)
    assert {
        number: body for number, body in bodies_after.items() if body is not None
    }.items() <= bodies.items()
    if len(after.files) < len(before.files):
        assert found, kind
        assert after.positions_lost
    if len(after.outbox) < len(before.outbox):
        assert found, kind
        assert {record.offset for record in after.files} <= {0}
    if len(after.held) < len(before.held):
        assert found, kind
        assert after.positions_lost or {record.offset for record in after.files} <= {0}
    again, still, _ = opened(state)
    assert (offsets(again.files), again.held, still) == (offsets(after.files), after.held, found)


def test_what_stands_in_an_undamaged_part_is_taken_over(state: Path) -> None:
    """Traces that are forgotten cost nothing else."""  # covers CHK-03
    before, _, bodies = opened(state)
    rot(state, "remembered")
    after, [damage], bodies_after = opened(state)
    assert (after.files, after.held, after.outbox) == (before.files, before.held, before.outbox)
    assert bodies_after == bodies
    assert not after.positions_lost
    assert damage.salvaged.incomplete == ["remembered"]
    assert damage.salvaged.rows["refused"] == ROWS
    assert not damage.salvaged.rewound


@pytest.mark.parametrize("table", ["outbox", "held"])
def test_files_are_read_again_when_something_that_was_read_is_missing(state: Path, table: str) -> None:
    """A position only counts together with what was read before it."""  # covers CHK-03
    rot(state, table)
    after, [damage], _ = opened(state)
    assert damage.salvaged.rewound
    assert len(after.files) == ROWS
    assert {record.offset for record in after.files} == {0}
    assert all(held.call is not None for held in after.held)


def test_the_damaged_files_are_kept_privately(state: Path) -> None:
    """Everything that was there, as it was, until an operator removes it."""
    overwrite(state, 0, b"no database at all")
    data = state.read_bytes()
    after, [damage], _ = opened(state)
    folder = Path(damage.folder)
    assert (folder / state.name).read_bytes() == data
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o077 for path in folder.iterdir()} == {0}
    assert "not a database" in damage.reason
    assert (after.files, after.outbox, after.positions_lost) == ([], [], True)
    shutil.rmtree(folder)
    assert damages(state.parent) == []


def test_an_empty_file_is_damage_and_no_first_start(state: Path) -> None:
    """It had its tables before it had its name."""  # covers CHK-03
    state.write_bytes(b"")
    with pytest.raises(DamagedStoreError, match="empty"):
        Store(state.parent)
    after, [damage], _ = opened(state)
    assert "empty" in damage.reason
    assert after.positions_lost


def test_a_log_without_its_database_is_damage(state: Path) -> None:
    """SQLite would throw it away and begin anew."""  # covers CHK-03
    write_ahead(state)
    state.unlink()
    after, [damage], _ = opened(state)
    assert (Path(damage.folder) / f"{state.name}-wal").stat().st_size
    assert after.positions_lost


def write_ahead(path: Path) -> list[int]:
    """Leave commits in the write-ahead log, as a killed process does; gives its size after each."""
    side, beside = side_files(path)[0], path.parent / "kept"
    sizes = []
    with contextlib.closing(Store(path.parent)) as store:
        for number in range(ROWS + 1, ROWS + 6):
            store.commit(step(number, random.Random(number)))
            sizes.append(side.stat().st_size)
        shutil.copy(side, beside)
        main = path.read_bytes()
    beside.rename(side)
    path.write_bytes(main)
    return sizes


@pytest.mark.parametrize("where", [0, 40, 100_000])
def test_a_damaged_write_ahead_log_is_noticed(state: Path, where: int) -> None:
    """SQLite takes it for one that ends earlier."""  # covers CHK-03
    write_ahead(state)
    wal = side_files(state)[0]
    overwrite(wal, where, bytes(byte ^ 0xFF for byte in wal.read_bytes()[where : where + 8]))
    after, [damage], bodies = opened(state)
    assert "write-ahead log" in damage.reason
    assert set(range(1, ROWS + 1)) <= set(after.outbox) < set(range(1, ROWS + 6))
    assert None not in bodies.values()
    assert [record.offset for record in after.files] == [1000 * number for number in after.outbox]


def test_a_power_loss_costs_the_newest_steps_at_most(state: Path) -> None:
    """Wherever the log ends, the state is that of one commit, whole."""  # covers CHK-02
    sizes = write_ahead(state)
    wal = side_files(state)[0]
    data, main = wal.read_bytes(), state.read_bytes()
    rng = random.Random(5)
    for end in [0, 31, *sizes, *(rng.randrange(len(data)) for _ in range(20))]:
        for side in side_files(state):
            side.unlink(missing_ok=True)
        state.write_bytes(main)
        wal.write_bytes(data[:end])
        after, found, bodies = opened(state)
        commits = ROWS + sum(size <= end for size in sizes)
        assert found == []
        assert after.outbox == list(range(1, commits + 1))
        assert [record.offset for record in after.files] == [1000 * n for n in range(1, commits + 1)]
        assert len(after.held) == commits
        assert None not in bodies.values()


def test_a_rotten_body_is_set_aside_and_not_sent(state: Path) -> None:
    """The page may be whole and what is on it not."""
    store, _ = open_store(state.parent)
    store._db.execute("UPDATE outbox SET body = zeroblob(length(body)) WHERE number = 7")
    with contextlib.closing(store):
        assert store.body(7) is None
        assert store.body(8) is not None
        assert 7 not in store.restore().outbox
        status = store.status()
        assert (status.counters["spans_rotten"], status.refused) == (3, ROWS + 3)


@pytest.mark.parametrize("cut_off_at", range(6))
def test_a_repair_that_is_cut_off_is_taken_up(
    state: Path, cut_off_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every step: nothing of what could be saved is lost by a second crash."""
    write_ahead(state)
    rot(state, "remembered")
    renames = 0
    rename = Path.rename

    def crash(self: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames == cut_off_at:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", crash)
        with contextlib.suppress(KeyboardInterrupt):
            opened(state)
    after, found, _ = opened(state)
    assert len(found) == 1
    assert len(after.outbox) == ROWS + 5
    assert [record.offset for record in after.files] == [1000 * n for n in range(1, ROWS + 6)]


def test_a_dry_run_says_what_is_wrong_and_moves_nothing(state: Path) -> None:
    """Only the daemon repairs."""
    overwrite(state, 0, b"no database at all")
    with pytest.raises(StoreError, match="is damaged"):
        Store.copy_in_memory(state.parent)
    assert sorted(path.name for path in state.parent.iterdir()) == ["state.sqlite3", "trouble"]


async def test_without_positions_every_file_is_read_rotated_ones_too(tmp_path: Path) -> None:
    """What was history at the first start cannot be told from what was not read: same ids, no gap."""
    # covers CHK-03
    log = tmp_path / "ai.log"
    write(log, *lines(0, 5))
    log.rename(tmp_path / "ai.log.1")
    write(log, *lines(5, 10))
    found = LogFiles([str(log)], [], records_lost=True, start_at="end")
    await found.scan()
    texts = []
    while (chunk := await found.read()) is not None:
        texts += [text(item) for item in chunk.items]
    await found.close()
    assert texts == [line(number) for number in range(10)]
    tail = Tail(log)
    await tail.scan()
    first = []
    while texts := await tail.read_once():
        first += texts
    assert first == lines(5, 10)


def test_it_is_known_to_be_a_later_start_until_the_files_were_found(tmp_path: Path) -> None:
    """A crash right after the repair must not make history of what is unread."""
    (tmp_path / "state.sqlite3").touch()
    for _ in range(2):
        store, restored = open_store(tmp_path)
        assert restored.positions_lost
        store.commit(Commit(Progress(counts={"lines": 1})))  # type: ignore[arg-type]
        store.close()
    store, _ = open_store(tmp_path)
    store.commit(Commit(Progress(records={1: RECORD})))
    store.close()
    store, restored = open_store(tmp_path)
    store.close()
    assert not restored.positions_lost
