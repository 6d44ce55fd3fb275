"""Who may look: a link that works once, a cookie that only this page gets, and names that are ours.

What other pages in the same browser, other users of the machine or a name that was made to point here
ask for is refused before any of the store is read.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
# The browser goes on by itself: a redirect would lose the cookie when the link was clicked in another page.
_WELCOME = (
    '<!doctype html><html lang="en"><head><title>kong-ai-tracing</title>'
    '<meta http-equiv="refresh" content="0;url=/"></head>'
    '<body><p><a href="/">Go on to the traces</a></p></body></html>'
)


class Keys:
    """The token of the next link, and the cookie that each used link is worth."""

    def __init__(self, announce: Callable[[str], None]) -> None:
        self._announce = announce
        self._session = secrets.token_urlsafe(32)
        self.token = secrets.token_urlsafe(32)

    def redeem(self, token: str) -> str | None:
        """The cookie's value for an unused token. The next one is announced, for another browser."""
        if not secrets.compare_digest(token.encode(), self.token.encode()):
            return None
        self.token = secrets.token_urlsafe(32)
        self._announce(self.token)
        return self._session

    def admits(self, cookie: str) -> bool:
        return secrets.compare_digest(cookie.encode(), self._session.encode())


class Access:
    """The gate before the application."""

    def __init__(self, app: ASGIApp, keys: Keys, *, port: int, names: frozenset[str]) -> None:
        self._app = app
        self._keys = keys
        self._port = port
        self._names = names | {"localhost"}
        self._cookie = f"kong-ai-tracing-view-{port}"  # cookies are not told apart by port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refusal(scope) or self._app
        await answer(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._is_ours(headers.get("host", "")):
            return PlainTextResponse("This name does not belong to kong-ai-tracing view.\n", 421)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Only for reading.\n", 405)
        tokens = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if scope["path"] == "/" and tokens:
            return self._redeemed(tokens[0])
        if self._keys.admits(self._cookie_of(headers.get("cookie", ""))):
            return None
        return PlainTextResponse(
            "Open the link that kong-ai-tracing view printed. It works once; the next one stands below it.\n",
            403,
        )

    def _redeemed(self, token: str) -> Response:
        session = self._keys.redeem(token)
        if session is None:
            return PlainTextResponse("This link was used already. The next one was printed below it.\n", 403)
        answer = HTMLResponse(_WELCOME)
        answer.set_cookie(self._cookie, session, httponly=True, samesite="strict", path="/")
        return answer

    def _is_ours(self, host: str) -> bool:
        """Addresses cannot be made to point elsewhere; of names only ours count."""
        name, _, port = host.rpartition(":") if host.rpartition(":")[2].isdigit() else (host, "", "80")
        if port != str(self._port):
            return False
        try:
            ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return name.lower() in self._names
        return True

    def _cookie_of(self, header: str) -> str:
        try:
            cookie = SimpleCookie(header).get(self._cookie)
        except CookieError:
            return ""
        return cookie.value if cookie else ""
