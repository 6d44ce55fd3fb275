"""Credentials that are known by their looks, one row for each.

The engine looks for the triggers of all rules at once; a rule then says of each place where its own trigger
begins what there is to be removed, if anything. It may look behind, which the engine cannot, and so uses
the patterns of the standard library: only at a given place, and with every repetition bounded or possessive.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from functools import cache
from typing import Literal, TypeAlias

from msgspec import Struct

Span: TypeAlias = tuple[int, int]
Family: TypeAlias = Literal["secrets", "personal"]

START = rb"(?:(?<![A-Za-z0-9])|(?<=\\[bfnrt])|(?<=%[0-9A-Fa-f]{2}))"
"""The beginning of a word, also after an escape of JSON or of a URL: `\\nsk-…`, `%0Ask-…`."""
_SPACE = rb"(?:\s|\\[nrt])"
_SLASHES = rb":\\*/\\*/"
_ALNUM = b"[A-Za-z0-9]"
_URLSAFE = b"[A-Za-z0-9_-]"
_BASE64 = rb"(?:[A-Za-z0-9+]|\\{0,7}/)"
"""Some writers of JSON escape the slash, once for each level."""
_MAX_LENGTH = 2000
_LONGEST_TRIGGER = 12
_MAX_PEM_BYTES = 12_000


Check: TypeAlias = Callable[[re.Match[bytes]], Span | None]
"""Narrows a match down to what is to be removed, or refuses it."""
Locate: TypeAlias = Callable[[bytes, int, int], Span | None]
"""Text, where the trigger begins, and where what is settled ends, in; the place to be removed out."""


class Rule(Struct, frozen=True):
    """How one kind is found."""

    kind: str
    trigger: bytes
    """Matches in whatever is to be removed, also with the escapes of JSON in it. A repetition
    without a bound must not run over the beginning of another such trigger: the engine would look ahead to
    the end of the text, again at each place."""
    locate: Locate
    family: Family = "secrets"
    by_context: bool = False
    """What stands around gives it away; its own looks may tell more."""


def whole(match: re.Match[bytes]) -> Span:
    """All of a match."""
    return match.span()


def _on_use(pattern: bytes) -> Callable[[], re.Pattern[bytes]]:
    """Compiled when its trigger is met first: most never are, and all of them take a tenth of a start."""
    return cache(lambda: re.compile(pattern))


def at(pattern: bytes, check: Check = whole) -> Locate:
    """Begins where the trigger does."""
    compiled = _on_use(pattern)

    def locate(text: bytes, start: int, _settled: int) -> Span | None:
        match = compiled().match(text, start)
        return check(match) if match else None

    return locate


def _around(pattern: bytes, lookback: int, reach: int) -> Locate:
    """Begins a little before the trigger does."""
    compiled = _on_use(pattern)

    def locate(text: bytes, start: int, settled: int) -> Span | None:
        match = compiled().search(text, max(settled, start - lookback), start + reach)
        return match.span() if match and match.start() <= start else None

    return locate


def _rule(kind: str, trigger: bytes, pattern: bytes, check: Check = whole) -> Rule:
    return Rule(kind, trigger, at(pattern, check))


def _context(kind: str, trigger: bytes, pattern: bytes, check: Check) -> Rule:
    return Rule(kind, trigger, at(pattern, check), by_context=True)


def _cut(characters: bytes) -> bytes:
    """The rest of a token that the end of the text cuts off, as that of an answer or of a long label: some
    characters, digits among them."""
    digits = rb"(?=[A-Za-z_-]{0,40}[0-9][A-Za-z_-]{0,40}[0-9])"
    return digits + characters + rb"{%d,%d}+(?=\W{0,4}\Z|~[0-9a-f]{16}\Z)" % (_LONGEST_TRIGGER, _MAX_LENGTH)


def _token(kind: str, prefix: bytes, characters: bytes, shortest: int, check: Check = whole) -> Rule:
    """A token of an issuer: a fixed beginning and at least so many characters."""
    trigger = b"%s%s{%d}" % (prefix, characters, min(shortest, _LONGEST_TRIGGER))
    exact = b"%s%s(?:%s{%d,%d}+|%s)" % (START, prefix, characters, shortest, _MAX_LENGTH, _cut(characters))
    return _rule(kind, trigger, exact, check)


def _exactly(kind: str, prefix: bytes, characters: bytes, length: int) -> Rule:
    """A token of a fixed length: a longer word is something else."""
    exact = b"%s%s(?:%s{%d}(?![A-Za-z0-9])|%s)" % (START, prefix, characters, length, _cut(characters))
    return _rule(kind, b"%s%s{%d}" % (prefix, characters, min(length, _LONGEST_TRIGGER)), exact)


def _group_1(match: re.Match[bytes]) -> Span:
    return match.span(1)


_RUN = re.compile(rb"[A-Za-z0-9]{12}")


def _looks_drawn(match: re.Match[bytes]) -> Span | None:
    """`sk-` also begins names of CSS classes; a key has digits and a long run without a dash."""
    body = match[0][3:]
    digits = len(body) - len(body.translate(None, b"0123456789"))
    return match.span() if digits >= 2 and _RUN.search(body) else None


def _has_digit(match: re.Match[bytes]) -> Span | None:
    """`Bearer authentication-required` is prose."""
    token = match[1]
    return match.span(1) if any(digit in token for digit in b"0123456789") else None


def _is_pair(match: re.Match[bytes]) -> Span | None:
    """Basic credentials are a name and a password with a colon, in Base64."""
    text = match[1].replace(b"\\/", b"/")
    try:
        pair = b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None
    return match.span(1) if b":" in pair and pair.isascii() else None


_PEM_END = re.compile(rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PEM_LINES = re.compile(
    rb"(?:(?:\s|\\[nrt\\]|%0[AD])*+[A-Za-z0-9+/=]{20,}+)++(?:(?:\s|\\[nrt\\]|%0[AD])*+[A-Za-z0-9+/=]{1,19}+)?"
)


def _whole_pem(match: re.Match[bytes]) -> Span:
    """Up to the end marker, or of a key that was cut off, as far as it goes."""
    text, start = match.string, match.end()
    marker = text.find(b"-----END ", start, start + _MAX_PEM_BYTES)
    end = (_PEM_END.match(text, marker) if marker >= 0 else None) or _PEM_LINES.match(text, start)
    return match.start(), end.end() if end else start


SECRETS: tuple[Rule, ...] = (
    _rule(
        "private_key",
        rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY",
        rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----",
        _whole_pem,
    ),
    _context(
        "url_password",
        _SLASHES + rb"""[^\s/:@"'<>]*:[^\s/?#"'<>]+@""",
        rb""":(?:\\{0,7}/){2}[^\s/:@"'<>\\\[]{0,100}+:(?!\[REDACTED:|[$%]?[{(])([^\s/?#"'<>\\]{1,200})@""",
        _group_1,
    ),
    _context(
        "url_password",
        _SLASHES + rb"[A-Za-z0-9_-]+@",
        rb":(?:\\{0,7}/){2}([A-Za-z0-9_-]{20,200}+)@",
        _group_1,
    ),
    _token("anthropic_key", rb"sk-ant-", _URLSAFE, 20),
    _token("langfuse_key", rb"sk-lf-", _URLSAFE, 20),
    _token("openrouter_key", rb"sk-or-", _URLSAFE, 20),
    _token("openai_key", rb"sk-", _URLSAFE, 20, _looks_drawn),
    _token("google_key", rb"AIza", _URLSAFE, 35),
    _token("google_token", rb"ya29\.", _URLSAFE, 20),
    _token("google_client_secret", rb"GOCSPX-", _URLSAFE, 20),
    _rule(
        "aws_secret_key",
        rb"A[A-Z]{2}A[A-Z2-7]{16}",
        START + rb"A(?:KI|SI)A[A-Z2-7]{16}[\s,;:|\"'\\]{1,8}" + _BASE64 + rb"{40}(?![A-Za-z0-9+/=])",
    ),
    _exactly("aws_access_key", rb"A(?:KI|SI|BI|CC)A", b"[A-Z2-7]", 16),
    _token("aws_bedrock_key", rb"ABSK", _BASE64, 100),
    Rule(
        "azure_key",
        rb"JQQJ99[A-Za-z0-9]{12}",
        _around(START + rb"[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{20,40}+", 52, 50),
    ),
    Rule(
        "azure_client_secret",
        rb"[0-9]Q~[A-Za-z0-9_.~-]{12}",
        _around(START + rb"[\w.~-]{3}[0-9]Q~[\w.~-]{31,34}+", 3, 50),
    ),
    _rule(
        "azure_storage_key",
        rb"(?i)(?:account|sharedaccess)key=[A-Za-z0-9+/\\]{12}",
        rb"(?i:account|sharedaccess)(?i:key)=(" + _BASE64 + rb"{40,100}+={0,2})",
        _group_1,
    ),
    _rule("azure_sas", rb"[?&]sig=[A-Za-z0-9%+/\\]{12}", rb"[?&]sig=([A-Za-z0-9%+/\\]{40,100}+=?)", _group_1),
    _token("huggingface_token", rb"hf_", _ALNUM, 30),
    _token("groq_key", rb"gsk_", _ALNUM, 40),
    _token("xai_key", rb"xai-", _ALNUM, 40),
    _token("perplexity_key", rb"pplx-", _ALNUM, 40),
    _token("replicate_token", rb"r8_", _ALNUM, 37),
    _token("fireworks_key", rb"fw_", _ALNUM, 22),
    _token("nvidia_key", rb"nvapi-", _URLSAFE, 40),
    _token("langsmith_key", rb"lsv2_(?:pt|sk)_", b"[a-f0-9_]", 32),
    _token("tavily_key", rb"tvly-", _URLSAFE, 28),
    _exactly("databricks_token", rb"dapi", b"[a-f0-9]", 32),
    _token("github_token", rb"gh[pousr]_", _ALNUM, 36),
    _token("github_token", rb"github_pat_", b"[A-Za-z0-9_]", 40),
    _token("gitlab_token", rb"gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|imt|oas)-", _URLSAFE, 20),
    _token("slack_token", rb"xox[abeoprs]-", _URLSAFE, 16),
    _token("slack_token", rb"xapp-[0-9]-", _URLSAFE, 20),
    _rule(
        "slack_webhook",
        rb"hooks\.slack\.com\\*/services",
        rb"hooks\.slack\.com\\{0,7}/services\\{0,7}/([A-Za-z0-9]{6,16}\\{0,7}/[A-Za-z0-9]{6,16}\\{0,7}/\w{16,40}+)",
        _group_1,
    ),
    _token("stripe_key", rb"[rs]k_(?:live|test)_", _ALNUM, 16),
    _token("stripe_webhook_secret", rb"whsec_", _BASE64, 24),
    _exactly("twilio_key", rb"SK", b"[a-f0-9]", 32),
    _exactly("twilio_account", rb"AC", b"[a-f0-9]", 32),
    _rule(
        "sendgrid_key",
        rb"SG\.[A-Za-z0-9_-]{12}",
        START + rb"SG\.[\w-]{16,32}\.[\w-]{16,64}+",
    ),
    _exactly("mailgun_key", rb"key-", b"[a-f0-9]", 32),
    _token("npm_token", rb"npm_", _ALNUM, 36),
    _token("pypi_token", rb"pypi-", _URLSAFE, 50),
    _token("docker_token", rb"dckr_(?:pat|oat)_", _URLSAFE, 20),
    _token("vault_token", rb"hv[sb]\.", _URLSAFE, 24),
    _token("digitalocean_token", rb"do[opr]_v1_", b"[a-f0-9]", 64),
    _token("shopify_token", rb"shp(?:at|ca|pa|ss)_", b"[A-Fa-f0-9]", 32),
    _token("atlassian_token", rb"ATATT3", b"[A-Za-z0-9_=-]", 50),
    _token("grafana_token", rb"gl(?:sa|c)_", b"[A-Za-z0-9_+=]", 32),
    _token("linear_key", rb"lin_api_", _ALNUM, 32),
    _token("notion_token", rb"ntn_", _ALNUM, 40),
    _rule("telegram_token", rb"[0-9]{8,10}:AA[A-Za-z0-9_-]{12}", START + rb"[0-9]{8,10}:AA[\w-]{32,34}+"),
    _token("age_key", rb"AGE-SECRET-KEY-1", b"[A-Z0-9]", 50),
    _rule(
        "jwt",
        rb"eyJ[A-Za-z0-9_-]{9}",
        rb"(?:(?<![\w-])|(?<=\\[bfnrt])|(?<=%[0-9A-Fa-f]{2}))eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]*+){1,3}+",
    ),
    _context(
        "bearer_token",
        rb"(?i)bearer" + _SPACE + rb"+[a-z0-9_.~+/=-]{8}",
        rb"(?i:bearer)" + _SPACE + rb"{1,3}([\w.~+/=-]{12,4000}+)",
        _has_digit,
    ),
    _context(
        "basic_credentials",
        rb"(?i)basic" + _SPACE + rb"+[a-z0-9+/\\]{8}",
        rb"(?i:basic)" + _SPACE + rb"{1,3}(" + _BASE64 + rb"{8,400}+={0,2})",
        _is_pair,
    ),
)
"""Where several begin at one place, the first that finds something there wins."""
