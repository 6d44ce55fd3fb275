"""It was valid when it was loaded; can the daemon read it too, and nobody else the keys in it?"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from kong_ai_tracing.checks.findings import Finding, Surroundings, as_the_service
from kong_ai_tracing.checks.viewers import SERVICE_USER, Viewer, group_name, myself, user_named
from kong_ai_tracing.config import Config
from kong_ai_tracing.config.destinations import DestinationTable
from kong_ai_tracing.config.loading import SYSTEM_CONFIG
from kong_ai_tracing.secret import Secret


def check_configuration(here: Surroundings) -> Iterator[Finding]:
    """The file, the keys in it and beside it."""
    where = str(here.config_path) if here.config_path else "the environment and the defaults"
    yield Finding("config.valid", "ok", f"the configuration is valid ({where})")
    yield from _readable_for_the_daemon(here)
    yield from _keys_for_everybody(here)


def check_user(here: Surroundings) -> Iterator[Finding]:
    """Whether who asks can see what the service sees. What else would be found were true for nobody."""
    me = myself()
    if me.uid == 0 or me.name == SERVICE_USER or here.config_path != SYSTEM_CONFIG:
        return
    if user_named(SERVICE_USER) is not None:
        yield Finding(
            "config.other_user",
            "error",
            f"{me.name} does not see the logs and the state as {SERVICE_USER} does",
            "what a check finds must be true for the service",
            "check as root: it looks with the rights of the service's user",
            "sudo kong-ai-tracing check",
        )


@as_the_service
def _readable_for_the_daemon(here: Surroundings) -> Iterator[Finding]:
    if here.config_path is None:
        return
    try:
        here.config_path.open("rb").close()
    except PermissionError:
        path = quote(str(here.config_path))
        yield Finding(
            "config.unreadable",
            "error",
            f"{here.config_path} cannot be read by {here.viewer.name}",
            "the daemon does not start",
            "let its group read it",
            f"chgrp {here.viewer.name} {path} && chmod 0640 {path}",
        )
    except OSError:
        return


def _keys_for_everybody(here: Surroundings) -> Iterator[Finding]:
    path, keys = here.config_path, _secret_keys(here)
    if path is not None and keys and _open_to_all(path):
        text = path.read_text(errors="replace")
        if any(key.reveal() in text for key in keys):
            yield Finding(
                "config.secret_readable",
                "warning",
                f"{path} holds the secret key and can be read by every user of this machine",
                "whoever has the key can write into the Langfuse project and read it",
                "close it for others, or keep the key in /etc/kong-ai-tracing/secrets",
                _closing(path, here.viewer),
            )
    for file in _key_files(here):
        if _open_to_all(file):
            yield Finding(
                "config.key_file_readable",
                "warning",
                f"{file} can be read by every user of this machine",
                "whoever has the key can write into the Langfuse project and read it",
                "close it for others",
                _closing(file, here.viewer),
            )


def _closing(path: Path, viewer: Viewer) -> str:
    """Closes a file for others, and leaves it readable for the daemon."""
    where = quote(str(path))
    if viewer.uid in (0, path.stat().st_uid):
        return f"chmod o-rwx {where}"
    return f"chgrp {group_name(viewer.gid)} {where} && chmod 0640 {where}"


def _secret_keys(here: Surroundings) -> list[Secret]:
    tables: tuple[Config | DestinationTable, ...] = (here.config, *here.config.destination)
    return [key for one in tables if (key := one.langfuse_secret_key) is not None]


def _key_files(here: Surroundings) -> list[Path]:
    tables: tuple[Config | DestinationTable, ...] = (here.config, *here.config.destination)
    return [path for one in tables if (path := one.langfuse_secret_key_file) is not None]


def _open_to_all(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH) and all(
            folder.stat().st_mode & stat.S_IXOTH for folder in path.absolute().parents
        )
    except OSError:
        return False
