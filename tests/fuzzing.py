"""One input of any bytes, taken as what a log may hold, given to the readers: what must hold of all of them.

The first byte chooses a path, the second what the rest is: a request, an answer, a stream whose borders the
third byte sets, frames, a compressed body, or a whole line. `try_input` raises where a promise is broken.
`make fuzz` lets coverage guide the choice of inputs; what it found is kept in `tests/fuzz/` and tried with
every run of the tests.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import orjson

from kong_ai_tracing.awsframes import event_stream_of, frames_of
from kong_ai_tracing.bodies import Body, inflated
from kong_ai_tracing.calls import CallSettings, calls_of
from kong_ai_tracing.entries import LogEntry, read_entries
from kong_ai_tracing.excerpts import excerpt, input_excerpt
from kong_ai_tracing.jsontext import clean, completed, fields_of, parse
from kong_ai_tracing.lines import Line
from kong_ai_tracing.payloads import DIALECTS, Sketch, read_answer, read_request
from kong_ai_tracing.payloads.coarse import UNKNOWN
from kong_ai_tracing.payloads.dialect import Answered, Dialect
from kong_ai_tracing.usage import usage_buckets

KEPT = Path(__file__).parent / "fuzz"
"""Inputs that once broke a promise, or that reach far into the readers."""

_ALL = (*DIALECTS, UNKNOWN)
DIALECT_COUNT = len(_ALL)
_KINDS = 6


def try_input(data: bytes) -> None:
    """Nothing raises, all that comes out is JSON that goes out as it is, and counts make sense."""
    if len(data) < 3:
        return
    dialect, kind, border, rest = _ALL[data[0] % len(_ALL)], data[1] % _KINDS, data[2], data[3:]
    if kind == 5:
        _try_line(rest)
        return
    for body in _bodies(kind, border, rest):
        _try_body(body, dialect)


def _bodies(kind: int, border: int, rest: bytes) -> Iterator[Body]:
    """The body as it may have been captured: whole, its beginning, or without its middle."""
    if kind == 3:
        list(frames_of(rest))
        yield Body(event_stream_of(rest))
        return
    if kind == 4:
        for encoding in (None, "gzip", "deflate"):
            yield inflated(rest, encoding, 1 << 16)
        yield inflated(zlib.compress(rest), "deflate", 1 << 16)
        return
    text = rest.decode("utf-8", "replace")
    yield Body(text)
    cut = len(text) * border // 256
    yield Body(text[:cut]) if kind == 1 else Body(text[:cut], text[cut + border % 7 :])


def _try_body(body: Body, dialect: Dialect) -> None:
    sketch = Sketch(body)
    _, asked = read_request(sketch, dialect)
    _is_json(asked.input)
    assert _fits(asked.parameters)
    for bare_text in (False, True):
        found = read_answer(sketch, dialect, bare_text=bare_text)
        _try_answer(found)
        assert read_answer(sketch, dialect, bare_text=bare_text) == found
    if body.text is not None:
        fields_of(body.text)
        if closed := completed(body.text):
            assert fields_of(closed) is not None


def _try_answer(found: Answered) -> None:
    _is_json(found.output)
    assert _fits(found.usage)
    assert all(count >= 0 for count in usage_buckets(found.usage).values())
    assert found.response_length is None or found.response_length >= 0
    assert all(isinstance(word, str | None) for word in (found.model, found.finish_reason, found.response_id))
    assert found.failure is None or found.failure.message
    assert not (found.partial and found.failure)


def _try_line(data: bytes) -> None:
    for entry in read_entries(Line("kong.log", 1, 0, data)):
        for call in calls_of(entry, CallSettings(), explain=True) if isinstance(entry, LogEntry) else ():
            _is_json(call.observation.input)
            _is_json(call.observation.output)


def _is_json(text: bytes | None) -> None:
    """JSON text that no store further on refuses, and that a person can be shown."""
    if text is None:
        return
    value = parse(text)
    assert clean(text) == text
    for line in (excerpt(value), input_excerpt(value)):
        assert line.isprintable() or "\n" not in line


def _fits(values: dict[str, object]) -> bool:
    orjson.dumps(values)
    return all(isinstance(name, str) for name in values)
