"""Refused bodies as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kong_ai_tracing.excerpts import visible
from kong_ai_tracing.quantities import readable_size
from kong_ai_tracing.refusedbodies import Entry, Said
from kong_ai_tracing.tracejson import rfc3339

_WIDTH_WITHOUT_TERMINAL = 160
_LONGEST = 2000


def print_entries(entries: Sequence[Entry], console: Console | None = None) -> None:
    """A table of what was refused."""
    table = Table(box=None, pad_edge=False)
    for name in ("id", "refused at", "destination"):
        table.add_column(name, no_wrap=True)
    for name in ("spans", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for one in entries:
        reason = Text(visible(f"{one.reason} (to be sent again)" if one.retry else one.reason, _LONGEST))
        size, destination = readable_size(one.bytes), Text(visible(one.destination))
        table.add_row(Text(one.id), one.refused_at, destination, str(one.spans), size, reason)
    _console(console).print(table)


def print_details(entry: Entry, said: Sequence[Said] | None, console: Console | None = None) -> None:
    """What a refused body is, span by span."""
    console = _console(console)
    print_entries([entry], console)
    if said is None:
        console.print("It cannot be read: it is damaged, or in the form of the local store.")
        return
    for one in said:
        console.print(
            Text(
                f"\n{visible(one.type or 'span')} {visible(one.name)}\n"
                f"  trace {visible(one.trace_id)}, observation {visible(one.id)},"
                f" began {rfc3339(one.started_at_ms)}\n"
                f"  {readable_size(one.bytes)}, of it input {readable_size(one.input_bytes)},"
                f" output {readable_size(one.output_bytes)}"
            )
        )
        for name, text in (("input", one.input), ("output", one.output)):
            if text is not None:
                console.print(Text(f"  {name}: {visible(text, len(text))}"), soft_wrap=True)


def _console(console: Console | None) -> Console:
    console = console or Console(highlight=False)
    if console.is_terminal:
        return console
    return Console(file=console.file, highlight=False, width=_WIDTH_WITHOUT_TERMINAL)
