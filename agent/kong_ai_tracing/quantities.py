"""Numbers in, words for people out: sizes, spans of time, how many of what."""

from __future__ import annotations


def readable_size(size: int) -> str:
    """A number of bytes: "900 bytes", "1.5 MiB"."""
    number = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def readable_span(seconds: float) -> str:
    """A span of time in the largest unit of which there are two: "77 s", "45 min", "3 h", "12 d"."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 file`, `2 files`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"
