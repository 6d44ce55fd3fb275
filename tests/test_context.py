"""Who asked, in which session and trace: the order in which the places are trusted."""

from __future__ import annotations

from typing import Any

import pytest

from kong_ai_tracing.calls import AICall, CallSettings
from kong_ai_tracing.contextsources import SOURCES
from kong_ai_tracing.ids import observation_id_from_seed, trace_id_from_seed
from kong_entries import CHAT_REQUEST, REQUEST_ID, call, capture, request

HEX = "0af7651916cd43dd8448eb211c80319c"
CONSUMER = {"id": "902f", "custom_id": "tenant-42", "username": "team-checkout"}


def asked(
    body: dict[str, Any] | None = None,
    settings: CallSettings | None = None,
    headers: dict[str, Any] | None = None,
    **changes: Any,
) -> AICall:
    """A call with these headers and these members in its body."""
    head = request()
    head["headers"] |= headers or {}
    return call(settings, request=head, capture=capture(CHAT_REQUEST | (body or {})), **changes)


def test_nobody_says_anything_about_a_plain_call() -> None:
    """It is a trace by itself, named by its route, in the configured environment."""
    found = asked()
    assert found.context.trace_id == trace_id_from_seed(REQUEST_ID)
    assert not found.context.shared
    assert (found.context.user_id, found.context.session_id, found.context.tags) == (None, None, [])
    assert (found.context.trace_name, found.context.environment) == ("models-route", "production")
    assert found.explain == {
        "trace_id": "kong request.id",
        "trace_name": "kong route.name",
        "environment": "configuration",
    }


def test_the_plugins_headers_mean_what_they_meant() -> None:
    """All six, under their old names."""
    found = asked(
        headers={
            "x-user-id": "u1",
            "x-session-id": "s1",
            "x-chat-id": "c1",
            "x-message-id": "0123456789abcdef",
            "x-organization-id": "o1",
            "x-project-id": "p1",
        }
    ).context
    assert (found.user_id, found.session_id) == ("u1", "s1")
    assert found.metadata == {
        "chat_id": "c1",
        "message_id": "0123456789abcdef",
        "organization_id": "o1",
        "project_id": "p1",
    }
    assert (found.trace_id, found.shared) == (trace_id_from_seed("0123456789abcdef"), True)


def test_the_plugins_body_metadata_means_what_it_meant() -> None:
    """Ids become fields, features and variables become labels."""
    metadata = {
        "user_id": "u1",
        "session_id": "s1",
        "chat_id": "c1",
        "project_id": "p1",
        "features": {"web_search": True},
        "variables": {"name": "x"},
        "plan": "free",
    }
    found = asked({"metadata": metadata}).context
    assert (found.user_id, found.session_id) == ("u1", "s1")
    assert found.metadata == {
        "chat_id": "c1",
        "project_id": "p1",
        "features.web_search": True,
        "variables.name": "x",
        "plan": "free",
    }


ORDER = [
    ({"langfuse-user-id": "a"}, {}, "header langfuse-user-id"),
    ({"langfuse_trace_user_id": "a"}, {}, "header langfuse-trace-user-id"),
    ({"baggage": "x=1,langfuse_user_id=a;p=1"}, {}, "baggage langfuse_user_id"),
    ({}, {"metadata": {"langfuse_user_id": "a"}}, "body metadata.langfuse_user_id"),
    ({"X-User-Id": ["", "a", "b"]}, {}, "header x-user-id"),
    ({}, {"metadata": {"user_id": "a"}}, "body metadata.user_id"),
    ({"x-litellm-end-user-id": "a"}, {}, "header x-litellm-end-user-id"),
    ({"helicone-user-id": "a"}, {}, "header helicone-user-id"),
    ({"x-portkey-metadata": '{"_user": "a"}'}, {}, "header x-portkey-metadata._user"),
    ({"x-openwebui-user-id": "a"}, {}, "header x-openwebui-user-id"),
    ({}, {"safety_identifier": "a"}, "body safety_identifier"),
    ({}, {"user": "a"}, "body user"),
]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_most_trusted_place_names_the_user(first: int) -> None:
    """Langfuse's names, the plugin's, plain metadata, other gateways, clients, the API's own field, Kong."""
    headers: dict[str, Any] = {}
    body: dict[str, Any] = {"metadata": {}}
    for number, (more_headers, more_body, _) in enumerate(ORDER[first:]):
        headers |= {name: _renamed(value, number) for name, value in more_headers.items()}
        body["metadata"] |= _renamed(more_body.get("metadata", {}), number)
        body |= {name: _renamed(value, number) for name, value in more_body.items() if name != "metadata"}
    found = asked(body, headers=headers, consumer=CONSUMER)
    assert found.context.user_id == "user-0"
    assert found.explain["user_id"] == ORDER[first][2]


