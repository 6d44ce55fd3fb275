"""What the operator's and our own places say in one entry, and which of them is believed."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from kong_ai_tracing.entries import LogEntry, first_text, path_of, table, text
from kong_ai_tracing.jsontext import Fields, value_of
from kong_ai_tracing.labels import flat
from kong_ai_tracing.places import Branch, Places, Ranks, Use

_PROPERTY_PREFIX = "helicone-property-"
_LONGEST_PLAIN_USER = 20
_LOOKS_LIKE_ID = re.compile(r"[\w.:-]{6,200}")
_AGENT_USER = re.compile(r"(user_[0-9a-f]+)_account_([0-9a-f-]*)_session_([0-9a-f-]{8,})")


Texts = dict[str, str]
"""Of the fields that somebody speaks of what is said."""


class Offers:
    """What the places of one entry offer; per field the most trusted value and its source."""

    __slots__ = ("_best", "labels")

    def __init__(self) -> None:
        self._best: dict[str, tuple[int, str, Any]] = {}
        self.labels: dict[str, Any] = {}
        """What headers say beside the fields, as labels of the trace."""

    def add(self, uses: list[Use], value: Any) -> None:
        """A value and the fields it may give. Words that mean nothing are passed over."""
        for field, rank, source, read in uses:
            best = self._best.get(field)
            if (best is None or rank < best[0]) and (found := read(value)) is not None:
                self._best[field] = (rank, source, found)

    def may_learn(self, ranks: Ranks) -> bool:
        """Whether a place that gives fields with these ranks can be more trusted than what is known."""
        for field, rank in ranks.items():
            best = self._best.get(field)
            if best is None or rank < best[0]:
                return True
        return False

    def get(self, field: str) -> Any:
        """The value of a field as it was found."""
        best = self._best.get(field)
        return None if best is None else best[2]

    def texts(self) -> Texts:
        """The values of all fields that have one, as text."""
        return {
            field: found
            for field, (_, _, value) in self._best.items()
            if (found := value.strip() if type(value) is str else first_text(value))
        }

    def text(self, field: str) -> str | None:
        """The value of a field as text."""
        best = self._best.get(field)
        return None if best is None else first_text(best[2])

    def source(self, field: str) -> str | None:
        """Which source gave a field."""
        best = self._best.get(field)
        return None if best is None else best[1]

    def passed_over(self, field: str) -> dict[str, Any]:
        """What else was there, by source; known only to `AllOffers`."""
        return {}


class AllOffers(Offers):
    """The same, and it remembers what was not believed."""

    __slots__ = ("_all",)

    def __init__(self) -> None:
        super().__init__()
        self._all: dict[str, list[tuple[int, str, Any]]] = {}

    def add(self, uses: list[Use], value: Any) -> None:
        super().add(uses, value)
        for field, rank, source, read in uses:
            if (found := read(value)) is not None:
                self._all.setdefault(field, []).append((rank, source, found))

    def may_learn(self, ranks: Ranks) -> bool:
        return True

    def passed_over(self, field: str) -> dict[str, Any]:
        offers = sorted(self._all.get(field, ()), key=lambda offer: offer[0])
        return {source: value for _, source, value in offers if source != self.source(field)}


def offers_of(
    entry: LogEntry,
    headers: dict[str, Any],
    body: Fields,
    metadata: dict[str, Any],
    places: Places,
    *,
    every: bool = False,
) -> Offers:
    """Look at all places.

    `metadata` is the body's object of that name; `every` keeps what is not believed as well.
    """
    offers = AllOffers() if every else Offers()
    for name, branch, kind in places.telling(tuple(headers)):
        if branch.uses and kind != "vendor":
            offers.add(branch.uses, headers[name])
        if kind:
            _take_apart(offers, places, name, branch, kind, first_text(headers[name]) or "")
    for name in body:
        if name in places.body:
            value, branch = value_of(body[name]), places.body[name]
            offers.add(branch.uses, value.get("id") if isinstance(value, dict) else value)
            if branch.members and isinstance(value, dict):
                _walk(offers, branch.members, value)
    if metadata:
        if isinstance(user := metadata.get("user_id"), str) and len(user) > _LONGEST_PLAIN_USER:
            metadata = metadata | {"user_id": _split_agent_user(offers, places, user)}
        _walk(offers, places.metadata, metadata)
    for name, (branch, ranks) in places.kong.items():
        if name in entry.record and offers.may_learn(ranks):
            _walk(offers, {name: branch}, entry.record)
    return offers


def _walk(offers: Offers, members: dict[str, Branch], values: dict[str, Any]) -> None:
    for name in members.keys() & values.keys():
        value, branch = values[name], members[name]
        if branch.uses:
            offers.add(branch.uses, value)
        if branch.members and isinstance(value, dict):
            _walk(offers, branch.members, value)


def _take_apart(offers: Offers, places: Places, name: str, branch: Branch, kind: str, value: str) -> None:
    """A header that holds more than one value."""
    if kind == "vendor":
        if _LOOKS_LIKE_ID.fullmatch(value):
            offers.add(branch.uses, value)
    elif kind == "baggage":
        _read_baggage(offers, places, value)
    elif kind == "referer":
        offers.labels.update(flat({"referer": path_of(value) or None}))
    elif kind == "property":
        offers.labels.update(flat({name.removeprefix(_PROPERTY_PREFIX): value or None}))
    else:
        _read_object(offers, branch, value, places.own_in_header.get(name))


def _read_object(offers: Offers, branch: Branch, value: str, own: frozenset[str] | None) -> None:
    """An object; of one that holds labels also those, but for the members that belong to a field."""
    members = value_of(value)
    if not isinstance(members, dict):
        if own is not None:
            offers.labels.update(flat({"metadata": value or None}))
        return
    if own is not None:
        # A user that is hashed must not stand here in clear.
        labels = flat(members)
        offers.labels.update({name: value for name, value in labels.items() if name not in own})
    _walk(offers, branch.members, members)


def _read_baggage(offers: Offers, places: Places, value: str) -> None:
    for entry in value.split(","):
        key, equals, word = entry.partition(";")[0].partition("=")
        if equals and (uses := places.baggage.get(key.strip().lower().replace("-", "_"))):
            offers.add(uses, unquote(word.strip()))


def _split_agent_user(offers: Offers, places: Places, user: str) -> str:
    """Coding agents put device, account and session into the one field that Anthropic's API has.

    What is left is the user: the account, else the device. Whole it would be another one in each session.
    """
    if match := _AGENT_USER.fullmatch(user):
        device, account, session = match.groups()
    elif user.startswith("{"):
        members = table(value_of(user))
        device, account, session = (
            text(members.get(name)) for name in ("device_id", "account_uuid", "session_id")
        )
    else:
        return user
    offers.add(places.agent_session, session)
    return account or device or user
