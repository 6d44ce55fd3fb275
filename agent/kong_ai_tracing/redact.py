"""A call in, the same call without what must not leave the host out.

The last step before calls are grouped, stored and sent. It is pure, and what it takes out is replaced by a
placeholder with its kind (`[REDACTED:openai_key]`) and counted in the call's metadata. Ids are only searched
for secrets: a user id that is an e-mail address is what the operator chose to send.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, TypeVar

import orjson
from msgspec import Struct
from msgspec.structs import replace

from kong_ai_tracing.calls import AICall, Context, Observation
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.jsontext import dump
from kong_ai_tracing.redaction.cleaner import Cleaner
from kong_ai_tracing.redaction.finder import problem_of
from kong_ai_tracing.redaction.named import AWS_SECRET, NAMED, PASSWORD, SECRET
from kong_ai_tracing.redaction.personal import PERSONAL
from kong_ai_tracing.redaction.rules import SECRETS, Rule
from kong_ai_tracing.redaction.texts import Counts
from kong_ai_tracing.redaction.work import UNSEARCHED

T = TypeVar("T")

REDACTED = "kong_ai_tracing.redacted"
"""Metadata: how many of each kind were taken out."""

_RULES: tuple[Rule, ...] = (*SECRETS, *NAMED, *PERSONAL)
_PRESETS: dict[str, frozenset[str]] = {
    "secrets": frozenset(rule.kind for rule in _RULES if rule.family == "secrets"),
    "personal": frozenset(rule.kind for rule in _RULES if rule.family == "personal"),
    "all": frozenset(rule.kind for rule in _RULES),
    "none": frozenset(),
}
KINDS: tuple[str, ...] = (*_PRESETS, *sorted(_PRESETS["all"]))
"""Every word that `kinds` may hold: the presets, then the kinds."""
GIVEN_ENVIRONMENT = "kong_ai_tracing.environment"
"""Metadata of a trace: the environment as the caller wrote it, when it had to be changed."""
_REDACTED_ENVIRONMENT = "redacted"
"""A placeholder's brackets are nothing that Langfuse takes for the name of an environment."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MAX_EXPRESSION = 1000
_NOTHING: Mapping[str, int] = {}


class OwnPattern(Struct, frozen=True, forbid_unknown_fields=True):
    """What else the operator wants out: a name for the placeholder and an expression."""

    name: str
    pattern: str


class RedactionSettings(Struct, frozen=True, kw_only=True):
    """What the operator decides about what leaves."""

    kinds: tuple[str, ...] = ("secrets",)
    """Presets (`secrets`, `personal`, `all`, `none`) and single kinds; they add up."""
    patterns: tuple[OwnPattern, ...] = ()


class RedactionError(OperatorError):
    """Settings that cannot be followed; the text names every problem."""


def problems_of(settings: RedactionSettings) -> list[str]:
    """What is wrong with the settings, each with what to do about it."""
    found = [
        f"redaction kind {kind!r} is unknown; known are: {', '.join(KINDS)}"
        for kind in settings.kinds
        if kind not in KINDS
    ]
    names = [own.name for own in settings.patterns]
    found += [f"redaction pattern {name!r} is there twice" for name in set(names) if names.count(name) > 1]
    for own in settings.patterns:
        if not _NAME.fullmatch(own.name):
            found.append(f"redaction pattern name {own.name!r}: use a-z, 0-9 and _, at most 40 characters")
        if len(own.pattern) > _MAX_EXPRESSION:
            found.append(
                f"redaction pattern {own.name!r} is longer than {_MAX_EXPRESSION} characters; split it"
            )
        elif problem := problem_of(own.pattern):
            found.append(
                f"redaction pattern {own.name!r} is not accepted ({problem}); look-around, back references "
                "and patterns that match nothing or nearly everything are not possible"
            )
    return found


def cleaner_of(settings: RedactionSettings, *, only_secrets: bool = False) -> Cleaner:
    """What does the work on texts; raises RedactionError when the settings cannot be followed."""
    if problems := problems_of(settings):
        raise RedactionError("\n".join(problems))
    kinds = frozenset[str]().union(*(_PRESETS.get(kind, {kind}) for kind in settings.kinds))
    if only_secrets:
        kinds &= _PRESETS["secrets"]
    rules = [rule for rule in _RULES if rule.kind in kinds]
    own = [(own.name, own.pattern) for own in settings.patterns]
    return Cleaner(rules, kinds & {PASSWORD, SECRET, AWS_SECRET}, own)