def _renamed(value: Any, number: int) -> Any:
    """The user of each place gets a name of its own."""
    if isinstance(value, dict):
        return {name: _renamed(each, number) for name, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, number) if each else each for each in value]
    return (
        f"user-{number}"
        if value == "a"
        else value.replace("=a", f"=user-{number}").replace('"a"', f'"user-{number}"')
    )


@pytest.mark.parametrize(
    ("consumer", "user"),
    [
        (CONSUMER, "tenant-42"),
        ({"id": "902f", "username": "team"}, "team"),
        ({"id": "902f"}, "902f"),
        (None, "credential"),
    ],
)
def test_kongs_consumer_is_the_user_when_nobody_else_says(consumer: Any, user: str) -> None:
    """Its custom id, its name, its id; without a consumer the credential."""
    found = asked(consumer=consumer, authenticated_entity={"id": "credential"})
    assert found.context.user_id == user
    assert found.observation.metadata.get("kong_consumer") == (
        consumer and (consumer.get("username") or consumer.get("id"))
    )


@pytest.mark.parametrize("word", ["", " ", "null", "undefined", "None", None, [], {}, [""]])
def test_words_that_mean_nothing_are_passed_over(word: Any) -> None:
    """The next place is asked."""
    assert asked({"user": "u"}, headers={"x-user-id": word}).context.user_id == "u"


@pytest.mark.parametrize(
    ("headers", "body", "session"),
    [
        ({"x-session-id": "s", "x-chat-id": "c"}, {}, "s"),
        ({"x-chat-id": "c"}, {}, "c"),
        ({"langfuse-session-id": "l", "x-session-id": "s"}, {}, "l"),
        ({"x-acme-session-id": "abc-123"}, {}, "abc-123"),
        ({"x-acme-session-id": "no id!"}, {}, None),
        ({"mcp-session-id": "m"}, {}, "m"),
        ({}, {"conversation": {"id": "conv_1"}}, "conv_1"),
        ({}, {"conversation": "conv_1"}, "conv_1"),
        ({}, {"metadata": {"user_id": "user_0af7_account_0-1_session_12345678-9abc"}}, "12345678-9abc"),
        ({}, {"metadata": {"user_id": '{"device_id":"d","session_id":"s-77"}'}}, "s-77"),
    ],
)
def test_sessions_are_found_where_clients_put_them(
    headers: dict[str, Any], body: dict[str, Any], session: str | None
) -> None:
    """And a session never becomes a trace."""
    found = asked(body, headers=headers).context
    assert found.session_id == session
    assert (found.trace_id, found.shared) == (trace_id_from_seed(REQUEST_ID), False)


@pytest.mark.parametrize(
    ("given", "user"),
    [
        ("user_0af7_account_ac-1_session_12345678-9abc", "ac-1"),
        ("user_0af7_account__session_12345678-9abc", "user_0af7"),
        ('{"device_id":"d","account_uuid":"ac-1","session_id":"s-77"}', "ac-1"),
        ('{"device_id":"d","account_uuid":"","session_id":"s-77"}', "d"),
        ('{"another":"object","of":"some client"}', '{"another":"object","of":"some client"}'),
        ("a-user-of-more-than-twenty-letters", "a-user-of-more-than-twenty-letters"),
    ],
)
def test_a_coding_agents_user_is_the_same_in_each_session(given: str, user: str) -> None:
    """Claude Code puts device, account and session into one field."""
    assert asked({"metadata": {"user_id": given}}).context.user_id == user


