"""The account of a backfill: whatever the log holds and the destination says, every sum comes out."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from kong_ai_tracing import assembly, backfill
from kong_ai_tracing.batches import Body
from kong_ai_tracing.config import load_config
from kong_ai_tracing.outcomes import Accepted, Outcome, Refused
from kong_ai_tracing.selection import Selection
from kong_ai_tracing.spans import Span
from kong_writer import START_MS, kong_line, observation_id

Entry = tuple[str, int]

ENTRIES = st.lists(
    st.tuples(st.sampled_from(["call", "shared", "other", "malformed", "torn"]), st.integers(0, 9)),
    min_size=1,
    max_size=40,
)


class Picky:
    """A destination that refuses some spans for good."""

    name = "picky"
    patience_seconds = 1.0
    max_span_bytes = None

    def __init__(self, refused: set[str]) -> None:
        self._refused = refused
        self.taken: list[str] = []

    def encode(self, span: Span) -> bytes:
        return span.id.encode()

    def join(self, spans: Sequence[bytes]) -> bytes:
        return b",".join(spans)

    def merge(self, bodies: Sequence[bytes]) -> bytes | None:
        return self.join(bodies)

    def split(self, data: bytes) -> list[bytes]:
        return data.split(b",")

    def shorten(self, span: bytes, max_bytes: int) -> None:
        return None

    async def send(self, body: Body) -> Outcome:
        ids = body.unpack().data.decode().split(",")
        if self._refused.intersection(ids):
            return Refused("400")
        self.taken += ids
        return Accepted()

    async def close(self) -> None:
        pass


def line(entry: Entry) -> bytes:
    kind, seq = entry
    if kind == "other":
        return b'{"request":{"id":"%d"},"response":{"status":200},"started_at":%d}\n' % (seq, START_MS)
    if kind == "malformed":
        return b"no json %d\n" % seq
    if kind == "torn":
        return kong_line(1, seq)[:100] + kong_line(1, seq)
    return kong_line(1, seq, shared=kind == "shared")


@contextlib.contextmanager
def told(destination: Picky) -> Iterator[io.StringIO]:
    text = io.StringIO()
    with patch.object(assembly, "destination_of", lambda _: destination), contextlib.redirect_stdout(text):
        yield text


def sums(text: str) -> list[tuple[str, int, dict[str, int]]]:
    found = []
    for row in re.findall(r"^(\w+) ([\d,]+) = (.+)$", text, re.MULTILINE):
        parts = re.findall(r"([a-z ,]+?) ([\d,]+)(?: \+ |$)", row[2])
        numbers = {name.strip(): int(number.replace(",", "")) for name, number in parts}
        found.append((row[0], int(row[1].replace(",", "")), numbers))
    return found


@settings(max_examples=15)
@given(
    first=ENTRIES,
    second=ENTRIES,
    refused=st.sets(st.integers(0, 9), min_size=1, max_size=4),
    since=st.none() | st.integers(0, 9),
    sample_rate=st.sampled_from([1.0, 0.5]),
)
def test_every_sum_comes_out(
    first: list[Entry], second: list[Entry], refused: set[int], since: int | None, sample_rate: float
) -> None:
    """Over two runs, of which the second knows what the first delivered; and once more with all of it."""
    destination = Picky({observation_id(1, seq) for seq in refused})
    selection = (
        Selection(since_ms=START_MS + since, since_text=str(since)) if since is not None else Selection()
    )
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(
            None,
            {
                "KONG_AI_TRACING_STATE_DIR": f"{folder}/state",
                "KONG_AI_TRACING_PRIVACY_SAMPLE_RATE": str(sample_rate),
            },
            needs_logs=False,
        )
        one, both = Path(folder, "one.log"), Path(folder, "both.log")
        one.write_bytes(b"".join(map(line, first)))
        both.write_bytes(b"".join(map(line, first + second)))
        with told(destination) as text:
            assert backfill.run(config, [one], backfill.Options(selection=selection)) == 0
            before = account(text)
            assert backfill.run(config, [both], backfill.Options(selection=selection)) == 0
            after = account(text)
            assert backfill.run(config, [both], backfill.Options(selection=selection, again=True)) == 0
            again = account(text)
    assert before["already there"] == again["already there"] == 0
    assert after["already there"] == before["calls"] - before["filtered"]
    assert before["calls"] + after["calls"] - after["already there"] == again["calls"]


def account(text: io.StringIO) -> dict[str, int]:
    """The sums that were printed last, each of which comes out."""
    rows = sums(text.getvalue())[-4:]
    assert [row[0] for row in rows] == ["lines", "calls", "spans", "spans"]
    for name, total, parts in rows:
        assert total == sum(parts.values()), (name, parts)
    return {"calls": rows[1][1]} | rows[1][2]
