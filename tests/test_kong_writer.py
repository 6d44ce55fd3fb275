"""The writer and the oracle must be right, or the end-to-end tests prove nothing."""

import json
import os
import signal
import subprocess
import time

import pytest

from kong_ai_tracing.ids import observation_id_from_seed
from kong_writer import (
    START_MS,
    kong_line,
    lost_and_found,
    observation_id,
    request_id,
    rotate,
    rotator_command,
    writer_command,
    written_ids,
)


def ids_in(*paths):
    return [json.loads(line)["request"]["id"] for path in paths for line in path.read_text().splitlines()]


def received(seq, start=0):
    return {"spanId": observation_id(1, seq), "startTimeUnixNano": START_MS * 10**6 + start}


def test_ids_are_those_the_product_derives():
    """The oracle and the product compute the same id from the same line."""
    assert observation_id(1, 5) == observation_id_from_seed(request_id(1, 5))
    assert len({request_id(writer, seq) for writer in range(5) for seq in range(100)}) == 500


def test_lines_are_the_same_each_time_and_differ_in_length():
    """Deterministic content, so that a torn or mixed line is recognised."""
    assert kong_line(1, 7) == kong_line(1, 7)
    assert len({len(kong_line(1, seq)) for seq in range(50)}) > 40
    assert "Grüße".encode() in kong_line(1, 7)


def test_a_writer_notes_exactly_what_it_wrote(tmp_path):
    """Every line in the file has its note and every note its line."""
    log, notes = tmp_path / "ai.log", tmp_path / "ids"
    subprocess.run(writer_command(log, notes, writer=3, lines=40, first=10), check=True)
    assert ids_in(log) == [request_id(3, seq) for seq in range(10, 50)]
    assert written_ids(notes) == {observation_id(3, seq) for seq in range(10, 50)}


def test_two_writers_on_one_file_never_mix_their_lines(tmp_path):
    """Kong's workers append to one file; each write lands whole."""
    log = tmp_path / "ai.log"
    writers = [
        subprocess.Popen(writer_command(log, tmp_path / f"ids{each}", writer=each, lines=300, padding=9000))
        for each in (1, 2)
    ]
    assert [writer.wait(90) for writer in writers] == [0, 0]
    assert len(set(ids_in(log))) == 600


def test_a_stopped_writer_finishes_its_line(tmp_path):
    """After SIGTERM the notes are complete; after SIGHUP the path is opened anew, as by `kong reload`."""
    log, notes = tmp_path / "ai.log", tmp_path / "ids"
    with subprocess.Popen(writer_command(log, notes, lines=10**6, rate=500)) as writer:
        _wait_for(lambda: log.exists() and log.stat().st_size > 5000)
        log.rename(tmp_path / "ai.log.1")
        writer.send_signal(signal.SIGHUP)
        _wait_for(lambda: log.exists() and log.stat().st_size > 5000)
        writer.send_signal(signal.SIGTERM)
        assert writer.wait(90) == 0
    assert len(ids_in(tmp_path / "ai.log.1", log)) == len(written_ids(notes))


def test_without_reload_a_renamed_file_is_written_on(tmp_path):
    """A cached descriptor follows the rename; `reopen` does not."""
    for reopen in (False, True):
        log, notes = tmp_path / f"{reopen}.log", tmp_path / f"{reopen}.ids"
        options = {"reopen": True} if reopen else {}
        with subprocess.Popen(writer_command(log, notes, lines=10**6, rate=500, **options)) as writer:
            _wait_for(lambda log=log: log.exists() and log.stat().st_size > 2000)
            renamed = log.rename(tmp_path / f"{reopen}.old")
            if reopen:
                _wait_for(lambda log=log: log.exists() and log.stat().st_size > 2000)
            else:
                size = renamed.stat().st_size
                _wait_for(lambda renamed=renamed, size=size: renamed.stat().st_size > size)
                assert not log.exists()
            writer.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("how", "left"),
    [
        ("create", {"ai.log": 0}),
        ("nocreate", {}),
        ("numbered", {"ai.log": 0, "ai.log.1": 4, "ai.log.2": 3}),
        ("copytruncate", {"ai.log": 0, "ai.log.1": 4, "ai.log.2": 3}),
    ],
)
def test_each_rotation_leaves_what_logrotate_leaves(tmp_path, how, left):
    """Names, contents and inodes after each kind of rotation."""
    log = tmp_path / "ai.log"
    for content in (b"one", b"four"):
        log.write_bytes(content)
        inode = log.stat().st_ino
        rotate(log, how)
    sizes = {each.name: each.stat().st_size for each in tmp_path.iterdir()}
    assert left.items() <= sizes.items()
    assert sum(sizes.values()) == 7
    if how == "copytruncate":
        assert log.stat().st_ino == inode
    elif log.exists():
        assert log.stat().st_ino != inode


def test_numbered_rotation_deletes_the_oldest(tmp_path):
    """As logrotate's `rotate 2`."""
    log = tmp_path / "ai.log"
    for number in range(5):
        log.write_text(str(number))
        rotate(log, "numbered", keep=2)
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {
        "ai.log": "",
        "ai.log.1": "4",
        "ai.log.2": "3",
    }


def test_the_rotator_runs_beside_the_writer_and_nothing_is_lost(tmp_path):
    """All lines are in one of the files, whatever the moment of the rename."""
    log, notes = tmp_path / "ai.log", tmp_path / "ids"
    writer = subprocess.Popen(writer_command(log, notes, lines=300, rate=1000, reopen=True))
    _wait_for(log.exists)
    subprocess.run(rotator_command(log, how="create", every=0.05, times=4), check=True)
    assert writer.wait(90) == 0
    found = ids_in(*tmp_path.glob("ai.log*"))
    assert sorted(found) == sorted(request_id(1, seq) for seq in range(300))
    assert len(list(tmp_path.glob("ai.log-*"))) >= 2


def test_the_oracle_tells_harmless_repeats_from_harm():
    """Missing, invented, repeated and doubled are four different findings."""
    written = {observation_id(1, seq) for seq in range(4)}
    spans = [received(0), received(1), received(1), received(2), received(2, start=10**6), received(9)]
    found = lost_and_found(written, spans)
    assert found.missing == {observation_id(1, 3)}
    assert found.spurious == {observation_id(1, 9)}
    assert found.repeated == {observation_id(1, 1): 2, observation_id(1, 2): 2}
    assert found.doubled == {observation_id(1, 2)}
    assert not found.nothing_lost
    assert str(found) == "1 missing, 1 spurious, 2 repeated, 1 doubled"
    assert lost_and_found(written, map(received, range(4))).nothing_lost


def _wait_for(condition, timeout_seconds=90):
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()
