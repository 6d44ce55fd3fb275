"""Data about people, each with the check that tells it from other digits and words."""

from __future__ import annotations

import re
import string
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from kong_ai_tracing.redaction.rules import START, Locate, Rule, Span, at

_CARD_NUMBER = re.compile(
    rb"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    rb"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    rb"|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}"  # American Express, Diners Club
    rb"|(?:6011|65\d\d|64[4-9]\d|35[2-8]\d)\d{12}"  # Discover, JCB
    rb"|62\d{14,17}|(?:5018|5020|5038|6304|6759|676[1-3])\d{12}"  # UnionPay, Maestro
)
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def _digits(text: bytes) -> bytes:
    return text.translate(None, b" -.()/\\")


def is_card_number(digits: bytes) -> bool:
    """A number of a known issuer whose last digit is right (Luhn)."""
    if not _CARD_NUMBER.fullmatch(digits):
        return False
    values = [digit - 48 for digit in reversed(digits)]
    return (sum(values[::2]) + sum(_DOUBLED[value] for value in values[1::2])) % 10 == 0


def _card(match: re.Match[bytes]) -> Span | None:
    """A year or a checksum that follows may look like one more group."""
    text = match[0]
    while not is_card_number(_digits(text)):
        end = max(text.rfind(b" "), text.rfind(b"-"))
        if end < 0:
            return None
        text = text[:end]
    return match.start(), match.start() + len(text)


_IBAN_LENGTHS = {
    length: frozenset(countries.encode().split())
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FO FI GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC",
        32: "LC", 33: "RU",
    }.items()
}  # fmt: skip
_IBAN_LENGTH = {country: length for length, countries in _IBAN_LENGTHS.items() for country in countries}


def is_iban(text: bytes) -> bool:
    """The length of its country, and the right check digits (mod 97)."""
    if _IBAN_LENGTH.get(text[:2]) != len(text):
        return False
    turned = text[4:] + text[:4]
    return int("".join(str(int(chr(character), 36)) for character in turned)) % 97 == 1


def _iban(match: re.Match[bytes]) -> Span | None:
    """Words that follow in capitals look like one more group: the country says where it ends."""
    text = match[0]
    length = _IBAN_LENGTH.get(text[:2], 0)
    if not is_iban(text.replace(b" ", b"")[:length]):
        return None
    compact, end = b"", 0
    while len(compact) < length and end < len(text):
        if (character := text[end : end + 1]) != b" ":
            compact += character
        end += 1
    if not is_iban(compact) or text[end : end + 1].isalnum():
        return None
    return match.start(), match.start() + end


def _phone(match: re.Match[bytes]) -> Span | None:
    number = match[0].rstrip(b" .-(/")
    digits = _digits(number).lstrip(b"+")
    if digits.startswith(b"00"):
        digits = digits[2:]
    if not 8 <= len(digits) <= 15:
        return None
    return match.start(), match.start() + len(number)


def _ipv4(match: re.Match[bytes]) -> Span | None:
    """An address of a host; `4.0.0.0` is a network or a version."""
    try:
        address = IPv4Address(match[0].decode())
    except AddressValueError:
        return None
    if address.is_loopback or address.is_unspecified or match[0].endswith(b".0.0"):
        return None
    return match.span()


def _ipv6(match: re.Match[bytes]) -> Span | None:
    text = match[0] if match[0].endswith(b"::") else match[0].rstrip(b":")
    try:
        IPv6Address(text.decode())
    except AddressValueError:
        return None
    return match.start(), match.start() + len(text)


_IPV6_START = rb"(?:[23][0-9A-Fa-f]{3}|[Ff][CcDd][0-9A-Fa-f]{2}|[Ff][Ee][89ABab][0-9A-Fa-f])"
"""Public, private and link-local addresses; `std::abc` and `12:30:00` are none."""

_ESCAPES = (b"b", b"f", b"n", b"r", b"t")
_LOCAL_PART = bytes({*string.ascii_letters.encode(), *string.digits.encode(), *b"._+%'-", *range(128, 256)})
_NOT_FIRST = b".+%'-"
_LONGEST_LOCAL_PART = 64
_DOMAIN = re.compile(rb"@(?:[A-Za-z0-9\x80-\xff-]{1,63}+\.){1,6}[A-Za-z]{2,24}")


def _email(text: bytes, start: int, settled: int) -> Span | None:
    """From the sign in the middle back to where the name begins, and on to where the domain ends."""
    domain = _DOMAIN.match(text, start)
    if domain is None:
        return None
    before = text[max(settled, start - _LONGEST_LOCAL_PART) : start]
    name = before[len(before.rstrip(_LOCAL_PART)) :].lstrip(_NOT_FIRST)
    first = start - len(name)
    if name[:1] in _ESCAPES and text[first - 1 : first] == b"\\":
        first += 1
    return (first, domain.end()) if first < start else None


def _behind_escape(locate: Locate) -> Locate:
    """For a trigger that may begin with the escape of JSON which stands before what is looked for."""
    return lambda text, start, settled: locate(text, start + 2 * text.startswith(b"\\", start), settled)


PERSONAL: tuple[Rule, ...] = (
    Rule("email", rb"@[A-Za-z0-9\x80-\xff-]+\.[A-Za-z]", _email, "personal"),
    Rule(
        "iban",
        rb"[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4} ?[A-Z0-9]{4} ?[A-Z0-9]{3}",
        at(START + rb"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,31}", _iban),
        "personal",
    ),
    Rule(
        "card",
        rb"(?:\b|\\[bfnrt])[2-6](?:[ -]?[0-9]){12}",
        _behind_escape(
            at(
                rb"(?:(?<![\w.+])|(?<=\\[bfnrt]))(?<!\d[-.])[2-6]"
                rb"(?:\d{12,18}|\d{3}(?:[ -]\d{4}){2,3}(?:[ -]\d{1,7})?|\d{3}[ -]\d{6}[ -]\d{4,5})"
                rb"(?![A-Za-z0-9_])(?![.-]\d)",
                _card,
            )
        ),
        "personal",
    ),
    Rule(
        "phone",
        rb"\+[1-9][0-9 ().-]{7}|00[1-9][0-9]{0,2}[ /(-][0-9 (]{2}",
        at(
            rb"(?:(?<![\w+./-])|(?<=\\[bfnrt])|(?<=tel[:=]))(?:\+[1-9]\d{0,2}|00[1-9]\d{0,2}(?=[ /(-]))"
            rb"(?:[ .-]?\(?\d{1,12}+\)?(?:/(?=\d))?){1,7}+(?![A-Za-z0-9])",
            _phone,
        ),
        "personal",
    ),
    Rule(
        "ip",
        rb"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
        at(
            rb"(?:(?<![\w.-])|(?<=\\[bfnrt]))(?<![A-Za-z]/)(?<![=<>~^]=)(?<![Vv]ersion[ =])(?<![Rr]elease )"
            rb"\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d)",
            _ipv4,
        ),
        "personal",
    ),
    Rule(
        "ip",
        _IPV6_START + rb":[0-9A-Fa-f]{0,4}:",
        at(
            rb"(?:(?<![\w:.])|(?<=\\[bfnrt]))" + _IPV6_START + rb"(?::[0-9A-Fa-f]{0,4}){2,7}+(?![\w:])",
            _ipv6,
        ),
        "personal",
    ),
)
