"""`refused`: what a destination will never take as it is, for an operator to look at, mend and send again.

An id names the state, too, when there are several: `12`, or `team-a/12`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import BinaryIO

import msgspec

from kong_ai_tracing.commands import command
from kong_ai_tracing.config import Config
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.refusedbodies import Details, Entry, otlp_request, spans_in
from kong_ai_tracing.states import State, UnknownNameError, states_of
from kong_ai_tracing.status import is_running
from kong_ai_tracing.storerefused import ROTTEN, RefusedBodies, RefusedBody
from kong_ai_tracing.tracejson import rfc3339


def list_bodies(config: Config, destination: str | None, *, as_json: bool) -> int:
    """Print what there is, oldest first; gives the exit code."""
    with ExitStack() as stack:
        found = _Refused(config, stack, destination)
        entries = [found.entry(state, body) for state, body in found.all()]
    if as_json:
        _print(msgspec.json.format(msgspec.json.encode(entries)).decode())
    elif entries:
        from kong_ai_tracing.refusedtext import print_entries

        print_entries(entries)
    else:
        _say("nothing was refused")
    return 0


def show(config: Config, refused_id: str, *, content: bool, as_json: bool) -> int:
    """Print what one of them is; gives the exit code."""
    with ExitStack() as stack:
        found = _Refused(config, stack)
        [(state, body)] = found.named([refused_id])
        entry = found.entry(state, body)
        said = spans_in(found.packed(state, body), content=content)
    if as_json:
        _print(msgspec.json.format(msgspec.json.encode(Details(entry, said or []))).decode())
        return 0
    from kong_ai_tracing.refusedtext import print_details

    print_details(entry, said)
    return 0


def retry(config: Config, ids: Sequence[str] | None) -> int:
    """Mark bodies to be sent again, all of them without ids; gives the exit code."""
    with ExitStack() as stack:
        found = _Refused(config, stack)
        wanted = found.all() if ids is None else found.named(ids)
        whole = [(state, body) for state, body in wanted if body.reason != ROTTEN]
        if ids is not None and len(whole) < len(wanted):
            raise OperatorError(
                "what was damaged on disk cannot be sent again; its lines may still be in the log (backfill)"
            )
        found.mark(whole)
    spans = sum(body.spans for _, body in whole)
    when = "within seconds" if is_running(config.state_dir) else "when the daemon (or the backfill) starts"
    what = "1 span" if spans == 1 else f"{spans} spans"
    _say(f"{what} will be sent again {when}" if whole else "nothing is there to be sent again")
    return 0


def export(config: Config, ids: Sequence[str] | None, output: Path | None) -> int:
    """Write bodies as OTLP/JSON, one request a line; gives the exit code."""
    with ExitStack() as stack:
        found = _Refused(config, stack)
        wanted = found.all() if ids is None else found.named(ids)
        file = sys.stdout.buffer if output is None else stack.enter_context(_new_file(output))
        left_out = 0
        for state, body in wanted:
            request = otlp_request(found.packed(state, body))
            left_out += request is None
            file.write(b"" if request is None else request + b"\n")
        file.flush()
    if left_out:
        _say(f"{left_out} of {len(wanted)} are damaged, or of the local store, and were left out")
    return 0


class _Refused:
    """The refused bodies of all states of a configuration."""

    def __init__(self, config: Config, stack: ExitStack, name: str | None = None) -> None:
        states = states_of(config, name)
        self._open = {
            state.name: stack.enter_context(closing(RefusedBodies(state.directory))) for state in states
        }
        self._states = {state.name: state for state in states}
        self._main = next(iter(self._states), "")

    def all(self) -> list[tuple[State, RefusedBody]]:
        found = [(self._states[name], body) for name, bodies in self._open.items() for body in bodies.list()]
        return sorted(found, key=lambda one: one[1].refused_ms)

    def named(self, ids: Sequence[str]) -> list[tuple[State, RefusedBody]]:
        by_id = {self.id_of(state, body): (state, body) for state, body in self.all()}
        unknown = [each for each in ids if each not in by_id]
        if unknown:
            listing = command("refused list")
            raise UnknownNameError(f"nothing refused has the id {', '.join(unknown)}; see {listing}")
        return [by_id[each] for each in dict.fromkeys(ids)]

    def id_of(self, state: State, body: RefusedBody) -> str:
        return str(body.id) if state.name == self._main else f"{state.name}/{body.id}"

    def entry(self, state: State, body: RefusedBody) -> Entry:
        return Entry(
            self.id_of(state, body),
            rfc3339(body.refused_ms),
            state.name,
            body.spans,
            body.bytes,
            body.reason,
            body.retry,
        )

    def packed(self, state: State, body: RefusedBody) -> bytes:
        try:
            return self._open[state.name].body(body.id)
        except KeyError:
            raise UnknownNameError(f"{self.id_of(state, body)} has just gone") from None

    def mark(self, wanted: Sequence[tuple[State, RefusedBody]]) -> None:
        for name, bodies in self._open.items():
            bodies.mark(body.id for state, body in wanted if state.name == name)


def _new_file(path: Path) -> BinaryIO:
    try:
        return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
    except OSError as error:
        raise OperatorError(f"{path} cannot be written: {error.strerror}; nothing was exported") from None


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _say(text: str) -> None:
    sys.stderr.write(f"kong-ai-tracing: {text}\n")
