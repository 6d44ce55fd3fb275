"""Random lives of a whole host, held against the plainest model: what was written arrives, each call once.

MACHINE_EXAMPLES=2000 pytest tests/test_machine.py
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from hashlib import sha256
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from kong_writer import observation_id, shared_trace_id
from machine import MOODS, SCAN_SECONDS, Machine, OnFull

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "25"))
WRITERS = st.sampled_from([0, 1])
KINDS = st.sampled_from(["call", "call", "shared", "shared", "other", "garbage"])
ENOUGH_SECONDS = 3_000.0


class HostLife(RuleBasedStateMachine):
    """Writers, rotations, our process and the sink, each doing anything at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.host = Machine(Path(self.directory.name))

    @initialize(
        outbox=st.sampled_from([4_000, 20_000, 1 << 20]),
        on_full=st.sampled_from(["pause", "pause", "drop_oldest"]),
    )
    def begin(self, outbox: int, on_full: OnFull) -> None:
        # What is rotated before the very first start is history, so that comes first; the log is still empty.
        self.outbox, self.on_full = outbox, on_full
        self.start_daemon()
        self.host.tick(0.1)

    # -- Kong and logrotate

    @rule(writer=WRITERS, kind=KINDS, count=st.integers(1, 12))
    def write(self, writer: int, kind: str, count: int) -> None:
        self.host.write(writer, kind, count)

    @rule(writer=WRITERS, count=st.integers(5, 40))
    def write_many(self, writer: int, count: int) -> None:
        self.host.write(writer, "call", count)

    @rule(writer=WRITERS, count=st.integers(1, 5))
    def write_where_it_is(self, writer: int, count: int) -> None:
        """As a worker that was reloaded a moment ago."""
        self.host.reopen(writer)
        self.host.write(writer, "shared", count)

    @rule(writer=WRITERS)
    def write_half_a_line(self, writer: int) -> None:
        self.host.write_half(writer)

    @rule(writer=WRITERS)
    def reopen(self, writer: int) -> None:
        self.host.reopen(writer)

    @rule()
    def rotate_by_rename(self) -> None:
        self.host.rotate()

    @rule()
    def compress(self) -> None:
        self.host.compress_oldest()

    @precondition(lambda self: self.host.may_truncate)
    @rule(between=st.integers(0, 3), pause=st.sampled_from([0.0, 0.3, SCAN_SECONDS]))
    def copy_and_truncate(self, between: int, pause: float) -> None:
        """Only what is written between the copy and the cut may be lost, whether we run or not.

        However often it is done between two looks: each copy has its own beginning.
        """
        host = self.host
        host.copy()
        before = len(host.content.get(host.log.stat().st_ino, ()))
        for writer in (0, 1):
            host.reopen(writer)
        if between:
            host.write(0, "call", between)
            host.losses.unseen = True
        if host.running and pause:
            host.tick(pause)
        host.losses.add(host.truncate()[before:])

    @precondition(lambda self: self.host.may_truncate)
    @rule(seen=st.booleans())
    def truncate(self, *, seen: bool) -> None:
        """What was not settled may be lost, and nothing else; what was seen of it is counted."""
        host = self.host
        if host.running and seen:
            host.tick(4 * SCAN_SECONDS)
        settled = host.running and host.log_is_settled
        if not (host.running and seen) or host.log_is_closed:
            host.losses.unseen = True
        content = host.truncate()
        if not settled:
            host.losses.add(content)

    def let_it_be_seen(self) -> None:
        """What was readable for a scan is what is promised."""
        self.host.tick(2 * SCAN_SECONDS)

    @precondition(lambda self: self.host.running)
    @rule(lines=st.integers(0, 5))
    def replace(self, lines: int) -> None:
        """The old file has no name any more, and is read to its end all the same."""
        self.let_it_be_seen()
        self.host.replace_log(lines)

    @precondition(lambda self: self.host.running)
    @rule()
    def delete_unread(self) -> None:
        """As long as we live, a deleted file is read to its end."""
        self.let_it_be_seen()
        self.host.delete_oldest()

    @rule()
    def close_to_the_daemon(self) -> None:
        """chmod: what is open is read on; what is not waits until it is allowed again."""
        self.host.close_to_the_daemon()

    @rule()
    def open_to_the_daemon(self) -> None:
        self.host.unreadable.clear()

    # -- the sink

    @rule(moods=st.lists(st.sampled_from(MOODS), min_size=1, max_size=6))
    def change_mood(self, moods: list[str]) -> None:
        self.host.sink.moods.extend(moods)

    @rule(tries=st.integers(10, 40))
    def go_away(self, tries: int) -> None:
        """Long enough for a small outbox to be full, and for reading to wait."""
        self.host.sink.moods.extend(["503"] * tries)

    @precondition(lambda self: len(self.host.sink.poisoned) < 3)
    @rule(ahead=st.integers(0, 5))
    def poison_a_call_to_come(self, ahead: int) -> None:
        self.host.sink.poisoned.add(observation_id(1, len(self.host.calls) + ahead))

    # -- our process

    @precondition(lambda self: self.host.running)
    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 2.5, 12.0, 90.0]))
    def pass_time(self, seconds: float) -> None:
        self.host.tick(seconds)

    @precondition(lambda self: self.host.running)
    @rule()
    def crash(self) -> None:
        self.host.crash()

    @precondition(lambda self: self.host.running)
    @rule()
    def stop(self) -> None:
        if not self.host.caught_up:
            # What was read, found no room on disk and is gone from the log is forgotten with the process.
            self.host.losses.unseen = True
        self.host.stop()

    @precondition(lambda self: not self.host.running)
    @rule()
    def start(self) -> None:
        self.start_daemon()

    def start_daemon(self) -> None:
        self.host.start(outbox_max_bytes=self.outbox, on_full=self.on_full)

    # -- in the end

    def teardown(self) -> None:
        try:
            self.come_to_rest()
            self.compare()
        finally:
            self.host.close()
            self.directory.cleanup()

    def come_to_rest(self) -> None:
        host = self.host
        host.unreadable.clear()
        for writer in (0, 1):
            host.reopen(writer)
            host.write(writer, "call")
        host.sink.moods.clear()
        if not host.running:
            self.start_daemon()
        passed = 0.0
        while passed < ENOUGH_SECONDS and not (passed > 30 and host.caught_up):
            host.tick(15.0)
            passed += 15.0
        host.deleted.clear()  # they were read to their ends
        host.stop()
        self.start_daemon()
        host.tick(5.0)

    def compare(self) -> None:
        host, sink, losses = self.host, self.host.sink, self.host.losses
        counters = Counter(host.counters())
        expected = host.calls.keys() - sink.poisoned
        roots = {
            sha256(shared_trace_id(trace).encode()).hexdigest()[:16] for trace in range(len(host.calls) + 6)
        }
        taken = set(sink.taken)
        missing = expected - taken
        lost = missing - losses.calls
        assert len(lost) <= counters["spans_dropped"], f"{len(lost)} calls are missing"
        assert taken <= expected | roots, f"{len(taken - expected - roots)} spans nobody wrote"
        moved = [each for each, starts in sink.taken.items() if len(set(starts)) > 1]
        assert not moved, f"{len(moved)} spans came again with another start"
        if not host.crashes and not sink.repeats_allowed:
            again = [each for each in expected if len(sink.taken[each]) > 1]
            assert not again, f"{len(again)} calls came twice without a crash"
        assert host.lines - losses.lines <= counters["lines"] <= host.lines
        assert len(host.calls) - len(losses.calls) <= counters["calls"] <= len(host.calls)
        assert counters["lines_calls"] == counters["calls"]
        assert host.garbage - losses.garbage <= counters["lines_malformed"] <= host.garbage
        ended = counters["spans_delivered"] + counters["spans_refused"] + counters["spans_dropped"]
        # A call that waited for company when we died, and whose file was deleted by then, is counted lost.
        assert ended + counters["calls_lost"] == counters["calls"] + counters["roots"]
        assert counters["calls_lost"] <= len(losses.calls)
        if self.on_full == "pause":
            assert counters["spans_dropped"] == 0
            assert counters["spans_refused"] >= len((host.calls.keys() & sink.poisoned) - losses.calls)
        assert counters["spans_refused"] <= len(host.calls.keys() & sink.poisoned)
        assert counters["bytes_lost"] <= losses.bytes
        if not host.crashes and not losses.unseen and not counters["spans_dropped"]:
            # Everything that was destroyed had been seen: then it is counted to the byte.
            assert counters["bytes_lost"] >= sum(host.calls[each] for each in missing)


TestHostLife = HostLife.TestCase
TestHostLife.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
