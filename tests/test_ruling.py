"""The operator's rules for some calls: what answers there, what may leave, under which environment."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_tracing.calls import AICall, CallSettings
from kong_ai_tracing.mapping import FieldMapping
from kong_ai_tracing.operatorrules import ProviderRule, Rule
from kong_ai_tracing.payloads import DIALECTS
from kong_ai_tracing.places import Places
from kong_ai_tracing.privacy import WITHHELD, Privacy, PrivacySettings
from kong_ai_tracing.ruling import Providers, Rules
from kong_entries import CHAT_ANSWER, CHAT_REQUEST, call, calls, capture, record, request
from kong_host import Host
from langfuse_server import FakeLangfuse

TALK = capture(CHAT_REQUEST, CHAT_ANSWER)
HR = {"name": "hr-chat", "host": "10.0.0.7"}


def ruled(*rules: Rule, mapping: FieldMapping = FieldMapping(), **changes: Any) -> AICall:  # noqa: B008
    """A chat call read under these rules."""
    return call(CallSettings(rules=Rules(rules), places=Places(mapping)), **({"capture": TALK} | changes))


def said(*rules: ProviderRule, **changes: Any) -> list[AICall]:
    """The calls of a line, with these words of the operator on what answers."""
    return calls(CallSettings(providers=Providers(rules)), **changes)


# -- [[rule]]


def test_the_first_rule_decides_that_fits_and_has_the_key() -> None:
    """Each key by itself."""
    found = ruled(
        Rule(service=("other",), content="hashed"),
        Rule(service=("hr-*",), user_id="hash"),
        Rule(content="metadata", user_id="plain", environment="staging"),
        service=HR,
    )
    assert found.context.environment == "staging"
    assert found.explain["privacy.content"] == "rule[3]"
    assert found.explain["privacy.user_id"] == "rule[2]"
    assert found.explain["environment"] == "rule[3]"
    assert (found.observation.input is not None, found.context.user_id) == (True, None)


def test_a_rule_keeps_the_content_of_some_calls_here() -> None:
    """And only of those; also where the settings say less, a rule may allow more."""
    rule = Rule(service=("hr-*",), content="metadata")
    privacy = Privacy(PrivacySettings())
    kept = privacy.apply(ruled(rule, service=HR))
    assert kept is not None
    assert (kept.observation.input, kept.observation.output) == (None, None)
    assert kept.observation.metadata[WITHHELD] == "input,output"
    other = ruled(rule)
    assert privacy.apply(other) is other
    strict = Privacy(PrivacySettings(content="metadata"))
    open_again = strict.apply(ruled(Rule(content="full")))
    assert open_again is not None
    assert open_again.observation.input is not None


def test_a_caller_can_reduce_what_a_rule_allows_and_not_widen_it() -> None:
    """The stricter of both."""
    head = request(langfuse_mask_input="true")
    kept = Privacy(PrivacySettings()).apply(ruled(Rule(content="full"), request=head))
    assert kept is not None
    assert (kept.observation.input, kept.observation.output is None) == (None, False)
    kept = Privacy(PrivacySettings()).apply(ruled(Rule(content="metadata"), request=head))
    assert kept is not None
    assert (kept.observation.input, kept.observation.output) == (None, None)


def test_a_rule_hashes_users_wherever_they_are_named() -> None:
    """Also the consumer, and the whole of a name that was too long."""
    head = request(x_user_id="alice@example.com" * 20)
    consumer = {"username": "alice@example.com"}
    found = ruled(Rule(user_id="hash"), request=head, consumer=consumer)
    kept = Privacy(PrivacySettings(user_id_salt="s")).apply(found)
    assert kept is not None
    assert "alice" not in repr((kept.context, kept.observation))
    assert len(kept.observation.metadata["kong_consumer"]) == 32
    plain = Privacy(PrivacySettings(user_id="hash")).apply(ruled(Rule(user_id="plain"), consumer=consumer))
    assert plain is not None
    assert plain.context.user_id == "alice@example.com"


def test_a_rule_has_a_sample_of_its_own() -> None:
    """None of one service, all of another."""
    rule = Rule(service=("hr-*",), sample_rate=0.0)
    privacy = Privacy(PrivacySettings(sample_rate=1.0))
    assert privacy.apply(ruled(rule, service=HR)) is None
    assert privacy.apply(ruled(rule)) is not None
    none = Privacy(PrivacySettings(sample_rate=0.0))
    assert none.apply(ruled(Rule(sample_rate=1.0))) is not None
    failed = ruled(rule, service=HR, response={"status": 500})
    assert privacy.apply(failed) is not None


def test_the_callers_environment_wins_over_a_rule_unless_nobody_asks_him() -> None:
    """A rule wins over the configuration."""
    rule = Rule(environment="staging")
    head = request(langfuse_environment="dev")
    found = ruled(rule, request=head)
    assert (found.context.environment, found.passed_over["environment"]) == ("dev", {"rule[1]": "staging"})
    assert ruled(rule, request=head, mapping=FieldMapping(environment=())).context.environment == "staging"
    assert ruled(Rule(service=("x",), environment="staging")).context.environment == "production"


def test_who_looks_at_his_own_calls_sees_them() -> None:
    """`preview` shows what would leave only when it is asked to."""
    found = ruled(Rule(content="metadata", sample_rate=0.0))
    assert Privacy(PrivacySettings(), heed_rules=False).apply(found) is found


def test_what_rules_say_survives_in_the_store() -> None:
    """A call that waits is stored with all that belongs to it."""
    found = ruled(Rule(content="hashed", environment="eu"))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=AICall) == found


# -- [[provider]]


def test_a_named_place_is_an_ai_call_whatever_it_looks_like() -> None:
    """Path and body say nothing of it."""
    changes: dict[str, Any] = {
        "request": request("/our/own"),
        "upstream_uri": "/own",
        "capture": capture({"question": "why"}, {"reply": "so"}),
    }
    assert calls(**changes) == []
    [found] = said(ProviderRule(service=("models",), provider="acme", model="acme-1"), **changes)
    assert (found.observation.provider, found.observation.model) == ("acme", "acme-1")
    assert found.observation.type == "generation"
    assert b"why" in (found.observation.input or b"")
    assert found.explain["provider"] == "provider[1]"
    assert said(ProviderRule(service=("other",), provider="acme"), **changes) == []


def test_a_named_dialect_reads_a_body_on_a_strange_path() -> None:
    """Of several dialects with one name the one whose request it is."""
    changes: dict[str, Any] = {
        "request": request("/our/own"),
        "upstream_uri": "/own",
        "capture": capture({"model": "e", "input": ["a", "b"]}, {"data": [{"embedding": [1, 2]}] * 2}),
    }
    [found] = said(ProviderRule(dialect="embeddings"), **changes)
    assert (found.observation.type, found.observation.output) == (
        "embedding",
        b'{"count":2,"dimensions":2}',
    )
    changes["capture"] = capture({"model": "m", "prompt": "p"}, {"model": "m", "response": "r", "done": True})
    [found] = said(ProviderRule(dialect="ollama"), **changes)
    assert found.observation.provider == "ollama"


def test_requests_that_ask_no_model_are_none() -> None:
    """Health checks and lists of models go to the same service."""
    head = request("/health") | {"method": "GET"}
    assert said(ProviderRule(), request=head) == []


def test_a_place_that_is_none_has_no_calls() -> None:
    """Whatever Kong or the path say; the first rule that fits holds."""
    no = ProviderRule(service=("models",), path=("/v1/chat/*",), ai=False)
    assert said(no, ProviderRule(provider="acme"), capture=TALK) == []
    section = {"meta": {"provider_name": "openai"}, "usage": {"prompt_tokens": 1}}
    assert said(no, ai={"proxy": section}) == []
    [found] = said(ProviderRule(provider="acme"), no, capture=TALK)
    assert found.observation.provider == "acme"


def test_a_rule_names_the_provider_of_proxied_calls_too() -> None:
    """ai-proxy says `openai` of everything that speaks like it; a transformer's own call is another's."""
    section = {"meta": {"provider_name": "openai", "request_model": "m"}, "usage": {"prompt_tokens": 1}}
    ai = {"proxy": section, "ai-request-transformer": section}
    found = said(ProviderRule(provider="vllm", model="other"), ai=ai)
    assert [each.observation.provider for each in found] == ["openai", "vllm"]
    assert {each.observation.model for each in found} == {"m"}


def test_a_rules_model_wins_over_a_deployments_name_in_the_path() -> None:
    """Answer and request come before both."""
    head = request("/openai/deployments/my-deploy/chat/completions")
    changes: dict[str, Any] = {"request": head, "upstream_uri": head["uri"]}
    bare = {"messages": CHAT_REQUEST["messages"]}
    rule = ProviderRule(model="gpt-4o")
    assert said(rule, capture=capture(bare), **changes)[0].observation.model == "gpt-4o"
    assert calls(capture=capture(bare), **changes)[0].observation.model == "my-deploy"
    assert said(rule, capture=TALK, **changes)[0].observation.model == "gpt-4o-2024-08-06"


def test_the_documentation_names_every_dialect() -> None:
    """What may stand as `dialect`."""
    words = (Path(__file__).parent.parent / "docs" / "mapping.md").read_text()
    listed = words.split("The names of the dialects:")[1].split("\n\n")[0]
    assert set(re.findall("`(.+?)`", listed)) == {dialect.name for dialect in DIALECTS}


# -- with the real program


def test_what_the_operator_says_holds_on_the_wire(tmp_path: Path) -> None:
    """Rules, own sources, a named provider and a price, from the configuration to Langfuse."""
    with FakeLangfuse() as langfuse:
        host = Host(tmp_path, langfuse)
        host.configure(
            langfuse,
            """
            [mapping]
            user_id = ["header x-employee", "default"]
            [grouping]
            join_caller_trace = true
            [[rule]]
            service = "models"
            content = "hashed"
            user_id = "hash"
            environment = "staging"
            [[provider]]
            service = "models"
            provider = "acme"
            [[provider]]
            service = "search"
            ai = false
            [[price]]
            model = "gpt-4o*"
            input = 2
            """,
        )
        head = request(x_employee="anna", traceparent=f"00-{'a' * 32}-b7ad6b7169203331-01")
        host.write(
            json.dumps(record(request=head, capture=TALK)).encode() + b"\n",
            json.dumps(record(request=head | {"id": "2"}, service={"name": "search"})).encode() + b"\n",
        )
        done = host.run("run", "--once")
        assert done.returncode == 0, done.stderr
        [span] = langfuse.spans
        sent = json.dumps(span)
        assert (span["traceId"], span["parentSpanId"]) == ("a" * 32, "b7ad6b7169203331")
        assert "anna" not in sent
        assert '\\"hello' not in sent
        assert all(word in sent for word in ("staging", "acme", "sha256", "price_table"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize("dialect", [None, "chat", "ollama", "bedrock", "gemini", "openai-audio", "generate"])
@given(body=json_values, answer=json_values, service=json_values, status=json_values)
def test_hostile_bodies_at_a_named_place_stay_one_call(
    dialect: str | None, body: Any, answer: Any, service: Any, status: Any
) -> None:
    """Nothing raises and nothing is lost."""
    rule = ProviderRule(provider="acme", dialect=dialect)
    changes = {"capture": capture(body, answer), "request": request("/x"), "upstream_uri": "/y"}
    found = said(rule, service=service, response={"status": status}, **changes)
    assert [each.observation.provider for each in found] == ["acme"]


@given(
    st.lists(
        st.builds(
            Rule,
            service=st.sampled_from([(), ("hr-*",), ("models",)]),
            content=st.sampled_from([None, "full", "metadata", "hashed"]),
            sample_rate=st.sampled_from([None, 0.0, 0.5, 1.0]),
        ),
        max_size=4,
    ),
    st.sampled_from(["hr-a", "models"]),
)
def test_rules_are_walked_in_their_order(rules: list[Rule], service: str) -> None:
    """Compared with a plain walk."""
    ruling = ruled(*rules, service={"name": service}).context.ruling
    fitting = [rule for rule in rules if not rule.service or rule.service[0][:2] == service[:2]]
    for key in ("content", "sample_rate"):
        expected = next((value for rule in fitting if (value := getattr(rule, key)) is not None), None)
        assert (getattr(ruling, key) if ruling else None) == expected
