"""Where the operator wants values to be looked for."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert
from msgspec.structs import replace

from kong_ai_tracing.calls import AICall, CallSettings, calls_of
from kong_ai_tracing.contextsources import SOURCES
from kong_ai_tracing.entries import LogEntry, read_entries
from kong_ai_tracing.ids import trace_id_from_seed
from kong_ai_tracing.mapping import FIELDS, FieldMapping, normal, problem_of, sources_of
from kong_ai_tracing.places import Places
from kong_entries import CHAT_ANSWER, CHAT_REQUEST, call, capture, line, record, request

CONSUMER = {"id": "902f", "custom_id": "tenant-42", "username": "team-checkout"}
TRACE = "0af7651916cd43dd8448eb211c80319c"


def asked(
    mapping: FieldMapping,
    headers: dict[str, Any] | None = None,
    body: dict[str, Any] | None = None,
    **changes: Any,
) -> AICall:
    """A call with these headers and members of its body, read by a mapping."""
    head = request()
    head["headers"] |= headers or {}
    settings = CallSettings(places=Places(mapping))
    return call(settings, request=head, capture=capture(CHAT_REQUEST | (body or {})), **changes)


def test_without_a_word_the_built_in_list_holds() -> None:
    """What is not mapped is as it was."""
    assert sources_of(FieldMapping()) == SOURCES


def test_default_is_the_built_in_list_without_what_is_named_beside_it() -> None:
    """So that nothing has two ranks."""
    found = sources_of(FieldMapping(user_id=("kong consumer.id", "default", "header X_User_Id")))["user_id"]
    assert (found[0], found[-1]) == ("kong consumer.id", "header x-user-id")
    assert sorted(found) == sorted(SOURCES["user_id"])


def test_kong_first_believes_the_consumer_before_the_caller() -> None:
    """The caller is asked when there is no consumer, and with `kong` alone never."""
    first, only = FieldMapping(user_id=("kong", "default")), FieldMapping(user_id=("kong",))
    headers = {"x-user-id": "eve", "x-consumer-custom-id": "eve"}
    for mapping in (first, only):
        found = asked(mapping, headers, consumer=CONSUMER)
        assert (found.context.user_id, found.explain["user_id"]) == ("tenant-42", "kong consumer.custom_id")
        assert found.observation.metadata["kong_consumer"] == "team-checkout"
    assert asked(first, headers).context.user_id == "eve"
    assert asked(only, headers).context.user_id is None


def test_the_consumer_stays_in_the_metadata_whoever_is_the_user() -> None:
    """Who authenticated is known even where it is not believed."""
    found = asked(FieldMapping(user_id=()), {"x-user-id": "u"}, consumer=CONSUMER)
    assert found.context.user_id is None
    assert found.observation.metadata["kong_consumer"] == "team-checkout"


@pytest.mark.parametrize(
    ("source", "headers", "body", "changes"),
    [
        ("header X-Employee", {"x-employee": "e7"}, {}, {}),
        ("header x_employee", {"X_Employee": "e7"}, {}, {}),
        ("header x-employee", {"x-employee": ["", "e7"]}, {}, {}),
        ("header x-acme.who.id", {"x-acme": '{"who": {"id": "e7"}}'}, {}, {}),
        ("header x-portkey-metadata.employee", {"x-portkey-metadata": '{"employee": "e7"}'}, {}, {}),
        ("body custom.user", {}, {"custom": {"user": "e7"}}, {}),
        ("body a.b.c", {}, {"a": {"b": {"c": "e7"}}}, {}),
        ("body metadata.employee", {}, {"metadata": {"employee": "e7"}}, {}),
        ("body metadata.who.id", {}, {"metadata": {"who": {"id": "e7"}}}, {}),
        ("body metadata.who.id", {}, {"metadata": {"who.id": "e7"}}, {}),
        ("body employee", {}, {"employee": "e7"}, {}),
        ("baggage Employee-Id", {"baggage": "a=b, employee_id=e%37;x=1"}, {}, {}),
        ("kong service.name", {}, {}, {"service": {"name": "e7", "host": "h"}}),
        ("kong request.id", {}, {}, {}),
        ("kong client_ip", {}, {}, {"client_ip": "e7"}),
    ],
)
def test_any_place_in_a_line_can_be_named(
    source: str, headers: dict[str, Any], body: dict[str, Any], changes: dict[str, Any]
) -> None:
    """Also those of which the built-in table knows nothing."""
    assert problem_of("user_id", source) is None
    found = asked(FieldMapping(user_id=(source,)), headers | {"x-user-id": "other"}, body, **changes)
    expected = "e7" if source != "kong request.id" else found.observation.metadata["kong_request_id"]
    assert (found.context.user_id, found.explain["user_id"]) == (expected, normal(source))


def test_what_is_the_user_is_no_label_besides() -> None:
    """Else a user that is to be hashed would leave in clear."""
    body = {"metadata": {"employee": "e7", "who": {"id": "e8", "team": "t"}, "user_id": "e9", "plan": "p"}}
    headers = {"x-portkey-metadata": '{"_user": "e10", "x": 1}'}
    mapping = FieldMapping(user_id=("body metadata.who.id", "body metadata.employee"))
    found = asked(mapping, headers, body).context
    assert found.user_id == "e8"
    assert found.metadata == {"who.team": "t", "plan": "p", "x": 1}


@pytest.mark.parametrize("field", [field for field in FIELDS if field != "parent_span_id"])
def test_an_empty_list_turns_a_field_off(field: str) -> None:
    """Whatever all built-in sources say."""
    headers: dict[str, Any] = {
        source.removeprefix("header "): "0123456789abcdef0123456789abcdef"
        for source in SOURCES[field]
        if source.startswith("header ") and "." not in source and "*" not in source
    }
    plain = call()
    found = asked(replace(FieldMapping(), **{field: ()}), headers)
    loud = asked(FieldMapping(), headers)
    assert found.explain.get(field) == plain.explain.get(field)
    assert loud.explain[field].startswith("header ")


def test_a_trace_can_be_named_by_the_operators_own_header() -> None:
    """Any text is a seed; tracers' forms are read as such; [] makes each call a trace by itself."""
    own = FieldMapping(trace_id=("header x-run", "default"))
    tracer = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    assert asked(own, {"x-run": "run-1"} | tracer).context.trace_id == trace_id_from_seed("run-1")
    assert asked(own, tracer).context.trace_id == TRACE
    explicit = {"langfuse-trace-id": "f" * 32}
    first = FieldMapping(trace_id=("header traceparent", "default"))
    assert asked(first, tracer | explicit).context.trace_id == TRACE
    assert asked(first, {"traceparent": "junk"} | explicit).context.trace_id == "f" * 32
    assert not asked(FieldMapping(trace_id=()), tracer | explicit).context.shared
    by_kong = FieldMapping(trace_id=("kong correlation_id",))
    assert asked(by_kong, correlation_id="c").context.trace_id == trace_id_from_seed("c")


