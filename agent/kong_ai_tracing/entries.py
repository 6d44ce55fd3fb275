"""Lines in, log entries out: Kong's JSON as a lenient typed view.

A line becomes a `LogEntry` when it holds the object that Kong's logging plugins write, is `Ignored` when
it was never meant to be one, and is `SetAside` when it was one and cannot be read. No field of Kong's
object is guaranteed and none has to have the type it should have, so every look into it goes through
the small readers here, which answer "unknown" instead of raising.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from hashlib import sha256
from typing import Any

import orjson
from msgspec import Struct

from kong_ai_tracing.jsontext import parse
from kong_ai_tracing.lines import Line, Origin, SetAside

_NUMBERS = (int, float)
"""Truth values are none, although Python has them for whole numbers."""
_UNKNOWN_WORDS = frozenset({"", "UNSPECIFIED", "NOT_SPECIFIED", "ERROR__NOT_SET"})
_BLANKS = b"\x00 \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_OBJECT_START = re.compile(rb'\{"')
_MAX_RECOVERY_ATTEMPTS = 200


class Ignored(Struct, frozen=True):
    """A line that is none of our business, and why in a word or two."""

    origin: Origin
    reason: str


class LogEntry:
    """One request as Kong logged it; `damaged` when bytes that were no UTF-8 had to be replaced."""

    __slots__ = (
        "ai",
        "consumer",
        "damaged",
        "latencies",
        "method",
        "origin",
        "path",
        "record",
        "request",
        "request_id",
        "response",
        "route",
        "seed",
        "service",
        "status",
        "tries",
        "upstream_path",
    )

    def __init__(self, line: Line, record: dict[str, Any], damaged: bool = False) -> None:
        # Not the line itself: its bytes are not needed any more, and may be many.
        self.origin = line.origin
        """Where the line stands."""
        self.record = record
        self.damaged = damaged
        self.request = request = table(record.get("request"))
        self.response = response = table(record.get("response"))
        self.latencies = table(record.get("latencies"))
        self.service = table(record.get("service"))
        self.route = table(record.get("route"))
        self.consumer = table(record.get("consumer"))
        self.ai = table(record.get("ai"))
        """What Kong's AI plugins wrote."""
        self.tries = tables(record.get("tries"))
        """The balancer's attempts."""
        self.status = integer(response.get("status"))
        self.request_id = text(request.get("id"))
        """Kong's own id of the request, since 3.5."""
        self.seed = self.request_id or sha256(line.data).hexdigest()
        """What the ids are derived from: Kong's request id, else a digest of the line."""
        self.method = (text(request.get("method")) or "").upper()
        # Without the query: keys may be in there.
        self.path = path_of(request.get("uri"))
        self.upstream_path = path_of(record.get("upstream_uri"))


def read_entries(line: Line) -> list[LogEntry | SetAside | Ignored]:
    """What one physical line holds: normally one entry; a torn line may hold a ruin and a good entry."""
    try:
        record = orjson.loads(line.data)
    except orjson.JSONDecodeError:
        return _read_damaged(line)
    return [_entry(line, record, damaged=False)]


def _entry(line: Line, record: Any, *, damaged: bool) -> LogEntry | Ignored:
    if not isinstance(record, dict):
        return Ignored(line.origin, "not an object")
    if not isinstance(record.get("request"), dict) and not isinstance(record.get("ai"), dict):
        return Ignored(line.origin, "stream route" if "session" in record else "not a Kong log line")
    return LogEntry(line, record, damaged)


def _read_damaged(line: Line) -> list[LogEntry | SetAside | Ignored]:
    data = line.data.strip(_BLANKS).removeprefix(_BYTE_ORDER_MARK).strip(_BLANKS)
    if not data:
        return [Ignored(line.origin, "blank")]
    for load, damaged in ((orjson.loads, False), (_mended, True)):
        try:
            return [_entry(line, load(data), damaged=damaged)]
        except ValueError:
            continue
    if recovered := _recovered(line):
        return recovered
    return [SetAside(line.origin, "not JSON")]


def _mended(data: bytes) -> Any:
    return parse(data.decode("utf-8", "replace").replace("\x00", "\ufffd"))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _recovered(line: Line) -> list[LogEntry | SetAside | Ignored]:
    """The good record at the end of a line whose beginning was torn off by a full disk.

    Kong's short write leaves a record without its tail and newline, and the next record is glued to it.
    `{"` stands only where an object begins, never inside a string, so few places have to be tried.
    """
    data = line.data
    starts = [match.start() for match in _OBJECT_START.finditer(data) if match.start()]
    for start in starts[:_MAX_RECOVERY_ATTEMPTS]:
        record, damaged = _record_at(data[start:])
        if record is None:
            continue
        good = Line(line.file, line.file_id, line.offset + start, data[start:])
        entry = _entry(good, record, damaged=damaged)
        if isinstance(entry, LogEntry):
            return [_torn_part(line, start), entry]
    return []


def _record_at(data: bytes) -> tuple[Any, bool]:
    try:
        return orjson.loads(data), False
    except orjson.JSONDecodeError:
        pass
    if _is_utf8(data):
        return None, False
    try:
        return _mended(data), True
    except ValueError:
        return None, False


def _torn_part(line: Line, length: int) -> LogEntry | SetAside:
    """What stands before a recovered record: a ruin, or (two records on one line) a record as well."""
    data = line.data[:length]
    try:
        entry = _entry(Line(line.file, line.file_id, line.offset, data), orjson.loads(data), damaged=False)
    except orjson.JSONDecodeError:
        entry = None
    if isinstance(entry, LogEntry):
        return entry
    return SetAside(Origin(line.file, line.file_id, line.offset, length), "torn record")


def table(value: Any) -> dict[str, Any]:
    """An object, or an empty one."""
    return value if type(value) is dict else {}


def tables(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; Kong's encoder writes `{}` for an empty list."""
    return [item for item in value if type(item) is dict] if isinstance(value, list) else []


def text(value: Any) -> str | None:
    """A string that says something, trimmed. Numbers count as their digits."""
    # Asked some thirty times a line, mostly of a string or of nothing: those two come first.
    if value is None:
        return None
    if type(value) is str:
        value = value.strip()
        return None if value in _UNKNOWN_WORDS else value
    return str(value) if type(value) in _NUMBERS else None


def first_text(value: Any) -> str | None:
    """The value of a header: the first that says something when it was repeated."""
    if type(value) is list:
        return next((found for item in value if (found := text(item))), None)
    return text(value)


def integer(value: Any) -> int | None:
    """A whole number, also one that was printed as a float (`1e+14`) or as a string."""
    if value is None or type(value) is int:
        return value
    found = number(value)
    return None if found is None else round(found)


def number(value: Any) -> float | None:
    """A finite number, also one that was printed as a string."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return value if type(value) in _NUMBERS and math.isfinite(value) else None


def path_of(uri: Any) -> str:
    """The path of a URI without query and fragment."""
    if not isinstance(uri, str):
        return ""
    return uri.partition("?")[0].partition("#")[0] if "?" in uri or "#" in uri else uri


@lru_cache(256)
def _are_plain(names: tuple[str, ...]) -> bool:
    """Remembered, because the messages of one client or server have the same headers again and again."""
    together = "".join(names)
    return "_" not in together and together == together.lower()


def headers_of(message: dict[str, Any]) -> dict[str, Any]:
    """The headers of `request` or `response`, names in lower case with hyphens."""
    headers = table(message.get("headers"))
    if _are_plain(tuple(headers)):
        return headers
    return {name.lower().replace("_", "-"): value for name, value in headers.items()}
