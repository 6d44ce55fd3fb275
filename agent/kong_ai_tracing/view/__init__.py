"""`view`: traces in a browser. Loaded by that command alone; what it needs is the extra `view`."""

from __future__ import annotations

import contextlib
import signal
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from kong_ai_tracing.config import Config
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.projects import projects_of

_NEEDED = ("starlette", "uvicorn", "jinja2")


def run(config: Config, paths: Sequence[Path], *, listen: str, open_browser: bool) -> int:
    """Serve the pages until Ctrl-C. Without paths the local store is shown, while it is written, too.

    Raises OperatorError when that cannot be.
    """
    try:
        from kong_ai_tracing.view import links, reader, server, sources
        from kong_ai_tracing.view.app import Settings
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _NEEDED:
            raise
        raise OperatorError(f"view needs {missing}: install kong-ai-tracing[view]") from None
    address = server.parse_address(listen)
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: a private store must not be left behind
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        listening = stack.enter_context(contextlib.closing(server.listen(address)))
        if paths:
            source = stack.enter_context(sources.log_files(config, paths))
        else:
            source = sources.local_store(config)
            reader.check_version(source.store)
            _say_if_empty(config, source.store)
        private = server.is_loopback(listening)
        if not private:
            sys.stderr.write("Others can reach this address, and what they are sent is not encrypted.\n")
        settings = Settings(langfuse=links.linked(projects_of(config)), raw_lines=private)
        announce = _Announcer(listening.getsockname()[1], address.name, open_browser)
        server.serve(listening, address, source, settings, announce)
    return 0


def _say_if_empty(config: Config, store: Path) -> None:
    if not store.exists():
        where = "traces go to Langfuse" if config.langfuse_enabled else "nothing was written yet"
        sys.stderr.write(f"kong-ai-tracing: there is no local store at {store}: {where}\n")


class _Announcer:
    """Prints the link of each token: the first for this browser, each later one for another."""

    def __init__(self, port: int, host: str, open_browser: bool) -> None:
        self._base = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self._open_browser = open_browser
        self._first = True

    def __call__(self, token: str) -> None:
        address = f"{self._base}/?token={token}"
        if self._first:
            sys.stdout.write(f"{address}\n")
            sys.stdout.flush()
            sys.stderr.write("Open this link in a browser; it works once. Ctrl-C ends the viewer.\n")
            if self._open_browser:
                webbrowser.open(address)
        else:
            sys.stderr.write(f"For another browser: {address}\n")
        self._first = False