@pytest.mark.parametrize(
    ("headers", "changes", "trace_id", "source"),
    [
        ({"langfuse-trace-id": HEX}, {}, HEX, "header langfuse-trace-id"),
        ({"langfuse_trace_id": "my run"}, {}, trace_id_from_seed("my run"), "header langfuse-trace-id"),
        ({"traceparent": f"00-{HEX}-b7ad6b7169203331-01"}, {}, HEX, "header traceparent"),
        ({"traceparent": "broken"}, {"trace_id": {"w3c": HEX}}, HEX, "kong trace_id.w3c"),
        (
            {},
            {"trace_id": {"b3": "", "jaeger": "3e3f9a0b1c2d4e5f"}},
            "0" * 16 + "3e3f9a0b1c2d4e5f",
            "kong trace_id.jaeger",
        ),
        (
            {},
            {"trace_id": {"datadog": "1234567890123456789"}},
            "0" * 16 + "112210f47de98115",
            "kong trace_id.datadog",
        ),
        ({"x-b3-traceid": HEX}, {}, HEX, "header x-b3-traceid"),
        ({"b3": f"{HEX}-b7ad6b7169203331-1"}, {}, HEX, "header b3"),
        ({"x-datadog-trace-id": "255"}, {}, "0" * 30 + "ff", "header x-datadog-trace-id"),
        ({"uber-trace-id": "3e3f:da58:0:01"}, {}, "0" * 28 + "3e3f", "header uber-trace-id"),
        ({"x-portkey-trace-id": "run"}, {}, trace_id_from_seed("run"), "header x-portkey-trace-id"),
    ],
)
def test_a_trace_that_the_caller_named_is_shared(
    headers: dict[str, Any], changes: dict[str, Any], trace_id: str, source: str
) -> None:
    """In every format, and the source is told."""
    found = asked(headers=headers, **changes)
    assert (found.context.trace_id, found.context.shared) == (trace_id, True)
    assert found.explain["trace_id"] == source


def test_explicit_names_win_over_trace_contexts_and_those_over_messages() -> None:
    """A correlation id counts only when the operator says so."""
    changes: dict[str, Any] = {"correlation_id": "corr-1"}
    settings = CallSettings(group_by_correlation_id=True)
    assert not asked(**changes).context.shared
    assert asked(settings=settings, **changes).explain["trace_id"] == "kong correlation_id"
    headers = {"x-message-id": "m-0123456789abcdef"}
    assert asked(headers=headers, settings=settings, **changes).explain["trace_id"] == "header x-message-id"
    headers["traceparent"] = f"00-{HEX}-b7ad6b7169203331-01"
    assert asked(headers=headers, **changes).explain["trace_id"] == "header traceparent"
    found = asked({"metadata": {"trace_id": "t"}}, headers=headers, **changes)
    assert found.explain["trace_id"] == "body metadata.trace_id"


@pytest.mark.parametrize("zero", [f"00-{'0' * 32}-b7ad6b7169203331-01", "", "00-xyz"])
def test_an_invalid_trace_context_is_none(zero: str) -> None:
    """All zeros means that nobody is tracing."""
    assert not asked(headers={"traceparent": zero}, trace_id={"w3c": "0" * 32, "datadog": "0"}).context.shared


def test_a_short_message_id_counts_within_its_chat() -> None:
    """Message 3 of one chat and message 3 of another are two turns."""
    first = asked(headers={"x-message-id": "3", "x-chat-id": "a"}).context
    same = asked(headers={"x-message-id": "3", "x-chat-id": "a", "x-user-id": "u"}).context
    second = asked(headers={"x-message-id": "3", "x-chat-id": "b"}).context
    assert first.trace_id == same.trace_id == trace_id_from_seed("a:3")
    assert second.trace_id == trace_id_from_seed("b:3")
    assert asked(headers={"x-message-id": "3", "x-session-id": "s"}).context.trace_id == trace_id_from_seed(
        "s:3"
    )
    long = asked(headers={"x-message-id": "0123456789abcdef", "x-chat-id": "a"}).context
    assert long.trace_id == trace_id_from_seed("0123456789abcdef")


