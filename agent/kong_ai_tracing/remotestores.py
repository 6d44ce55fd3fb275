"""Object stores and web servers: what an operator's URL stands for, and one way to ask each kind of store.

fsspec and the clients it brings are loaded when a URL was given. Who may read is decided by what the
environment and the usual profiles of each store say; nothing is asked for or kept here. What is shown, stored
or raised has a URL without its user, its password and its query, which may be a signature.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct

from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.secret import MASK, Secret

_T = TypeVar("_T")

_EXTRAS = {
    "s3": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "abfs": "az",
    "http": "http",
    "https": "http",
}
"""Scheme of a URL → the extra that brings its store."""
_ACCESS = {
    "s3": "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or gcloud auth application-default login",
    "az": "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
    "http": "a user in the URL, or a signed URL",
}
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)
_LONGEST_REASON = 200

_CONNECT_SECONDS = 10.0
_READ_SECONDS = 30.0
_ATTEMPT_SECONDS = 60.0
"""One request, with what the store's own client repeats."""
_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""Between attempts: five in all."""
_MORE_ATTEMPTS_AT = (408, 425, 429)


class RemoteError(OperatorError):
    """A place that cannot be read; the text says why and what to do."""


class RemoteChangedError(RemoteError):
    """What is read is not what was there when reading began."""


class RemoteFile(Struct, frozen=True):
    """One object by its URL. Whatever prints it shows only its name."""

    url: Secret
    name: str
    """The URL without what may be a secret."""

    @classmethod
    def at(cls, url: str) -> RemoteFile:
        return cls(Secret(url), masked(url))

    @property
    def scheme(self) -> str:
        return self.name.partition("://")[0].lower()

    def __str__(self) -> str:
        return self.name


def is_url(word: str) -> bool:
    return _SCHEME.match(word) is not None


def masked(url: str) -> str:
    """Without a password and without a query: in a signed URL that is the signature."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if host != parts.netloc:
        host = f"{MASK}@{host}"
    return urlunsplit((parts.scheme, host, parts.path, MASK if parts.query else "", ""))


