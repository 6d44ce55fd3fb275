"""Is a request to a plain service a call to a model, in which dialect, and who answers it?

Kong knows nothing about these. A path alone proves nothing either, an internal search may own
`/v1/completions`: so a known path needs a second sign, and a captured body of another shape means no.
Only `…/chat/completions` and the like are used for nothing else.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from msgspec import Struct

from kong_ai_tracing.entries import LogEntry, first_text, headers_of, integer, text
from kong_ai_tracing.operatorrules import ProviderRule
from kong_ai_tracing.payloads import DIALECTS, Dialect, Sketch, dialect_of_path
from kong_ai_tracing.payloads.bedrock import model_named
from kong_ai_tracing.payloads.dialect import failure_of

OPENAI_COMPATIBLE = "openai_compatible"
_OPENAI_DIALECTS = frozenset(
    (
        "chat",
        "completions",
        "embeddings",
        "responses",
        "openai-images",
        "openai-audio",
        "openai-speech",
        "openai-moderations",
    )
)

_HOSTS = tuple(
    (re.compile(rf"(?:^|\.)(?:{pattern})$"), provider)
    for pattern, provider in (
        (r"api\.openai\.com", "openai"),
        (r"openai\.azure\.com|cognitiveservices\.azure\.com", "azure"),
        (r"services\.ai\.azure\.com|inference\.ai\.azure\.com", "azure"),
        (r"api\.anthropic\.com", "anthropic"),
        (r"generativelanguage\.googleapis\.com", "gemini"),
        (r"[a-z0-9-]*-?aiplatform\.googleapis\.com", "vertex"),
        (r"bedrock-runtime(?:-fips)?\.[a-z0-9-]+(?:\.vpce)?\.amazonaws\.com(?:\.cn)?", "bedrock"),
        (r"bedrock-[a-z]+(?:-fips)?\.[a-z0-9-]+\.api\.aws", "bedrock"),
        (r"api\.cohere\.(?:com|ai)", "cohere"),
        (r"api\.mistral\.ai", "mistral"),
        (r"api\.groq\.com", "groq"),
        (r"api\.deepseek\.com", "deepseek"),
        (r"api\.together\.(?:xyz|ai)", "together"),
        (r"openrouter\.ai", "openrouter"),
        (r"api\.perplexity\.ai", "perplexity"),
        (r"api\.fireworks\.ai", "fireworks"),
        (r"api\.x\.ai", "xai"),
        (r"(?:router|api-inference)\.huggingface\.co", "huggingface"),
    )
)
_RESPONSE_HEADERS = (
    ("x-litellm-", "litellm"),
    ("llm-provider-", "litellm"),
    ("x-ms-deployment-name", "azure"),
    ("azureml-model-session", "azure"),
    ("openai-", "openai"),
    ("anthropic-", "anthropic"),
    ("x-amzn-bedrock-", "bedrock"),
    ("x-groq-", "groq"),
    ("num-tokens", "cohere"),
    ("x-compute-type", "huggingface"),
    ("x-generated-tokens", "huggingface"),
)
_REQUEST_HEADERS = (("anthropic-version", "anthropic"), ("x-goog-api-key", "gemini"))
_SDK = re.compile(
    r"openai|anthropic|litellm|lang(?:chain|graph)|llama-?index|ollama|ai-sdk|cohere|mistral|genai|groq|vllm",
    re.IGNORECASE,
)
_NAMES = re.compile(
    r"(?<![a-z])(?:openai|gpt|anthropic|claude|gemini|vertex|bedrock|cohere|mistral|groq|deepseek|openrouter"
    r"|huggingface|ollama|vllm|litellm|tgi|sglang|lmstudio|llama|llm)(?![a-z])",
    re.IGNORECASE,
)
_PROVIDER_NAMES = frozenset(("ollama", "vllm", "litellm", "tgi", "sglang", "lmstudio"))
_OLLAMA_PORT = 11434
_NO_QUESTIONS = frozenset(("GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "CONNECT"))
"""Methods that ask no model: health checks, lists of models."""
_STREAM_TYPES = ("text/event-stream", "application/x-ndjson", "application/vnd.amazon.eventstream")
_MODEL_IN_PATH = re.compile(r"/(?:deployments/([^/]+)/|models/([^/:]+):|model/(arn:[^/]+/[^/]+|[^/]+)/)")
_SURE_MEMBERS = frozenset(("model", "messages", "contents", "inputs"))
_SAMPLING = frozenset(("max_tokens", "temperature", "top_p", "stream", "n_predict", "parameters"))


class Exchange(Struct):
    """Head and bodies of one request and its answer, as recognition and reading need them."""

    entry: LogEntry
    request_headers: dict[str, Any]
    response_headers: dict[str, Any]
    dialect: Dialect | None
    """What the path speaks for."""
    rule: ProviderRule | None = None
    """What the operator says of this place, if anything."""

    @property
    def content_type(self) -> str:
        return (first_text(self.request_headers.get("content-type")) or "").lower()

    @property
    def streamed(self) -> bool:
        """Whether the answer came as a stream."""
        return (first_text(self.response_headers.get("content-type")) or "").lower().startswith(_STREAM_TYPES)

    @property
    def kong_model(self) -> tuple[str | None, str | None]:
        """Provider and model from the header that ai-proxy puts on its answers."""
        value = first_text(self.response_headers.get("x-kong-llm-model"))
        provider, slash, model = (value or "").partition("/")
        return (text(provider), text(model)) if slash else (None, None)


def exchange_of(entry: LogEntry, rule: ProviderRule | None = None) -> Exchange:
    """Look at the head of a request and of its answer."""
    dialect = dialect_of_path(entry.upstream_path) or dialect_of_path(entry.path)
    return Exchange(entry, headers_of(entry.request), headers_of(entry.response), dialect, rule)


def may_be_call(entry: LogEntry, rule: ProviderRule | None = None) -> bool:
    """The cheap question first: is it a POST to a path where models are called, by our word or a rule's?"""
    if rule is not None:
        return entry.method not in _NO_QUESTIONS
    if entry.method != "POST":
        return False
    return (dialect_of_path(entry.upstream_path) or dialect_of_path(entry.path)) is not None


