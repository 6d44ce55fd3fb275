"""One HTTP answer in, what it means for the request out, by the table of Langfuse's own behaviour."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from kong_ai_tracing.outcomes import Accepted, Hold, Outcome, Refused, TooLarge, TryLater

# Langfuse remembers an unknown key for 300 s, anew at every try: a probe must come later than that.
_PROBE_KEYS_SECONDS = 360.0
_PROBE_PATH_SECONDS = 60.0
_MAX_RETRY_AFTER_SECONDS = 300.0
_MAX_REASON_CHARACTERS = 300
RETRYABLE = frozenset({408, 425, 429})


def classify(response: httpx.Response) -> Outcome:
    """What became of the whole request."""
    status = response.status_code
    if response.is_success:
        return Accepted() if is_json_object(response) else not_langfuse(response)
    reason = f"{status} {_text(response)}".strip()
    if status in {401, 403}:
        return wrong_keys(reason)
    if status in {404, 405} or response.is_redirect:
        return wrong_address(reason)
    if status in RETRYABLE or status >= 500:
        # Without the server's words: this goes to our log, and they may repeat what was sent.
        reason = f"{status} {response.reason_phrase}".strip()
        return TryLater(reason, _retry_after_seconds(response.headers.get("retry-after")))
    return TooLarge(reason) if status == 413 else Refused(reason)


def is_json_object(response: httpx.Response) -> bool:
    """Langfuse says what it did in JSON; a login page, or nothing at all, is somebody else's answer."""
    try:
        return isinstance(response.json(), dict)
    except ValueError:
        return False


def not_langfuse(response: httpx.Response) -> Hold:
    kind = response.headers.get("content-type", "nothing in it").partition(";")[0]
    return Hold(
        f"{response.status_code} with {kind}: this is not Langfuse's endpoint (check langfuse_endpoint)",
        _PROBE_PATH_SECONDS,
    )


def wrong_keys(reason: str) -> Hold:
    return Hold(f"{reason} (check the keys and the project's plan)", _PROBE_KEYS_SECONDS)


def wrong_address(reason: str) -> Hold:
    return Hold(f"{reason} (check langfuse_endpoint)", _PROBE_PATH_SECONDS)


def wrong_transport(reason: str) -> Hold:
    return Hold(f'{reason} (set transport = "auto" below [delivery])', _PROBE_PATH_SECONDS)


def _text(response: httpx.Response) -> str:
    """The server's own words, short; a page's markup says nothing."""
    if "html" in response.headers.get("content-type", ""):
        return response.reason_phrase
    return " ".join(response.text[:_MAX_REASON_CHARACTERS].split()) or response.reason_phrase


def _retry_after_seconds(value: str | None) -> float | None:
    """Seconds or an HTTP date; nonsense is ignored, more than five minutes is taken for five minutes."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    if not 0 <= seconds < float("inf"):
        return None
    return min(seconds, _MAX_RETRY_AFTER_SECONDS)