def test_labels_of_the_operators_own_are_added() -> None:
    """Under the name of their place or another one, first source first, never under a secret's name."""
    mapping = FieldMapping(
        metadata=(
            "team=header x-team",
            "team=body custom.team",
            "kong service.name",
            "body custom.cost",
            "all=body custom.deep",
        )
    )
    body = {"custom": {"team": "red", "cost": 7, "deep": {"a": {"b": 1}, "password": "p"}}}
    found = asked(mapping, {}, body)
    assert found.context.metadata == {
        "team": "red",
        "service.name": "models",
        "custom.cost": 7,
        "all.a.b": 1,
    }
    assert found.explain["metadata.team"] == "body custom.team"
    assert asked(mapping, {"x-team": "blue"}, body).context.metadata["team"] == "blue"


def test_tags_can_come_from_kong() -> None:
    """`kong` are those of the service, else of the route."""
    mapping = FieldMapping(tags=("default", "kong"))
    service = {"name": "models", "tags": ["prod", "gpu"]}
    assert asked(mapping, service=service).context.tags == ["prod", "gpu"]
    assert asked(mapping, {"langfuse-tags": "a"}, service=service).context.tags == ["a"]
    assert asked(mapping, route={"name": "r", "tags": ["blue"]}).context.tags == ["blue"]


def test_what_lost_is_told_with_its_source() -> None:
    """In the order in which it would have been believed."""
    found = asked(
        FieldMapping(user_id=("kong", "default")),
        {"x-user-id": "eve", "langfuse-environment": "dev"},
        {"user": "bob", "metadata": {"user_id": "none", "environment": "test"}},
        consumer={"id": "c", "username": "anna"},
    )
    assert list(found.passed_over["user_id"].items()) == [
        ("kong consumer.id", "c"),
        ("header x-user-id", "eve"),
        ("body user", "bob"),
    ]
    assert found.passed_over["environment"] == {"body metadata.environment": "test"}
    assert "session_id" not in found.passed_over


def test_what_is_not_asked_for_is_not_gathered() -> None:
    """Live, nobody looks at it."""
    [entry] = read_entries(line(record(capture=capture(CHAT_REQUEST | {"user": "u"}))))
    assert isinstance(entry, LogEntry)
    [found] = calls_of(entry, CallSettings())
    assert (found.explain, found.passed_over) == ({}, {})


