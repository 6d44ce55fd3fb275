"""Where the two keys of a Langfuse project may come from besides the configuration itself.

In this order: the file that `langfuse_secret_key_file` names, the credentials folder of the systemd unit,
the variables of Langfuse's own SDKs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kong_ai_tracing.config.problems import Problem
from kong_ai_tracing.config.values import Given

SYSTEM_SECRETS = Path("/etc/kong-ai-tracing/secrets")
_MAX_BYTES = 4096


def key_from_elsewhere(
    name: str, given: Mapping[str, Given], environ: Mapping[str, str], *, suffix: str = ""
) -> Given | Problem | None:
    """The key called `name` unless it was given itself; None when nobody has it.

    `suffix` is what stands behind the name in the credentials folder for a project of its own.
    """
    itself, named_file = given.get(name), given.get(f"{name}_file")
    if itself and named_file and itself.is_text == named_file.is_text:
        reason = f"{name} is given in the same place"
        return Problem(
            f"{name}_file", str(named_file.value), reason, "keep only one of the two", named_file.source
        )
    if itself and (itself.is_text or not named_file or not named_file.is_text):
        return None
    if named_file:
        return _read(Path(str(named_file.value)), f"{name}_file")
    if path := _credential(name + suffix, environ):
        return _read(path, name)
    if not suffix and (text := environ.get(name.upper(), "").strip()):
        return Given(text, name.upper(), is_text=True)
    return None


def _credential(name: str, environ: Mapping[str, str]) -> Path | None:
    # Without systemd's folder, for example in a check by root, the place it is filled from.
    folder = Path(environ.get("CREDENTIALS_DIRECTORY") or SYSTEM_SECRETS)
    # LoadCredential= of a folder puts its name before each file's: "secrets_langfuse_secret_key".
    for path in (folder / f"secrets_{name}", folder / name):
        try:
            if path.exists():
                return path
        except PermissionError:
            return None
    return None


def _read(path: Path, key: str) -> Given | Problem:
    # No look at the mode here: systemd's credentials are 0400 on one release and 0440 on the next.
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES).decode("ascii").strip()
    except OSError as error:
        reason = f"the file cannot be read: {error.strerror}"
        return Problem(key, str(path), reason, "put the key there, readable for this user")
    except UnicodeDecodeError:
        return Problem(
            key, str(path), "the file does not hold a key", "write the key and nothing else into it"
        )
    if not text:
        return Problem(key, str(path), "the file is empty", "write the key and nothing else into it")
    return Given(text, str(path), is_text=True)
