"""Bedrock's wire as botocore speaks it: requests it writes, binary frames it reads."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from typing import Any
from zlib import crc32

from botocore.eventstream import EventStreamBuffer
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator

MODEL = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))


def request_of(operation: str, **parameters: Any) -> tuple[str, dict[str, Any]]:
    """Path and body of a request as botocore would send it."""
    shape = MODEL.operation_model(operation)
    report = ParamValidator().validate(parameters, shape.input_shape)
    assert not report.has_errors(), report.generate_report()
    request = create_serializer("rest-json").serialize_to_request(parameters, shape)
    return request["url_path"], json.loads(request["body"])


def parsed(operation: str, body: dict[str, Any]) -> dict[str, Any]:
    """A body as botocore hands it to its caller."""
    response = {"status_code": 200, "headers": {}, "body": json.dumps(body).encode(), "context": {}}
    shape = MODEL.operation_model(operation).output_shape
    found = create_parser("rest-json").parse(response, shape)
    found.pop("ResponseMetadata", None)
    return found


def events_of(operation: str, data: bytes) -> list[dict[str, Any]]:
    """The events of a body of frames as botocore hands them to its caller."""
    output = MODEL.operation_model(operation).output_shape
    stream = output.members["stream" if operation == "ConverseStream" else "body"]
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    parser = create_parser("rest-json")._event_stream_parser
    return [parser.parse(message.to_response_dict(), stream) for message in buffer]


def frame(payload: bytes, **headers: str) -> bytes:
    """One frame. Names of headers are written with underscores and without their colon."""
    packed = b""
    for name, value in headers.items():
        key, text = b":" + name.replace("_", "-").encode(), value.encode()
        packed += bytes([len(key)]) + key + b"\x07" + struct.pack(">H", len(text)) + text
    prelude = struct.pack(">II", 16 + len(packed) + len(payload), len(packed))
    head = prelude + struct.pack(">I", crc32(prelude)) + packed + payload
    return head + struct.pack(">I", crc32(head))


def event(name: str, body: dict[str, Any]) -> bytes:
    """An event, with the padding that Bedrock adds against eavesdroppers."""
    payload = json.dumps(body | {"p": "abcdefghijkl"}).encode()
    return frame(payload, event_type=name, content_type="application/json", message_type="event")


def chunk(body: dict[str, Any]) -> bytes:
    """An event of `invoke-with-response-stream`: the model's own, in base64."""
    return event("chunk", {"bytes": b64encode(json.dumps(body).encode()).decode()})


def exception(name: str, message: str) -> bytes:
    """What comes instead of the rest when something breaks in mid-stream."""
    payload = json.dumps({"message": message}).encode()
    return frame(payload, exception_type=name, content_type="application/json", message_type="exception")