class Redactor:
    """Removes what the settings name."""

    def __init__(self, settings: RedactionSettings) -> None:
        self._cleaner = cleaner_of(settings)
        self._is_needed = self._cleaner.searches
        self._of_ids = cleaner_of(settings, only_secrets=True)

    def redact(self, call: AICall) -> tuple[AICall, Mapping[str, int]]:
        """The call without what must not leave, and how many of each kind it held."""
        if not (self._is_needed and self._cleaner.may_change(_all_of_it(call))):
            return call, _NOTHING
        counts: Counts = Counter()
        observation = self._observation(call.observation, counts)
        children = [
            replace(each, observation=self._observation(each.observation, counts)) for each in call.children
        ]
        context = self._context(call.context, counts)
        passed_over = {
            name: {source: self._id(said, counts) or said for source, said in sources.items()}
            for name, sources in call.passed_over.items()
        }
        if context.environment != call.context.environment:
            for each in (observation, *(child.observation for child in children)):
                if "environment" in each.metadata:
                    each.metadata = {**each.metadata, "environment": context.environment}
        if not counts:
            return call, counts
        summary = {REDACTED: dict(sorted(counts.items()))}
        observation = replace(observation, metadata=observation.metadata | summary)
        cleaned = replace(
            call, observation=observation, context=context, children=children, passed_over=passed_over
        )
        return cleaned, counts

    def _observation(self, observation: Observation, counts: Counts) -> Observation:
        message = observation.status_message
        return replace(
            observation,
            name=self._text(observation.name, counts),
            status_message=self._text(message, counts) if message else message,
            provider=self._id(observation.provider, counts),
            model=self._id(observation.model, counts),
            prompt_name=self._id(observation.prompt_name, counts),
            model_parameters=self._table(observation.model_parameters, counts),
            input=self._json(observation.input, counts),
            output=self._json(observation.output, counts),
            usage_details=self._names(observation.usage_details, counts),
            cost_details=self._names(observation.cost_details, counts),
            metadata=self._table(observation.metadata, counts),
        )

    def _context(self, context: Context, counts: Counts) -> Context:
        return replace(
            context,
            trace_name=self._text(context.trace_name, counts),
            environment=self._environment(context, counts),
            user_id=self._id(context.user_id, counts),
            session_id=self._id(context.session_id, counts),
            tags=[self._text(tag, counts) for tag in context.tags],
            release=self._id(context.release, counts),
            version=self._id(context.version, counts),
            metadata=self._table(context.metadata, counts),
        )

    def _environment(self, context: Context, counts: Counts) -> str:
        """Langfuse takes small letters only, in which no key looks like itself: what was given tells more."""
        name = context.environment
        given = context.metadata.get(GIVEN_ENVIRONMENT, name)
        return name if self._id(given, counts) == given else _REDACTED_ENVIRONMENT

    def _json(self, text: bytes | None, counts: Counts) -> bytes | None:
        return self._cleaner.clean_json(text, counts) if text else text

    def _names(self, numbers: dict[str, T], counts: Counts) -> dict[str, T]:
        return {self._id(name, counts) or name: number for name, number in numbers.items()}

    def _text(self, text: str, counts: Counts) -> str:
        return _decoded(self._cleaner.clean_text(_encoded(text), counts))

    def _id(self, text: str | None, counts: Counts) -> str | None:
        return _decoded(self._of_ids.clean_text(_encoded(text), counts)) if text else text

    def _table(self, table: dict[str, Any], counts: Counts) -> dict[str, Any]:
        """Labels of any depth, as the JSON they will be."""
        text = dump(table)
        cleaned = self._cleaner.clean_json(text, counts)
        if cleaned is text:
            return table
        found = orjson.loads(cleaned)
        return found if isinstance(found, dict) else {UNSEARCHED: found}


_LABELS_OF_OBSERVATION = attrgetter(
    "name",
    "status_message",
    "provider",
    "model",
    "prompt_name",
    "model_parameters",
    "usage_details",
    "cost_details",
    "metadata",
)
_LABELS_OF_CONTEXT = attrgetter(
    "trace_name", "environment", "user_id", "session_id", "tags", "release", "version", "metadata"
)


def _all_of_it(call: AICall) -> bytes:
    """Everything that a call says, as one JSON text: to look through it once costs least."""
    observation = call.observation
    labels = [_LABELS_OF_CONTEXT(call.context), call.passed_over, _LABELS_OF_OBSERVATION(observation)]
    texts = [b"[null", observation.input or b"null", observation.output or b"null"]
    for child in call.children:
        labels.append(_LABELS_OF_OBSERVATION(child.observation))
        texts += (child.observation.input or b"null", child.observation.output or b"null")
    try:
        texts.append(orjson.dumps(labels))
    except TypeError:  # a lone surrogate, or a number beyond 64 bits
        texts.append(dump(labels))
    texts.append(b"null]")
    return b",".join(texts)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")
