"""A caller's wish to keep content out: such a header can only ever reduce what is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from kong_ai_tracing.entries import first_text

_YES = frozenset(("1", "true", "yes", "on"))
_NO = frozenset(("0", "false", "no", "off"))

# The value that asks for less, and whether it is about the input and the output.
_HEADERS: dict[str, tuple[frozenset[str], bool, bool]] = {
    "langfuse-mask-input": (_YES, True, False),
    "langfuse-mask-output": (_YES, False, True),
    "x-litellm-enable-message-redaction": (_YES, True, True),
    "cf-aig-collect-log": (_NO, True, True),
    "cf-aig-collect-log-payload": (_NO, True, True),
    "helicone-omit-request": (_YES, True, False),
    "helicone-omit-response": (_YES, False, True),
}
_NAMES = frozenset(_HEADERS)
_MEMBERS = {
    "mask_input": (True, False),
    "mask_output": (False, True),
    "langfuse_mask_input": (True, False),
    "langfuse_mask_output": (False, True),
}


class OptOut(Struct, frozen=True):
    """What a caller wants kept out."""

    input: bool = False
    output: bool = False


def opt_out_of(headers: Mapping[str, Any], metadata: Mapping[str, Any]) -> OptOut | None:
    """The wish in the headers (names in lower case with hyphens) and the body's `metadata`, if any."""
    if not metadata and _NAMES.isdisjoint(headers):
        return None
    asked = [
        (about_input, about_output)
        for name in _NAMES.intersection(headers)
        for words, about_input, about_output in (_HEADERS[name],)
        if (first_text(headers[name]) or "").lower() in words
    ]
    if metadata:
        asked += [
            _MEMBERS[name]
            for name in _MEMBERS.keys() & metadata.keys()
            if metadata[name] is True or str(metadata[name]).lower() in _YES
        ]
    if not asked:
        return None
    return OptOut(any(each[0] for each in asked), any(each[1] for each in asked))
