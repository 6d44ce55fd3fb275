"""The systemd unit: whether it is there, and what an administrator has added to it."""

from __future__ import annotations

from pathlib import Path

DROP_INS = "systemd/system/kong-ai-tracing.service.d"
_UNIT = "systemd/system/kong-ai-tracing.service"
_PLACES = (Path("/usr/lib"), Path("/lib"), Path("/etc"))


def unit_is_installed() -> bool:
    """Whether systemd knows the service."""
    return any((place / _UNIT).exists() for place in _PLACES)


def drop_ins(etc: Path) -> list[str]:
    """The texts of the drop-ins, in the order in which they count."""
    texts = []
    for path in sorted((etc / DROP_INS).glob("*.conf")):
        try:
            texts.append(path.read_text())
        except OSError:
            continue
    return texts