def test_the_callers_own_span_is_kept_as_metadata() -> None:
    """It may live in another system, so it is no parent."""
    found = asked(headers={"traceparent": f"00-{HEX}-b7ad6b7169203331-01"})
    assert found.observation.metadata["parent_span_id"] == "b7ad6b7169203331"
    found = asked({"metadata": {"parent_observation_id": "p"}})
    assert found.observation.metadata["parent_span_id"] == "p"


def test_trace_and_observation_names_come_from_the_caller_then_from_kong() -> None:
    """The path is the last resort, or the first when so configured."""
    named = {"metadata": {"trace_name": "t", "generation_name": "g"}}
    assert asked(named).context.trace_name == "t"
    assert asked(named).observation.name == "g"
    assert asked().observation.name == "chat gpt-4o"
    assert asked(route=None).context.trace_name == "/v1/chat/completions"
    by_path = CallSettings(trace_name="path")
    assert asked(settings=by_path).context.trace_name == "/v1/chat/completions"
    assert asked(named, settings=by_path).context.trace_name == "t"
    assert asked(headers={"helicone-session-path": "/a/step"}).observation.name == "step"


def test_tags_environment_release_and_version_are_read() -> None:
    """From headers, baggage, metadata and the configuration."""
    found = asked({"metadata": {"tags": ["a", "b"], "trace_release": "r", "version": 2}}).context
    assert (found.tags, found.release, found.version) == (["a", "b"], "r", "2")
    assert asked(headers={"langfuse-tags": "x,y"}).context.tags == ["x", "y"]
    assert asked(headers={"baggage": "langfuse_environment=st%61ging"}).context.environment == "staging"
    settings = CallSettings(environment="dev", release="1.0", version="2")
    found = asked(settings=settings).context
    assert (found.environment, found.release, found.version) == ("dev", "1.0", "2")


def test_values_beyond_the_limits_are_mended_and_said_to_be() -> None:
    """The call is not lost, and the whole value is in the metadata."""
    user = "u" * 300
    found = asked(headers={"x-user-id": user, "x-session-id": "Zoë", "langfuse-environment": "My Env"})
    context = found.context
    assert context.user_id is not None
    assert len(context.user_id) == 197
    assert (context.session_id, context.environment) == ("Zo%C3%AB", "my-env")
    assert context.metadata["kong_ai_tracing.adjusted"] == "environment,session_id,user_id"
    assert context.metadata["kong_ai_tracing.user_id"] == user


def test_labels_of_other_gateways_are_kept() -> None:
    """JSON headers, properties, the application's address without its query."""
    found = asked(
        headers={
            "langfuse-metadata": '{"team": "a", "api_key": "k"}',
            "cf-aig-metadata": "not json",
            "helicone-property-plan": "pro",
            "http-referer": "https://app.example.com/x?key=secret",
            "x-title": "App",
        }
    ).context.metadata
    assert found == {
        "team": "a",
        "metadata": "not json",
        "plan": "pro",
        "referer": "https://app.example.com/x",
        "app_name": "App",
    }


SECRET_HEADERS = (
    "authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "apikey",
    "x-goog-api-key",
    "helicone-auth",
    "x-portkey-api-key",
    "x-portkey-virtual-key",
    "x-litellm-api-key",
    "x-bf-vk",
    "cf-aig-authorization",
    "x-amz-security-token",
    "langfuse_secret_key",
    "langfuse-public-key",
    "x-unknown",
)


def test_no_other_header_and_no_query_leaves() -> None:
    """Whatever is sent to Kong, only what is named here is passed on."""
    head = request("/v1/chat/completions?key=s3cret&api_key=s3cret")
    head["headers"] |= dict.fromkeys(SECRET_HEADERS, "s3cret")
    head["querystring"] = {"key": "s3cret"}
    head["url"] = "https://ai.example.com/v1/chat/completions?key=s3cret"
    found = call(
        CallSettings(trace_name="path"),
        request=head,
        upstream_uri="/v1/chat/completions?key=s3cret",
        response={"status": 200, "headers": {"set-cookie": "s3cret", "x-other": "s3cret"}},
    )
    assert "s3cret" not in repr(found)