class RemoteStore:
    """One kind of store with one event loop for all that is asked of it, from any thread."""

    def __init__(self, scheme: str) -> None:
        """Raises RemoteError when no such store is known, or when what it needs is not installed."""
        extra = _EXTRAS.get(scheme)
        if extra is None:
            raise RemoteError(f"{scheme}:// is not known here; s3, gs, az, http and https are")
        self.kind = extra
        try:
            import fsspec

            self.filesystem = fsspec.filesystem(
                scheme, use_listings_cache=False, skip_instance_cache=True, **_options(extra)
            )
        except ImportError:
            raise RemoteError(
                f"{scheme}:// needs more than is installed: pip install 'kong-ai-tracing[{extra}]'"
            ) from None
        except Exception as error:  # no account, a profile that does not exist: each client has its own kind
            raise RemoteError(f"{scheme}:// cannot be used: {self._reason(error)}") from None
        if extra == "s3":
            self.filesystem.retries = 1  # there is one way to try again, and it is below
        self.loop: asyncio.AbstractEventLoop = self.filesystem.loop

    def path_of(self, file: RemoteFile) -> str:
        """How the store's client calls it."""
        return str(self.filesystem._strip_protocol(file.url.reveal()))

    async def info(self, file: RemoteFile) -> dict[str, Any]:
        """What the store says of one object now."""
        more = {} if self.kind == "http" else {"refresh": True}
        found: dict[str, Any] = await self.filesystem._info(self.path_of(file), **more)
        return found

    def files_of(self, url: str, is_log: Callable[[str], bool]) -> list[RemoteFile]:
        """The object of this URL; what a pattern fits; or what is called like a log below a prefix.

        Raises RemoteError when that is nothing.
        """
        place = RemoteFile.at(url)
        found = self.wait(self.trying(place, lambda: self._find(place)))
        if isinstance(found, RemoteFile):
            return [found]
        if not _has_magic(url, self.kind):
            found = [path for path in found if is_log(path.rpartition("/")[2])]
            if not found:
                raise RemoteError(
                    f"{place.name} holds no object that is called like a log (ai.log, ai.log.1.gz, "
                    "ai-20260101.log, calls.jsonl); name the objects themselves"
                )
        elif not found:
            raise RemoteError(f"no object is called {place.name}")
        return [RemoteFile.at(self._url(path, url)) for path in sorted(found)]

    async def trying(self, file: RemoteFile, act: Callable[[], Awaitable[_T]]) -> _T:
        """What `act` gives; what may pass is tried again. Raises RemoteError."""
        # A download is bounded by how long nothing comes: to pass over what was read may take its time.
        limit_seconds = None if self.kind == "http" else _ATTEMPT_SECONDS
        for pause_seconds in (*_PAUSES_SECONDS, None):
            try:
                async with asyncio.timeout(limit_seconds):
                    return await act()
            except OperatorError:
                raise
            except Exception as error:  # each store's client has its own kinds
                if pause_seconds is None or is_final(error):
                    raise RemoteError(f"{file.name} cannot be read: {self._reason(error)}") from None
            await asyncio.sleep(pause_seconds)
        raise AssertionError("the last attempt returns or raises")

    def wait(self, work: Any) -> Any:
        """The result of a coroutine on the store's own loop, from another thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    async def _find(self, place: RemoteFile) -> RemoteFile | list[str]:
        filesystem, path = self.filesystem, self.path_of(place)
        url = place.url.reveal()
        if self.kind == "http":
            if _has_magic(url, self.kind):
                return list(await filesystem._glob(path))
            return list(await filesystem._find(path)) if urlsplit(url).path.endswith("/") else place
        try:
            if (await self.info(place))["type"] != "directory":
                return place
        except FileNotFoundError:
            if not _has_magic(url, self.kind):
                raise
            return list(await filesystem._glob(path))
        return list(await filesystem._find(path))

    def _url(self, path: str, like: str) -> str:
        return path if is_url(path) else f"{like.partition('://')[0]}://{path}"

    def _reason(self, error: BaseException) -> str:
        """In words without a URL: clients put it into their errors with all that is signed in it."""
        status = getattr(error, "status", None)
        if isinstance(error, FileNotFoundError) or status == 404:
            return "there is no such object"
        if isinstance(error, PermissionError) or status in (401, 403):
            return f"access denied; who reads is decided by {_ACCESS[self.kind]}"
        if type(error).__name__ in _NOBODY:
            return f"no credentials were found; give {_ACCESS[self.kind]}"
        if isinstance(error, TimeoutError):
            return "no answer in time"
        if isinstance(status, int):
            return f"the server answers {status} {getattr(error, 'message', '')}".rstrip()
        text = _URL.sub(lambda found: masked(found[0]), str(error)).partition("\n")[0]
        return f"{type(error).__name__}: {text}"[:_LONGEST_REASON]


_NOBODY = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "ProfileNotFound")
_FINAL = (*_NOBODY, "HttpError401", "ClientAuthenticationError", "InvalidURL", "NonHttpUrlClientError")


def is_final(error: BaseException) -> bool:
    """Would the same question get the same answer?"""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | ValueError):
        return True
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return 400 <= status < 500 and status not in _MORE_ATTEMPTS_AT
    return type(error).__name__ in _FINAL


_stores: dict[str, RemoteStore] = {}
_stores_lock = threading.Lock()


def store_of(scheme: str) -> RemoteStore:
    """One for each scheme, for as long as the process lives. Raises RemoteError."""
    with _stores_lock:
        if scheme not in _stores:
            _stores[scheme] = RemoteStore(scheme)
        return _stores[scheme]


def named_by(url: str, is_log: Callable[[str], bool]) -> list[RemoteFile]:
    """The files that a URL stands for. Raises RemoteError when it stands for none."""
    match = _SCHEME.match(url)
    assert match is not None, "asked before"
    return store_of(match[1].lower()).files_of(url, is_log)


def _has_magic(url: str, kind: str) -> bool:
    # In a web address a question mark begins the query.
    return any(sign in url for sign in ("*[" if kind == "http" else "*?["))


def _options(extra: str) -> dict[str, Any]:
    """Bounds of time: each client's own are minutes, or none."""
    if extra == "s3":
        retries = {"mode": "standard", "max_attempts": 2}
        times = {"connect_timeout": _CONNECT_SECONDS, "read_timeout": _READ_SECONDS}
        return {"config_kwargs": {**times, "retries": retries}}
    if extra == "http":
        import aiohttp

        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS)
        # What is compressed stays so: a server may call a file's own form a form of transport.
        headers = {"Accept-Encoding": "identity"}
        return {"client_kwargs": {"timeout": limits, "headers": headers, "auto_decompress": False}}
    return {}
