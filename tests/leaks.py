"""Lines with a made-up secret in each place where a line can hold text, and the search for what is left.

The places are not listed: they are all strings and all names of members of the lines that Kong wrote for
`fixtures/kong`, also in the JSON that bodies and tool arguments hold.
"""

from __future__ import annotations

import gzip
import itertools
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import re2
from msgspec import Struct

from kong_entries import CHAT_ANSWER, chunk, record, request, sse
from redaction_samples import ORDINARY, TOKENS, Maker, Sample, samples

LINES = Path(__file__).parent / "fixtures" / "kong"
_NEEDLE = 12
_SAID = ("content", "text", "message", "arguments", "prompt", "input", "query", "description", "system")
"""Members that hold what people and models say; anywhere else a name or a number may be a wanted id."""


class Planted(Struct, frozen=True):
    """A line, and what must be left of it nowhere."""

    line: bytes
    secret: str
    kind: str
    place: str

    @property
    def needle(self) -> str:
        """A piece from the middle: half a key is too much as well."""
        word = max(self.secret.split(), key=len) if len(self.secret) > 60 else self.secret
        if len(word) <= 2 * _NEEDLE:
            return word
        middle = (len(word) - _NEEDLE) // 2
        return word[middle : middle + _NEEDLE]


def planted_lines() -> list[Planted]:
    """Some thousand lines, each with one secret of its own; kinds and wordings take turns."""
    secrets, everything = _drawn(personal=False), _drawn(personal=True)
    found = []
    for number, (name, place, value) in enumerate(_places()):
        sample = next(everything if place[-1] in _SAID else secrets)
        text = sample.text if number % 2 else f"{_at(value, place)} {sample.text}"
        line = json.dumps(_with(value, place, text), ensure_ascii=bool(number % 3)).encode()
        if number % 5 == 0:
            line = line.replace(b"/", b"\\/")
        found.append(Planted(line + b"\n", sample.secret, sample.kind, f"{name} {place}"))
    return [*found, *_awkward()]


def _drawn(*, personal: bool) -> Iterator[Sample]:
    return (sample for seed in itertools.count(100) for sample in samples(seed, personal=personal))


def _places() -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    """Each place once for each file: the lines of a file are alike."""
    for path in sorted(LINES.glob("*.jsonl")):
        seen = set()
        for text in path.read_text().splitlines():
            value = json.loads(text)
            for place in _paths(value):
                if (place, type(_at(value, place))) not in seen:
                    seen.add((place, type(_at(value, place))))
                    yield path.stem, place, value


JSON = "<json>"
NAME = "<name>"


