"""Streamed bodies in, their events out: server-sent events, and JSON objects line by line.

The whole body is at hand, so borders between network chunks play no part, and events of one line each, as
nearly all are, are read in one go. What plays a part is the end: a stream that was cut ends within an event,
and a captured one may lack its middle.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import orjson
from msgspec import Struct

from kong_ai_tracing.jsontext import value_of

_DONE = "[DONE]"
_BYTE_ORDER_MARK = "\ufeff"
_DECODER = json.JSONDecoder(strict=False)
_BEFORE_ITEM = re.compile(r"[\s,]*(?=\{)")
_ITEM_AT_LINE = re.compile(r"^[,\[]?\s*(?=\{)", re.MULTILINE)
_FIELD_NAMES = ("data", "event", "id", "retry", "error")


class EventStream(Struct, frozen=True):
    """The events of a stream."""

    values: list[dict[str, Any]]
    """The JSON object of each event, in order."""
    done: bool = False
    """Whether the end mark `[DONE]` was seen."""
    gap: int | None = None
    """The number of events before the place where the middle was left out."""
    listed: bool = False
    """Whether they are the items of one JSON list, as which a whole answer may come as well."""
    names: list[str | None] | None = None
    """The name of each event, where any has one."""

    def named(self) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """Each event with its name."""
        return zip(self.names or repeat(None), self.values, strict=False)


def is_event_stream(text: str) -> bool:
    """Whether a body consists of server-sent events."""
    line = text[:200].lstrip(_BYTE_ORDER_MARK + " \t\r\n").partition("\n")[0]
    name, colon, _ = line.rstrip("\r").partition(":")
    return bool(colon) and (not name or name in _FIELD_NAMES)


def events_of(text: str, tail: str | None = None) -> EventStream:
    """The events of a body of server-sent events; `tail` is its end when the middle was left out."""
    text = _with_plain_ends(text)
    if tail is None:
        text = _with_words_joined(text)
        if (plain := _plain_events(text)) is not None:
            return plain
    pairs = _pairs(text)
    gap = None
    if tail is not None:
        gap = len(pairs)
        pairs += _pairs(_with_plain_ends(tail))
    done = any(data.startswith(_DONE) for _, data in pairs)
    return _stream(pairs, done=done, gap=gap)


def _with_plain_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


_WORD = re.compile(
    r'"delta": ?\{(?:"(?:role|type)": ?"\w*", ?)?'
    r'"(?:content|text|thinking|reasoning|reasoning_content|partial_json)": ?"'
    r'(?P<word>[^"\\]*(?:\\.[^"\\]*)*)'
    r'"(?:, ?"\w+": ?(?:null|""|\[\]))*\}'
)
"""What a model writes, a word at a time, in an event that brings nothing else."""
_PADDINGS = (re.compile(r', ?"(?:obfuscation|p)": ?"\w*"\}\n'), re.compile(r" (?<!  ) *\}\n"))
"""Letters or spaces at the end of an event with which providers hide from the network how long a word was."""
_LONG_EVENT = 10_000
_LONG_PADDING = 200


def _with_words_joined(text: str) -> str:
    """The same stream with most of what is written in one event.

    With many servers the events of an answer differ in nothing but the word they bring, so one event with
    all the words says the same. The last of them stays alone: it may be cut.
    """
    start, end = _middle_event(text)
    for padding in _PADDINGS:
        if padding.search(text, max(start, end - _LONG_PADDING), end):
            text = padding.sub("}\n", text)
            start, end = _middle_event(text)
    sample = _WORD.search(text, start, end)
    if sample is None or text.count('"delta"', start, end) > 1:
        return text
    before, after = text[start : sample.start("word")], text[sample.end("word") : end] + "\n"
    *events, last = text.split(after)
    first = next((number for number, event in enumerate(events) if event.startswith(before)), len(events))
    words = [event.removeprefix(before) for event in events[first:]]
    if len(words) < 2 or not _is_string(f'"{"".join(words)}"'):
        return text
    return after.join((*events[:first], "".join((before, *words)), last))


def _middle_event(text: str) -> tuple[int, int]:
    """Where an event from the middle of a stream begins, and where its last line ends."""
    start = text.rfind("\n\n", 0, len(text) // 2) + 2
    return start, text.find("\n\n", start, start + _LONG_EVENT) + 1


def _is_string(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), str)
    except orjson.JSONDecodeError:
        return False


def _plain_events(text: str) -> EventStream | None:
    """A stream of nothing but data, one line an event; None when there is anything else in it."""
    if not text.startswith("data:"):
        return None
    events = text[5:].rstrip("\n").split("\n\ndata:")
    if done := events[-1].strip() == _DONE:
        events.pop()
    values = _values_together(events)
    return EventStream([value for value in values if isinstance(value, dict)], done=done) if values else None


def lines_of(text: str, tail: str | None = None) -> EventStream:
    """The events of a body of JSON objects, one a line."""
    lines = _nonblank_lines(text)
    gap = None
    if tail is not None:
        gap = len(lines)
        lines += _nonblank_lines(tail)
    return _stream([(None, line) for line in lines], done=False, gap=gap)


def events_of_list(text: str, tail: str | None = None) -> EventStream | None:
    """The objects of a list: some servers stream one, and one answers with one. Cut ones are left out."""
    values = None if tail is not None else value_of(text)
    if isinstance(values, list):
        objects = [value for value in values if isinstance(value, dict)]
        return EventStream(objects, done=True, listed=True) if objects else None
    objects, _ = _objects_in(text, 1)
    gap = None
    ended = False
    if tail is not None:
        gap = len(objects)
        found, ended = _objects_of_end(tail)
        objects += found
    return EventStream(objects, done=ended, gap=gap, listed=True) if objects else None


def _objects_in(text: str, position: int) -> tuple[list[dict[str, Any]], int]:
    """The whole objects from a place in a list on, and where they end."""
    objects: list[dict[str, Any]] = []
    while match := _BEFORE_ITEM.match(text, position):
        try:
            value, position = _DECODER.raw_decode(text, match.end())
        except (ValueError, RecursionError):
            break
        if isinstance(value, dict):
            objects.append(value)
    return objects, position


def _objects_of_end(tail: str) -> tuple[list[dict[str, Any]], bool]:
    """The objects at the end of a list whose middle is missing: they begin where a line does."""
    for match in _ITEM_AT_LINE.finditer(tail):
        objects, position = _objects_in(tail, match.end())
        if objects and tail[position:].strip() in ("", "]"):
            return objects, tail[position:].strip() == "]"
    return [], False


def _nonblank_lines(text: str) -> list[str]:
    # Not splitlines(): it also splits at U+2028, which may stand in a JSON string as it is.
    return [line for line in text.split("\n") if line and not line.isspace()]


def _pairs(text: str) -> list[tuple[str | None, str]]:
    """Name and data of each event. A cut last event counts when its data is whole."""
    pairs: list[tuple[str | None, str]] = []
    name: str | None = None
    data: list[str] = []
    for line in text.lstrip(_BYTE_ORDER_MARK).split("\n"):
        if not line:
            if data:
                pairs.append((name, data[0] if len(data) == 1 else "\n".join(data)))
                data = []
            name = None
        elif line.startswith("data:"):
            data.append(line[6:] if line.startswith("data: ") else line[5:])
        elif line.startswith("error:"):
            data.append('{"error":' + line[6:] + "}")  # llama.cpp's older servers
        elif line.startswith("event:"):
            name = line[6:].strip() or None
    if data:
        pairs.append((name, "\n".join(data)))
    return pairs


def _stream(pairs: list[tuple[str | None, str]], *, done: bool, gap: int | None) -> EventStream:
    texts = [data for _, data in pairs]
    values = _values_together(["null" if data.startswith(_DONE) else data for data in texts])
    if values is None:
        values = [value_of(data) for data in texts]
    if gap is not None:
        gap = sum(isinstance(value, dict) for value in values[:gap])
    events = [
        (name, value) for (name, _), value in zip(pairs, values, strict=True) if isinstance(value, dict)
    ]
    return EventStream(
        [value for _, value in events],
        done=done,
        gap=gap,
        names=[name for name, _ in events] if any(name for name, _ in events) else None,
    )


def _values_together(texts: list[str]) -> list[Any] | None:
    """The JSON values of all events by one parse; None when one of them cannot be read so."""
    together = ",".join(texts)
    if "\n" in together:
        return None
    try:
        values: list[Any] = orjson.loads(f"[{together}]")
    except orjson.JSONDecodeError:
        return None
    return values if len(values) == len(texts) else None