@pytest.mark.parametrize(
    ("field", "word", "reason"),
    [
        ("user_id", "x-user-id", "names no place"),
        ("user_id", "headers x-user-id", "names no place"),
        ("user_id", "header ", "names no place"),
        ("user_id", "header x-user-id, body user", "no blanks"),
        ("user_id", "header Authorization", "password"),
        ("user_id", "header x-api-key", "password"),
        ("user_id", "header cookie", "password"),
        ("user_id", "body metadata.api_key", "password"),
        ("metadata", "header x-bf-vk", "password"),
        ("user_id", "kong request.headers.x-user", "header of the request"),
        ("user_id", "kong response.headers.x", "the answer"),
        ("user_id", "kong ai.proxy.payload.request", "was asked"),
        ("session_id", "kong", "knows no session_id"),
        ("metadata", "default", "names no place"),
        ("metadata", "=header x-a", "says nothing"),
        ("metadata", "api_key=header x-a", "secret"),
    ],
)
def test_a_word_that_is_no_source_is_refused_with_reason_and_fix(field: str, word: str, reason: str) -> None:
    """A mapping that finds nothing must not pass for one that works."""
    problem = problem_of(field, word)
    assert problem is not None
    assert reason in problem[0]
    assert problem[1]


def test_the_example_in_the_documentation_works() -> None:
    """What a reader copies is accepted."""
    text = (Path(__file__).parent.parent / "docs" / "mapping.md").read_text()
    table = tomllib.loads(text.split("```toml\n")[1].split("```")[0])["mapping"]
    assert [
        (field, word) for field, words in table.items() for word in words if problem_of(field, word)
    ] == []
    assert convert(table, FieldMapping).user_id == ("kong", "default")


def test_every_built_in_source_can_be_named() -> None:
    """Also those with a blank or a star in them."""
    for field in FIELDS:
        for source in SOURCES[field]:
            assert problem_of(field, source) is None
            assert normal(source) == source


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("0123456789abcdef" * 2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
places = st.sampled_from(
    [
        *(
            "header a",
            "header a.b",
            "header baggage",
            "header x-*-session-id",
            "header traceparent",
            "header b3",
        ),
        *("body a", "body a.b", "body a.b.c", "body metadata.a", "body metadata.a.b", "body user"),
        *(
            "body metadata.user_id (agent session)",
            "baggage a",
            "kong a.b",
            "kong consumer.id",
            "kong service",
        ),
    ]
)
words = st.lists(places | st.just("default"), max_size=5).map(tuple)


@given(
    st.fixed_dictionaries(dict.fromkeys(FIELDS, words)),
    st.lists(places.map("n={}".format) | places, max_size=4).map(tuple),
    st.dictionaries(st.sampled_from(["a", "baggage", "traceparent", "b3", "x-q-session-id"]), values),
    st.dictionaries(st.sampled_from(["a", "user", "metadata", "conversation"]), values),
    st.fixed_dictionaries(
        {}, optional={"a": values, "consumer": values, "service": values, "trace_id": values}
    ),
)
def test_no_mapping_and_no_line_make_it_raise(
    fields: dict[str, tuple[str, ...]],
    labels: tuple[str, ...],
    headers: dict[str, Any],
    body: dict[str, Any],
    changes: dict[str, Any],
) -> None:
    """Whatever stands at a place, each call stays a call, and winner and losers are different sources."""
    found = asked(FieldMapping(**fields, metadata=labels), headers, body, **changes)
    assert len(found.context.trace_id) == 32
    for field, others in found.passed_over.items():
        assert found.explain.get(field) not in others
    json.dumps(found.context.metadata)


@given(
    st.lists(
        st.sampled_from(["header a", "header b", "body c", "body metadata.d", "kong consumer.id"]),
        unique=True,
    ),
    st.dictionaries(st.sampled_from("abcde"), st.sampled_from(["x", "y", "", "null", " z "])),
)
def test_the_first_source_that_says_something_wins(order: list[str], said: dict[str, str]) -> None:
    """Compared with a plain walk along the list."""
    at = dict(
        zip(["header a", "header b", "body c", "body metadata.d", "kong consumer.id"], "abcde", strict=True)
    )
    expected = next(
        ((source, text) for source in order if (text := said.get(at[source], "").strip()) and text != "null"),
        (None, None),
    )
    body = {"c": said.get("c"), "metadata": {"d": said.get("d")}}
    headers = {name: said[name] for name in "ab" if name in said}
    found = asked(FieldMapping(session_id=tuple(order)), headers, body, consumer={"id": said.get("e")})
    assert (found.explain.get("session_id"), found.context.session_id) == expected


def test_the_answers_of_a_call_are_not_touched_by_a_mapping() -> None:
    """Only who asked is read elsewhere."""
    changes: dict[str, Any] = {"request": request(), "capture": capture(CHAT_REQUEST, CHAT_ANSWER)}
    settings = CallSettings(places=Places(FieldMapping(user_id=(), metadata=("body model",))))
    mapped = call(settings, **changes)
    assert mapped.observation.output == call(**changes).observation.output
    assert mapped.context.metadata == {"model": "gpt-4o"}
