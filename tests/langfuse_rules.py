"""What Langfuse 4.16 accepts over OTLP, and what it accepts to its own harm.

A request body goes in; plain spans and a list of violations come out. `RejectedError` is what the real server
answers with a status of its own. A violation is something that the real server takes, and that loses or
garbles data later: a test must never see one. The published protobuf definitions are the judge of form.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from langfuse_harm import harm_in, has_surrogate, no_constant

MAX_SPAN_BYTES = 9_500_000


class RejectedError(Exception):
    """The server answers with this status; nothing of the request is kept."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


def read_export(body: bytes, content_type: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The spans of an export as plain dicts, and what is wrong with them."""
    violations: list[str] = []
    if "application/x-protobuf" in content_type:
        request = _from_protobuf(body)
    elif "application/json" in content_type:
        request = _from_json(body, violations)
    else:
        raise RejectedError(400, f"Invalid content type: {content_type or 'none'}")
    spans = []
    for group in request.resource_spans:
        resource = _plain_attributes(group.resource.attributes, "resource", violations)
        for scope in group.scope_spans:
            for span in scope.spans:
                plain = _plain_span(span, violations)
                plain |= {"resource": resource, "scope": scope.scope.name}
                violations += [f"{plain['spanId']}: {each}" for each in harm_in(plain)]
                spans.append(plain)
    return spans, violations


def _from_protobuf(body: bytes) -> Any:
    try:
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise RejectedError(400, "Failed to parse OTel Protobuf Trace") from error


def _from_json(body: bytes, violations: list[str]) -> Any:
    try:
        export = json.loads(body, parse_constant=no_constant)
    except ValueError as error:
        raise RejectedError(400, "Failed to parse OTel JSON Trace") from error
    _check_shape(export)
    export = _without_surrogates(export, violations)
    for span in _json_spans(export):
        for key in ("traceId", "spanId", "parentSpanId"):
            if key in span:
                span[key] = _base64_of_hex(span[key], key, violations)
    try:
        return ParseDict(export, ExportTraceServiceRequest())
    except ParseError as error:
        violations.append(f"not OTLP by its published definition: {error}")
    try:
        return ParseDict(export, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except ParseError as error:
        raise RejectedError(400, f"Failed to parse OTel JSON Trace: {error}") from error


def _check_shape(export: Any) -> None:
    """The checks the real server makes itself: types only, and any failure refuses the whole export."""
    groups = export.get("resourceSpans", []) if isinstance(export, dict) else None
    _must_be_list(groups, "resourceSpans")
    for group in groups or []:
        _must_be_list(group.get("scopeSpans", []), "scopeSpans")
        for scope in group.get("scopeSpans", []):
            _must_be_list(scope.get("spans", []), "spans")
    for span in _json_spans(export):
        for key in ("attributes", "events"):
            _must_be_list(span.get(key, []), key)
        for key in ("traceId", "spanId"):
            if not isinstance(span.get(key), str):
                raise RejectedError(400, f"Invalid {key}: expected a string")
        if not isinstance(span.get("parentSpanId", ""), str | None):
            raise RejectedError(400, "Invalid parentSpanId: expected a string")


def _must_be_list(value: Any, name: str) -> None:
    if not isinstance(value, list):
        raise RejectedError(400, f"Invalid {name}: expected a list")


def _json_spans(export: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        span
        for group in export.get("resourceSpans", [])
        for scope in group.get("scopeSpans", [])
        for span in scope.get("spans", [])
    ]


def _base64_of_hex(text: str | None, key: str, violations: list[str]) -> str:
    """OTLP's JSON has ids in hex where protobuf's own JSON form has base64."""
    digits = {"traceId": 32, "spanId": 16, "parentSpanId": 16}[key]
    text = text or ""
    if text and not re.fullmatch(rf"[0-9a-f]{{{digits}}}", text):
        violations.append(f"{key} {text!r} is not {digits} lower-case hex digits")
    try:
        return base64.b64encode(bytes.fromhex(text)).decode()
    except ValueError:
        return ""


def _without_surrogates(value: Any, violations: list[str]) -> Any:
    if isinstance(value, str):
        if has_surrogate(value):
            violations.append("lone surrogate in a string: the whole insert batch would be lost")
            return value.encode("utf-8", "replace").decode()
        return value
    if isinstance(value, list):
        return [_without_surrogates(each, violations) for each in value]
    if isinstance(value, dict):
        return {key: _without_surrogates(each, violations) for key, each in value.items()}
    return value


def _plain_span(span: Any, violations: list[str]) -> dict[str, Any]:
    plain = {
        "traceId": span.trace_id.hex(),
        "spanId": span.span_id.hex(),
        "parentSpanId": span.parent_span_id.hex() or None,
        "name": span.name,
        "startTimeUnixNano": span.start_time_unix_nano,
        "endTimeUnixNano": span.end_time_unix_nano,
        "statusCode": span.status.code,
        "statusMessage": span.status.message,
        "attributes": _plain_attributes(span.attributes, span.span_id.hex(), violations),
    }
    if span.ByteSize() > MAX_SPAN_BYTES:
        violations.append(f"{plain['spanId']}: {span.ByteSize()} bytes in one span")
    return plain


def _plain_attributes(attributes: Any, where: str, violations: list[str]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for each in attributes:
        if each.key in plain:
            violations.append(f"{where}: attribute {each.key} stands twice")
        plain[each.key] = _plain_value(each.value, f"{where}: attribute {each.key}", violations)
    return plain


def _plain_value(value: AnyValue, where: str, violations: list[str]) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        if not value.array_value.values:
            violations.append(f"{where} is an empty array")
        return [_plain_value(each, where, violations) for each in value.array_value.values]
    if kind in ("kvlist_value", "bytes_value", None):
        violations.append(f"{where} is a {kind}, which the server keeps as raw JSON")
        return None
    return getattr(value, kind)
