"""A body looked at once: the members of its object, its events, or neither when it is bare text."""

from __future__ import annotations

import json
import re

from msgspec import Raw

from kong_ai_tracing.bodies import Body
from kong_ai_tracing.eventstreams import EventStream, events_of, events_of_list, is_event_stream, lines_of
from kong_ai_tracing.jsontext import Fields, completed, dump, fields_of
from kong_ai_tracing.payloads.forms import form_fields, is_form

_LATE_MEMBER = re.compile(r'"(usage|model)"\s*:\s*')
_DECODER = json.JSONDecoder()


class Sketch:
    """One body as its readers need it. `cut` says that its object had to be closed to be read."""

    __slots__ = ("body", "cut", "fields", "stream")

    def __init__(self, body: Body) -> None:
        self.body = body
        self.fields: Fields | None = None
        self.stream: EventStream | None = None
        self.cut = False
        content = body.content
        if content is None:
            return
        if body.tail is None:
            self.fields = fields_of(content)
        if self.fields is None and (text := body.text) is not None:
            self._look(text, body.tail)

    def _look(self, text: str, tail: str | None) -> None:
        if is_event_stream(text):
            self.stream = events_of(text, tail)
        else:
            self._look_closer(text.lstrip(), tail)

    def _look_closer(self, text: str, tail: str | None) -> None:
        if text.startswith("["):
            self.stream = events_of_list(text, tail)
        elif is_form(text):
            self.fields = form_fields(text)
        elif text.startswith("{"):
            if fields_of(text.partition("\n")[0]) is not None:
                self.stream = lines_of(text, tail)
            elif closed := completed(text):
                self.cut = True
                self.fields = (fields_of(closed) or {}) | _members_of_end(tail or "")


def _members_of_end(tail: str) -> Fields:
    """The members of an object that stand behind its long middle: a list of embeddings is such a middle."""
    found: Fields = {}
    for match in _LATE_MEMBER.finditer(tail):
        try:
            value, _ = _DECODER.raw_decode(tail, match.end())
        except ValueError:
            continue
        found[match[1]] = Raw(dump(value))
    return found
