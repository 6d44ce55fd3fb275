"""Langfuse's address, in every form that people paste."""

from __future__ import annotations

import pytest

from kong_ai_tracing.endpoint import EndpointError, parse_endpoint


@pytest.mark.parametrize(
    "text",
    [
        "https://cloud.langfuse.com",
        "https://cloud.langfuse.com/",
        "https://cloud.langfuse.com/api/public/ingestion",
        "https://cloud.langfuse.com/api/public/otel",
        "https://cloud.langfuse.com/api/public/otel/v1/traces",
        "https://cloud.langfuse.com/api/public/otel/v1/traces/",
    ],
)
def test_base_batch_and_otlp_addresses_mean_the_same_server(text):
    """Whichever address is given, all three are known."""
    endpoint = parse_endpoint(text)
    assert endpoint.base_url == "https://cloud.langfuse.com"
    assert endpoint.otlp_url == "https://cloud.langfuse.com/api/public/otel/v1/traces"
    assert endpoint.ingestion_url == "https://cloud.langfuse.com/api/public/ingestion"


def test_the_address_of_a_collector_is_taken_as_it_is():
    """Between the gateways and Langfuse there may be an OpenTelemetry Collector."""
    endpoint = parse_endpoint("http://collector:4318/v1/traces")
    assert endpoint.otlp_url == "http://collector:4318/v1/traces"
    assert endpoint.names_otlp


def test_a_server_below_a_path_keeps_its_path():
    """Langfuse may be served below a base path."""
    assert parse_endpoint("https://tools.example.com/langfuse/").base_url == (
        "https://tools.example.com/langfuse"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cloud.langfuse.com",
        "ftp://cloud.langfuse.com",
        "https://",
        "https://cloud.langfuse.com:99999",
        "https://cloud.langfuse.com/project/abc/traces",
        "https://cloud.langfuse.com?x=1",
        "https://cloud.langfuse.com/#top",
        "https://pk:sk@cloud.langfuse.com",
        "https://cloud langfuse.com",
        "https://[::1",
    ],
)
def test_what_is_no_server_address_is_refused_with_a_fix(text):
    """Each wrong address says what to write instead."""
    with pytest.raises(EndpointError) as caught:
        parse_endpoint(text)
    assert caught.value.fix
    assert "sk@" not in f"{caught.value} {caught.value.fix}"


def test_a_forgotten_scheme_is_put_in_front():
    """The fix can be pasted."""
    with pytest.raises(EndpointError) as caught:
        parse_endpoint("langfuse.example.com")
    assert caught.value.fix == "write it like https://langfuse.example.com"


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("localhost:3000", True),
        ("127.0.0.1", True),
        ("[::1]:3000", True),
        ("10.1.2.3", True),
        ("192.168.0.7:3000", True),
        ("[fd00::1]", True),
        ("langfuse-web:3000", True),
        ("langfuse.observability.svc.cluster.local", True),
        ("langfuse.internal", True),
        ("8.8.8.8", False),
        ("langfuse.example.com", False),
        ("10.1.2.3.example.com", False),
    ],
)
def test_only_addresses_off_the_public_internet_count_as_private(host, private):
    """Clear text is for loopback, private ranges and names no public server knows."""
    assert parse_endpoint(f"http://{host}").is_private is private
