"""Random lives of a whole host, held against the plainest model: what was written arrives, each call once.

MACHINE_EXAMPLES=2000 pytest tests/test_machine.py
"""

from __future__ import annotations

import os
import tempfile
from hashlib import sha256
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from kong_writer import observation_id, shared_trace_id
from machine import MOODS, SCAN_SECONDS, Machine

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

    @initialize(outbox=st.sampled_from([20_000, 1 << 20]))
    def begin(self, outbox: int) -> None:
        # What is rotated before the very first start is history, so that comes first; the log is still empty.
        self.outbox = outbox
        self.host.start(outbox_max_bytes=outbox)
        self.host.tick(0.1)

    # -- Kong and logrotate

    @rule(writer=WRITERS, kind=KINDS, count=st.integers(1, 12))
    def write(self, writer: int, kind: str, count: int) -> None:
        self.host.write(writer, kind, count)

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

    @precondition(lambda self: self.host.running)
    @rule()
    def copy_and_truncate(self) -> None:
        """Seen by a scan before the next thing happens; what else could be lost by it is another test's."""
        self.host.tick(SCAN_SECONDS)
        self.host.copytruncate()
        self.host.tick(2 * SCAN_SECONDS)

    @precondition(lambda self: self.host.running)
    @rule()
    def delete_what_was_read(self) -> None:
        self.host.tick(SCAN_SECONDS)
        if self.host.caught_up:
            self.host.delete_oldest()

    # -- the sink

    @rule(moods=st.lists(st.sampled_from(MOODS), min_size=1, max_size=6))
    def change_mood(self, moods: list[str]) -> None:
        self.host.sink.moods.extend(moods)

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
        self.host.stop()

    @precondition(lambda self: not self.host.running)
    @rule()
    def start(self) -> None:
        self.host.start(outbox_max_bytes=self.outbox)

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
        for writer in (0, 1):
            host.write(writer, "call")
        host.sink.moods.clear()
        if not host.running:
            host.start(outbox_max_bytes=self.outbox)
        passed = 0.0
        while passed < ENOUGH_SECONDS and not (passed > 30 and host.caught_up):
            host.tick(15.0)
            passed += 15.0
        host.stop()
        host.start(outbox_max_bytes=self.outbox)
        host.tick(5.0)

    def compare(self) -> None:
        host, sink = self.host, self.host.sink
        expected = host.calls - sink.poisoned
        roots = {
            sha256(shared_trace_id(trace).encode()).hexdigest()[:16] for trace in range(len(host.calls) + 6)
        }
        taken = set(sink.taken)
        assert expected <= taken, f"{len(expected - taken)} calls are missing"
        assert taken <= expected | roots, f"{len(taken - expected - roots)} spans nobody wrote"
        moved = [each for each, starts in sink.taken.items() if len(set(starts)) > 1]
        assert not moved, f"{len(moved)} spans came again with another start"
        if not host.crashes and not sink.repeats_allowed:
            again = [each for each in expected if len(sink.taken[each]) > 1]
            assert not again, f"{len(again)} calls came twice without a crash"
        counters = host.counters()
        assert counters["lines"] == host.lines
        assert counters["lines_calls"] == counters["calls"] == len(host.calls)
        assert counters.get("lines_malformed", 0) == host.garbage
        delivered, refused = counters["spans_delivered"], counters.get("spans_refused", 0)
        assert delivered + refused == counters["calls"] + counters.get("roots", 0)
        assert refused == len(host.calls & sink.poisoned)


TestHostLife = HostLife.TestCase
TestHostLife.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
