"""Deterministic ids, derived as the Langfuse SDKs derive ids from a seed.

The same seed gives the same id on any host at any time, so that a replay overwrites instead of
doubling, and an application that knows its `X-Kong-Request-Id` can compute the ids itself.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256

_HEX_32 = re.compile(r"[0-9a-f]{32}")
_HEX_16 = re.compile(r"[0-9a-f]{16}")
_NEW = sha256()
"""Copied for each digest: OpenSSL takes longer to make one ready than to digest a seed."""
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16


@lru_cache(64)
def _digest(seed: str) -> str:
    """Remembered, because a call that is a trace by itself has one seed for both ids."""
    digest = _NEW.copy()
    digest.update(seed.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def trace_id_from_seed(seed: str) -> str:
    """32 lower-case hex digits: the first 16 bytes of SHA-256 of the seed."""
    return _digest(seed)[:32]


def observation_id_from_seed(seed: str) -> str:
    """16 lower-case hex digits: the first 8 bytes of SHA-256 of the seed."""
    return _digest(seed)[:16]


def trace_id_from(value: str) -> str | None:
    """A caller's own trace id in Langfuse's form.

    32 hex digits (dashes of a UUID allowed) are used as they are, 16 hex digits (B3, Jaeger) are padded
    on the left; any other text is a seed. None for an empty or an all-zero id.
    """
    value = value.strip()
    bare = value.lower().replace("-", "")
    if _HEX_32.fullmatch(bare):
        return bare if bare != _NO_TRACE else None
    if _HEX_16.fullmatch(bare):
        return trace_id_from(bare.zfill(32))
    return trace_id_from_seed(value) if value else None


def observation_id_from(value: str) -> str | None:
    """A caller's own span id in Langfuse's form: 16 hex digits as they are, any other text is a seed."""
    bare = value.strip().lower()
    if _HEX_16.fullmatch(bare):
        return bare if bare != _NO_SPAN else None
    return observation_id_from_seed(value.strip()) if bare else None
