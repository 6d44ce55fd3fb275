"""Secrets that only their name gives away: `password=…`, `"api_key": "…"`.

In JSON a member's name says it by itself. In running text, where code and prose speak of passwords too,
the value must look like one.
"""

from __future__ import annotations

import re

from kong_ai_tracing.redaction.rules import Check, Rule, Span, at

PASSWORD, SECRET, AWS_SECRET = "password", "secret", "aws_secret_key"

_PASSWORD_NAMES = rb"(?:passw(?:or)?d|passphrase|passcode|pwd)"
_SECRET_NAMES = (
    rb"(?:secret|(?:api|access|secret|private|auth|account|master|signing|encryption|subscription)[-_ ]?key"
    rb"|token|credentials?|connection[-_]?string|authorization)"
)
_AWS_NAMES = rb"(?:secret_?access_?key|aws_?secret(?:_?key)?)"
_NAME = re.compile(rb"(?i:(?P<aws>%s)|(?P<password>%s)|%s)\Z" % (_AWS_NAMES, _PASSWORD_NAMES, _SECRET_NAMES))
_LONGEST_NAME = 100
_HARMLESS = (b"page", b"next", b"cursor", b"continuation", b"max", b"stop", b"special", b"public")
"""What stands before `token` or `key` when it opens no door: paging, tokenizers, public halves."""
_HARMLESS_BYTES = 16

_AWS_VALUE = rb"(?:[A-Za-z0-9+]|\\?/){40}"
_TEMPLATE = re.compile(rb"[<${%*\[]|\.\.\.|(?i:xxx|your|redacted|process\.|os\.|env\.)")
_MEMBER = re.compile(rb"[A-Za-z_]\w*+(?:\.[A-Za-z_]\w*+)++")
_IDENTIFIER = re.compile(rb"[A-Za-z]++(?:_[A-Za-z]++)*+[0-9]{0,2}")
_TYPE_WORDS = frozenset(
    b"string str text bytes number integer boolean object array null none nil true false undefined required"
    b" optional hidden password passwd secret token authorization credentials bearer basic".split()
)
_DIGIT = re.compile(rb"[0-9]")
_LETTER = re.compile(rb"[A-Za-z]")
_DIGIT_OR_SYMBOL = re.compile(rb"[0-9!#$%&*?@^~+]")


def kind_of_name(name: bytes) -> str | None:
    """The kind of secret that a member of this name holds, if any."""
    if len(name) > _LONGEST_NAME or not (match := _NAME.search(name)):
        return None
    if match["password"] is not None:
        return PASSWORD
    if match["aws"] is not None:
        return AWS_SECRET
    return None if _is_harmless(name[: match.start()]) else SECRET


def is_secret(kind: str, value: bytes) -> bool:
    """Whether what a member of that name holds is one: any password, and what looks like a key, also after
    the word for its scheme."""
    if len(value) < 4 or _TEMPLATE.match(value):
        return False
    if kind == PASSWORD:
        return True
    words = value.split()
    return len(words) <= 2 and _looks_like_a_key(words[-1])


def _is_harmless(before: bytes) -> bool:
    return before.lower().rstrip(b"_- ").endswith(_HARMLESS)


def _looks_like_a_key(value: bytes) -> bool:
    return bool(len(value) >= 8 and b" " not in value and _DIGIT.search(value) and _LETTER.search(value))


def _password(match: re.Match[bytes]) -> Span | None:
    quoted, bare = match["quoted"], match["bare"]
    value = bare if quoted is None else quoted
    if _TEMPLATE.match(value) or value.lower() in _TYPE_WORDS:
        return None
    if quoted is not None:
        return match.span("quoted") if b" " not in value or _DIGIT.search(value) else None
    if value[:1] in b"/~." or _MEMBER.fullmatch(value) or not _DIGIT_OR_SYMBOL.search(value):
        return None
    return match.span("bare")


def _secret(match: re.Match[bytes]) -> Span | None:
    quoted, bare = match["quoted"], match["bare"]
    value = bare if quoted is None else quoted
    if _TEMPLATE.match(value) or not _looks_like_a_key(value):
        return None
    if quoted is None and (_MEMBER.fullmatch(value) or _IDENTIFIER.fullmatch(value)):
        return None
    if _is_harmless(match.string[max(0, match.start() - _HARMLESS_BYTES) : match.start()]):
        return None
    return match.span("bare" if quoted is None else "quoted")


_KEY_BEGINS = rb"""[=>]?\s*[\\"']*(?:[0-9.]+[A-Za-z_/+-]|[^\s0-9."'\\{\[(][^"'\r\n]{5})"""
"""Numbers and short words are no keys; names like `token` are too common to look at each of them."""


def _assigned(kind: str, names: bytes, value: bytes, check: Check) -> Rule:
    """A name, a colon or an equals sign, and a value with quotes around or without."""
    pattern = (
        rb"(?i:%s)" % names
        + rb"""\\{0,7}["']?\s{0,3}(?::=|=>|[:=])\s{0,3}"""
        + rb"""(?:\\{0,7}["'](?P<quoted>[^"'\\\r\n]{4,500}+)(?=\\{0,7}["'])"""
        + rb"""|(?P<bare>(?:[^\s"'`\\,;(){}<>\[\]&]|&(?!\w{1,30}=)){6,500}+)(?![(\[{<]))"""
    )
    return Rule(kind, rb"""(?i)%s["'\\]*\s*[:=]%s""" % (names, value), at(pattern, check), by_context=True)


NAMED: tuple[Rule, ...] = (
    Rule(
        AWS_SECRET,
        rb"(?i)" + _AWS_NAMES + rb"""[\s"'\\]*[:=]""",
        at(
            rb"(?i:%s)" % _AWS_NAMES + rb"""[\s"'\\:=>]{1,12}(%s)(?![A-Za-z0-9+/=])""" % _AWS_VALUE,
            lambda match: match.span(1),
        ),
    ),
    _assigned(PASSWORD, _PASSWORD_NAMES, b"", _password),
    _assigned(SECRET, _SECRET_NAMES, _KEY_BEGINS, _secret),
)
