"""A server that accepts everything, as cheaply as Python can. Its first line of output is its port.

With `--count` it also counts the spans in the bodies, to show that all contestants deliver the same.
`GET /` answers with the totals since the last `GET /` as JSON.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import threading
import time
import zlib

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_totals = {"requests": 0, "bytes": 0, "spans": 0}
_lock = threading.Lock()


def serve(connection: socket.socket, counting: bool, delay_seconds: float) -> None:
    """Answer the requests of one connection until it is closed."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = bytearray(1 << 18)
    with connection:
        while head_and_more := read_head(connection):
            head, body = head_and_more
            if head.startswith(b"GET"):
                answer_totals(connection)
                continue
            length = int(header(head, b"content-length") or 0)
            kept = [body]
            left = length - len(body)
            while left > 0:
                got = connection.recv_into(buffer, min(left, len(buffer)))
                if not got:
                    return
                left -= got
                if counting:
                    kept.append(bytes(buffer[:got]))
            spans = count_spans(b"".join(kept), head) if counting else 0
            with _lock:
                _totals["requests"] += 1
                _totals["bytes"] += length
                _totals["spans"] += spans
            time.sleep(delay_seconds)
            connection.sendall(_ANSWER)


def read_head(connection: socket.socket) -> tuple[bytes, bytes] | None:
    """The head of the next request and what came of its body with it; None when the client is gone."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        if not part:
            return None
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


def header(head: bytes, name: bytes) -> bytes | None:
    """One header's value."""
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return None


def count_spans(body: bytes, head: bytes) -> int:
    """Generations and embeddings in a body; spans that only hold others together do not count."""
    if header(head, b"content-encoding") == b"gzip":
        body = zlib.decompress(body, 31)
    if b"protobuf" in (header(head, b"content-type") or b""):
        return count_protobuf(body)
    content = json.loads(body)
    if isinstance(content, list):  # events by themselves, as Fluent Bit posts them
        return sum(event.get("type") == "generation-create" for event in content)
    found = 0
    for group in content["resourceSpans"]:
        for scope in group["scopeSpans"]:
            found += sum('"generation"' in json.dumps(span["attributes"]) for span in scope["spans"])
    return found


def count_protobuf(body: bytes) -> int:
    """The same, as the official SDK sends it."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans = (
        span
        for group in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    )
    return sum(any(each.value.string_value == "generation" for each in span.attributes) for span in spans)


def answer_totals(connection: socket.socket) -> None:
    """The totals, which start anew."""
    with _lock:
        body = json.dumps(_totals).encode()
        _totals.update(dict.fromkeys(_totals, 0))
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def main() -> None:
    """Listen until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        sys.stdout.write(f"{server.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            connection, _ = server.accept()
            threading.Thread(
                target=serve, args=(connection, options.count, options.delay), daemon=True
            ).start()


if __name__ == "__main__":
    main()