def test_the_table_of_sources_has_no_place_twice() -> None:
    """Within a field each place has one rank."""
    for field, sources in SOURCES.items():
        assert len(set(sources)) == len(sources), field
        assert all(source.split(" ", 1)[0] in ("header", "body", "baggage", "kong") for source in sources)


@pytest.mark.parametrize(
    ("headers", "parent"),
    [
        ({"traceparent": f"00-{HEX}-b7ad6b7169203331-01"}, "b7ad6b7169203331"),
        ({"b3": f"{HEX}-B7AD6B7169203331-1"}, "b7ad6b7169203331"),
        ({"x-b3-traceid": HEX, "x-b3-spanid": "b7ad6b7169203331"}, "b7ad6b7169203331"),
        ({"x-datadog-trace-id": "255", "x-datadog-parent-id": "254"}, "00000000000000fe"),
        ({"uber-trace-id": "3e3f:da58:0:01"}, "000000000000da58"),
        ({"langfuse-trace-id": HEX, "x-langfuse-parent-span-id": "B7AD6B7169203331"}, "b7ad6b7169203331"),
        (
            {"langfuse-trace-id": "t", "x-langfuse-parent-span-id": "step 1"},
            observation_id_from_seed("step 1"),
        ),
        # A span of another trace, of no trace, or none at all.
        ({"langfuse-trace-id": "t", "traceparent": f"00-{HEX}-b7ad6b7169203331-01"}, None),
        ({"x-langfuse-parent-span-id": "b7ad6b7169203331"}, None),
        ({"traceparent": f"00-{HEX}-{'0' * 16}-01"}, None),
        ({"langfuse-trace-id": HEX, "x-langfuse-parent-span-id": "0" * 16}, None),
    ],
)
def test_the_callers_own_span_becomes_the_parent_when_the_operator_wants_it(
    headers: dict[str, str], parent: str | None
) -> None:
    """Only a span of the trace that the call is in; without the switch it stays metadata."""
    assert asked(headers=headers, settings=CallSettings(join_caller_trace=True)).parent_id == parent
    assert asked(headers=headers).parent_id is None


@pytest.mark.parametrize(
    ("headers", "metadata", "prompt"),
    [
        ({"langfuse-prompt-name": "support/hello", "langfuse-prompt-version": "3"}, {}, ("support/hello", 3)),
        ({"baggage": "langfuse_prompt_name=hello%20you,langfuse_prompt_version=2"}, {}, ("hello you", 2)),
        ({}, {"langfuse_prompt": {"name": "hello", "version": 7, "labels": ["x"]}}, ("hello", 7)),
        ({}, {"langfuse_prompt_name": "hello", "langfuse_prompt_version": 7}, ("hello", 7)),
        ({"langfuse-prompt-version": "4"}, {"langfuse_prompt": "hello"}, ("hello", 4)),
        ({}, {"langfuse_prompt": "hello"}, None),
        ({}, {"langfuse_prompt": {"of": "another kind"}}, None),
        ({"langfuse-prompt-name": "hello", "langfuse-prompt-version": "latest"}, {}, None),
        ({"langfuse-prompt-name": "hello", "langfuse-prompt-version": "0"}, {}, None),
        ({"langfuse-prompt-name": "h" * 201, "langfuse-prompt-version": "1"}, {}, None),
    ],
)
def test_a_generation_is_linked_to_the_prompt_it_was_made_from(
    headers: dict[str, Any], metadata: dict[str, Any], prompt: tuple[str, int] | None
) -> None:
    """Name and version together or not at all; Langfuse takes no other versions than numbers."""
    found = asked({"model": "gpt-4o", "messages": [], "metadata": metadata}, headers=headers).observation
    linked = found.prompt_name, found.prompt_version
    assert linked == (prompt or (None, None))


def test_only_generations_are_linked_to_a_prompt() -> None:
    """Langfuse has the link for nothing else."""
    head = request("/v1/embeddings", langfuse_prompt_name="hello", langfuse_prompt_version="3")
    body = capture({"model": "text-embedding-3-small", "input": "x"})
    found = call(request=head, upstream_uri="/v1/embeddings", capture=body)
    assert found.observation.type == "embedding"
    assert found.observation.prompt_name is None
    assert found.context.metadata["prompt_name"] == "hello"
