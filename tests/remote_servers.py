"""Places where archives lie beyond this host: an S3 server and web servers, all of them real."""

from __future__ import annotations

import base64
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import botocore.session

from kong_host import free_port

ACCESS_KEY = "AKIATESTTESTTEST"
SECRET_KEY = "very-secret-key-of-the-store"


class S3Server:
    """moto's server as a process of its own, with one bucket."""

    bucket = "archive"

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.environ = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self._client: Any = botocore.session.Session().create_client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def __enter__(self) -> Self:
        ends = time.monotonic() + 90
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    break
            assert self._process.poll() is None, "the S3 server did not start"
            assert time.monotonic() < ends, "the S3 server is not there"
            time.sleep(0.05)
        self._client.create_bucket(Bucket=self.bucket)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.kill()
        self._process.wait(90)

    def put(self, key: str, content: bytes) -> str:
        """Gives the object's URL."""
        self._client.put_object(Bucket=self.bucket, Key=key, Body=content)
        return f"s3://{self.bucket}/{key}"

    def signed(self, key: str) -> str:
        """A web address that anybody who has it may read."""
        parameters = {"Bucket": self.bucket, "Key": key}
        return str(self._client.generate_presigned_url("get_object", parameters))

    def clear(self) -> None:
        for one in self._client.list_objects_v2(Bucket=self.bucket).get("Contents", ()):
            self._client.delete_object(Bucket=self.bucket, Key=one["Key"])


@dataclass
class WebServer:
    """Files over HTTP. What goes wrong is told to it before."""

    has_ranges: bool = True
    files: dict[str, bytes] = field(default_factory=dict)
    user: str | None = None
    """`name:password` without which nothing is given."""
    fail: list[int] = field(default_factory=list)
    """Status of the next answers to GET; 0 cuts the connection in the middle of the answer."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range of each GET."""
    sent_bytes: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    port: int = 0

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, wanted = handler.path.partition("?")[0], handler.headers.get("Range")
        self.requests.append((path, wanted))
        status = self.fail.pop(0) if self.fail else 200
        if self.user and handler.headers.get("Authorization") != _basic(self.user):
            status = 401
        if status >= 400 or path not in self.files:
            handler.send_error(status if status >= 400 else 404)
            return
        whole = self.files[path]
        start, end = 0, len(whole)
        if wanted and self.has_ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(end, int(last) + 1 if last else end)
        if start >= end and wanted and self.has_ranges:
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{end}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        content = whole[start:end]
        handler.send_response(206 if wanted and self.has_ranges else 200)
        handler.send_header("Content-Type", "text/html" if path.endswith("/") else "text/plain")
        handler.send_header("Content-Length", str(len(content)))
        handler.send_header("ETag", f'"{hash(whole)}"')
        if wanted and self.has_ranges:
            handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(whole)}")
        handler.end_headers()
        if status == 0:
            content = content[: len(content) // 2]
            handler.close_connection = True
        with memoryview(content) as view:
            for at in range(0, len(view), 65536):
                handler.wfile.write(view[at : at + 65536])
                self.sent_bytes += min(65536, len(view) - at)


@contextmanager
def web_server(**options: Any) -> Iterator[WebServer]:
    server = WebServer(**options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            try:
                server.answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        server.port = http.server_address[1]
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def _basic(user: str) -> str:
    return "Basic " + base64.b64encode(user.encode()).decode()