def _paths(value: Any) -> Iterator[tuple[Any, ...]]:
    """The ways to all strings, to the JSON in them, and to all names of members."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield (name, NAME)
            for rest in _paths(item):
                yield (name, *rest)
    elif isinstance(value, list):
        for index, item in enumerate(value[:3]):
            for rest in _paths(item):
                yield (index, *rest)
    elif isinstance(value, str):
        yield ()
        if value[:1] in ("{", "["):
            try:
                inner = json.loads(value)
            except ValueError:
                return
            for rest in _paths(inner):
                yield (JSON, *rest)


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for step in place:
        if step == NAME:
            return ""
        value = json.loads(value) if step == JSON else value[step]
    return value


def _with(value: Any, place: tuple[Any, ...], text: str) -> Any:
    """A copy of a value with a text in one place."""
    if not place:
        return text
    step, *rest = place
    if step == JSON:
        return json.dumps(_with(json.loads(value), tuple(rest), text))
    copy = value.copy()
    if rest == [NAME]:
        copy[text] = copy.pop(step)
    else:
        copy[step] = _with(value[step], tuple(rest), text)
    return copy


_ids = itertools.count(1)


def _written(**changes: Any) -> bytes:
    """A line of a call of its own: the request's id is the seed of the call's."""
    written = record(**changes)
    written["request"] = written["request"] | {"id": f"{next(_ids):032x}"}
    return json.dumps(written).encode()


def _asked(content: Any, **more: Any) -> str:
    return json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": content}], **more})


def _bodies(asked: str | None, answered: str | None = None, **changes: Any) -> bytes:
    return _written(capture={"v": 1, "request": asked or _asked("hi"), "response": answered}, **changes)


def _headed(**headers: str) -> bytes:
    return _bodies(None, request=request(**headers))


def _pieces(secret: str) -> list[str]:
    return [secret[start : start + 3] for start in range(0, len(secret), 3)]


def _streamed(secret: str) -> str:
    return sse(*(chunk({"content": piece}) for piece in _pieces(secret)), "[DONE]")


def _call_in_pieces(secret: str) -> str:
    arguments = json.dumps({"command": f"login {secret}"})
    calls = [
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        for piece in _pieces(arguments)
    ]
    named = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "run", "arguments": ""}}
    return sse(chunk({"tool_calls": [named]}), *calls, "[DONE]")


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(each):04x}" for each in text)


AWKWARD: dict[str, Callable[[str], bytes]] = {
    "answer in pieces": lambda secret: _bodies(_asked("hi", stream=True), _streamed(secret)),
    "answer in pieces, cut": lambda secret: _bodies(_asked("hi", stream=True), _streamed(secret)[:-20]),
    "tool call in pieces": lambda secret: _bodies(_asked("hi", stream=True), _call_in_pieces(secret)),
    "arguments encoded twice": lambda secret: _bodies(_asked(json.dumps(json.dumps({"a": f"x\n{secret}"})))),
    "every character escaped": lambda secret: _bodies(_asked("HERE").replace("HERE", _escaped(secret))),
    "request cut off": lambda secret: _bodies(_asked(f"first\n{secret} and more")[:-9]),
    "request that is no JSON": lambda secret: _bodies(f"please use {secret} now"),
    "answer that is no JSON": lambda secret: _bodies(None, f"<html>{secret}</html>"),
    "name in metadata": lambda secret: _bodies(_asked("hi", metadata={secret: "1"})),
    "value in metadata": lambda secret: _bodies(_asked("hi", metadata={"team": {"deep": [secret]}})),
    "user": lambda secret: _bodies(_asked("hi", user=secret)),
    "model": lambda secret: _bodies(_asked("hi").replace("gpt-4o", secret)),
    "session": lambda secret: _headed(langfuse_session_id=secret),
    "header user": lambda secret: _headed(x_user_id=secret),
    "tags": lambda secret: _headed(langfuse_tags=f"a,{secret}"),
    "environment": lambda secret: _headed(langfuse_environment=secret),
    "release": lambda secret: _headed(langfuse_release=secret),
    "trace name": lambda secret: _headed(langfuse_trace_name=secret),
    "baggage": lambda secret: _headed(baggage=f"langfuse_user_id={secret}"),
    "query": lambda secret: _bodies(None, request=request(f"/v1/chat/completions?key={secret}")),
    "path": lambda secret: _bodies(None, request=request(f"/v1/{secret}/chat/completions")),
    "refused with the key in it": lambda secret: _bodies(
        None,
        json.dumps({"error": {"message": f"Incorrect API key provided: {secret}.", "code": secret}}),
        response={"status": 401, "headers": {"content-type": "application/json"}},
    ),
    "line cut off": lambda secret: _bodies(_asked(secret))[:-30],
    "no JSON at all": lambda secret: f"upstream said {secret} \\x00".encode(),
    "control characters": lambda secret: _bodies(_asked("HERE")).replace(b"HERE", b"\x01" + secret.encode()),
    "two lines in one": lambda secret: _bodies(_asked(secret)) + _bodies(_asked(f"again {secret}")),
}
"""Secrets in pieces, in what cannot be read, and in the names that end up in a trace."""


def _awkward() -> Iterator[Planted]:
    maker = Maker(77)
    for kind, make in TOKENS.items():
        for place, written in AWKWARD.items():
            secret = make(maker)
            if kind == "private_key":  # its lines would be several lines of the log
                secret = (
                    secret.replace("\n", "\\n")
                    if place in ("no JSON at all", "control characters")
                    else secret
                )
            yield Planted(written(secret) + b"\n", secret, kind.partition("/")[0], place)


ORDINARY_PLACES: dict[str, Callable[[str], bytes]] = {
    "question": lambda text: _bodies(_asked(text)),
    "answer": lambda text: _bodies(_asked("hi"), json.dumps(CHAT_ANSWER | {"choices": [_choice(text)]})),
    "answer in pieces": lambda text: _bodies(_asked("hi", stream=True), _streamed(text)),
    "arguments": lambda text: _bodies(_asked([{"type": "text", "text": json.dumps({"command": [text]})}])),
    "metadata": lambda text: _bodies(_asked("hi", metadata={"note": text, "team": "red"})),
    "trace name": lambda text: _headed(langfuse_trace_name=text),
    "tags": lambda text: _headed(langfuse_tags=text),
    "request that is no JSON": lambda text: _bodies(f"please read: {text}"),
}


def _choice(text: str) -> dict[str, Any]:
    return {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}


def ordinary_lines() -> list[bytes]:
    """Lines with nothing in them that has to stay, each a call of its own."""
    return [written(text) + b"\n" for text in ORDINARY for written in ORDINARY_PLACES.values()]


def left_over(planted: list[Planted], texts: list[bytes]) -> list[Planted]:
    """Those whose secret, or half of it, is in any of the texts; escapes are ignored."""
    options = re2.Options()
    options.max_mem = 1 << 30
    by_needle: dict[bytes, list[Planted]] = {}
    for each in planted:
        needle = each.needle.replace("\\", "").encode()
        for written in {needle, needle.lower()}:  # an environment is written in small letters
            by_needle.setdefault(written, []).append(each)
    expression = re2.compile("|".join(re2.escape(needle.decode()) for needle in by_needle), options)
    found = set()
    for text in texts:
        for match in expression.finditer(text.replace(b"\\", b"")):
            found.add(match[0])
    return [each for needle in found for each in by_needle[needle]]


def bytes_of(folder: Path) -> list[bytes]:
    """All files as they are, and the compressed values in databases unpacked."""
    texts = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            texts.append(path.read_bytes())
            if texts[-1].startswith(b"SQLite format 3"):
                texts += _unpacked_values(path)
    return texts


def _unpacked_values(path: Path) -> Iterator[bytes]:
    with closing(sqlite3.connect(path)) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in db.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    if isinstance(value, bytes):
                        yield _unpacked(value)


def _unpacked(value: bytes) -> bytes:
    for unpack in (gzip.decompress, zlib.decompress):
        try:
            return unpack(value)
        except (OSError, zlib.error, EOFError):
            continue
    return value