def is_call(exchange: Exchange, request: Sketch, response: Sketch) -> bool:
    """Whether a request to a plain service is a call to a model."""
    dialect = exchange.dialect
    if exchange.rule is not None:
        return True
    if dialect is None:
        return False
    if _confirms(response, dialect) or exchange.kong_model[1]:
        return True
    if request.fields is not None:
        if not dialect.is_request(request.fields):
            return _is_refused_by_provider(exchange, response)
        if dialect.distinctive or _is_sure(request):
            return True
    if _contradicts(response, dialect):
        return False
    return (dialect.distinctive and "json" in exchange.content_type) or _has_second_sign(exchange)


def _confirms(response: Sketch, dialect: Dialect) -> bool:
    if response.fields is not None:
        return dialect.is_response(response.fields) and (
            "model" in response.fields or "usage" in response.fields
        )
    if response.stream is not None:
        return any(map(dialect.is_event, response.stream.values[:5]))
    return False


def _contradicts(response: Sketch, dialect: Dialect) -> bool:
    """An answer that is an object of another kind and no error either."""
    fields = response.fields
    return fields is not None and not dialect.is_response(fields) and failure_of(fields) is None


def _is_sure(request: Sketch) -> bool:
    fields = request.fields or {}
    return not _SURE_MEMBERS.isdisjoint(fields) or ("prompt" in fields and not _SAMPLING.isdisjoint(fields))


def _is_refused_by_provider(exchange: Exchange, response: Sketch) -> bool:
    """A body no model server takes, refused by one: still a call, one that failed."""
    if response.fields is None or failure_of(response.fields) is None:
        return False
    return provider_by_signs(exchange) is not None


def _has_second_sign(exchange: Exchange) -> bool:
    if provider_by_signs(exchange) is not None or exchange.streamed:
        return True
    if (first_text(exchange.response_headers.get("x-request-id")) or "").startswith("req_"):
        return True
    if any(name.startswith("x-stainless-") for name in exchange.request_headers):
        return True
    if _SDK.search(first_text(exchange.request_headers.get("user-agent")) or ""):
        return True
    return _name_sign(exchange.entry) is not None


def provider_by_signs(exchange: Exchange) -> str | None:
    """Who answers, by the host of the service or by headers that only one provider sends."""
    host = (text(exchange.entry.service.get("host")) or "").lower()
    found = _provider_at(host) or _provider_answering_with(tuple(exchange.response_headers))
    if found is None:
        found = next((who for name, who in _REQUEST_HEADERS if name in exchange.request_headers), None)
    return found


# Remembered: a service has one name and one host, and answers with the same headers again and again.


@lru_cache(256)
def _provider_at(host: str) -> str | None:
    return next((provider for pattern, provider in _HOSTS if pattern.search(host)), None)


@lru_cache(256)
def _provider_answering_with(headers: tuple[str, ...]) -> str | None:
    return next(
        (who for prefix, who in _RESPONSE_HEADERS if any(name.startswith(prefix) for name in headers)), None
    )


@lru_cache(1024)
def _server_in(name: str) -> str | None:
    match = _NAMES.search(name)
    return match[0].lower() if match else None


def _name_sign(entry: LogEntry) -> str | None:
    """A word that operators give to model servers, in the names of service, host and route."""
    for name in (entry.service.get("name"), entry.service.get("host"), entry.route.get("name")):
        if isinstance(name, str) and (word := _server_in(name)):
            return word
    ports = [entry.service.get("port"), *(attempt.get("port") for attempt in entry.tries)]
    return "ollama" if any(integer(port) == _OLLAMA_PORT for port in ports) else None


def provider_of(exchange: Exchange, dialect: Dialect) -> str | None:
    """Who answers a call of which Kong does not say it."""
    found = exchange.kong_model[0] or provider_by_signs(exchange)
    if found is None and (name := _name_sign(exchange.entry)) in _PROVIDER_NAMES:
        found = name
    return found or dialect.provider or (OPENAI_COMPATIBLE if dialect.name in _OPENAI_DIALECTS else None)


def dialect_said(exchange: Exchange, request: Sketch) -> Dialect | None:
    """What the operator says is spoken, else what the path speaks for.

    Of dialects with one name, as Ollama has them, the path decides, then the shape of the request.
    """
    by_path = exchange.dialect
    said = exchange.rule.dialect if exchange.rule is not None else None
    if said is None or (by_path is not None and by_path.name == said):
        return by_path
    named = [dialect for dialect in DIALECTS if dialect.name == said]
    fields = request.fields or {}
    return next((dialect for dialect in named if dialect.is_request(fields)), named[0] if named else by_path)


def model_in_path(exchange: Exchange) -> str | None:
    """The model of the APIs that name it in the path (Azure's deployment, Gemini, Bedrock)."""
    for path in (exchange.entry.upstream_path, exchange.entry.path):
        if match := _MODEL_IN_PATH.search(path):
            return model_named(unquote(next(name for name in match.groups() if name)))
    return None
