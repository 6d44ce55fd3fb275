"""Where the two keys of a Langfuse project may come from besides the configuration itself.

In this order: the file that `langfuse_secret_key_file` names, the credentials folder of the systemd unit,
the variables of Langfuse's own SDKs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from kong_ai_tracing.config.problems import Problem
from kong_ai_tracing.config.values import Given

SYSTEM_SECRETS = Path("/etc/kong-ai-tracing/secrets")
KEY_NAMES = ("langfuse_public_key", "langfuse_secret_key")
_MAX_BYTES = 4096


class Elsewhere(Struct, frozen=True):
    """A key that was looked for and not read."""

    source: str
    trouble: str = ""
    """Why nothing can be said of it, or why it could not be used."""


class Unseen(Struct, frozen=True):
    """A folder that this user may not look into; the key may be in it."""

    folder: Path


def key_from_elsewhere(
    name: str, given: Mapping[str, Given], environ: Mapping[str, str], *, suffix: str = ""
) -> Given | Problem | None:
    """The key called `name` unless it was given itself; None when nobody has it.

    `suffix` is what stands behind the name in the credentials folder for a project of its own.
    """
    match place_of_key(name, given, environ, suffix=suffix):
        case Path() as path:
            return _read(path, f"{name}_file" if f"{name}_file" in given else name)
        case str() as variable:
            return Given(environ[variable].strip(), variable, is_text=True)
        case Problem() as problem:
            return problem
        case _:
            return None


def place_of_key(
    name: str, given: Mapping[str, Given], environ: Mapping[str, str], *, suffix: str = ""
) -> Path | str | Problem | Unseen | None:
    """The file that holds the key, or the environment variable; nothing is read."""
    itself, named_file = given.get(name), given.get(f"{name}_file")
    if itself and named_file and itself.is_text == named_file.is_text:
        reason = f"{name} is given in the same place"
        return Problem(
            f"{name}_file", str(named_file.value), reason, "keep only one of the two", named_file.source
        )
    if itself and (itself.is_text or not named_file or not named_file.is_text):
        return None
    if named_file:
        return Path(str(named_file.value))
    credential = _credential(name + suffix, environ)
    if isinstance(credential, Path):
        return credential
    if not suffix and environ.get(name.upper(), "").strip():
        return name.upper()
    return credential


def unread_key(
    name: str, given: Mapping[str, Given], environ: Mapping[str, str], *, suffix: str = ""
) -> Elsewhere | None:
    """Where a key would come from that is not needed now; None when it was given itself or by nobody."""
    match place_of_key(name, given, environ, suffix=suffix):
        case Path() as path:
            try:
                path.open("rb").close()
            except OSError as error:
                return Elsewhere(str(path), error.strerror or str(error))
            return Elsewhere(str(path))
        case str() as variable:
            return Elsewhere(variable)
        case Unseen() as unseen:
            return Elsewhere(str(unseen.folder), "this user cannot look into it")
        case Problem() as problem:
            return Elsewhere(problem.source, problem.reason)
        case _:
            return None


def _credential(name: str, environ: Mapping[str, str]) -> Path | Unseen | None:
    # Without systemd's folder, for example in a check by root, the place it is filled from.
    folder = Path(environ.get("CREDENTIALS_DIRECTORY") or SYSTEM_SECRETS)
    # LoadCredential= of a folder puts its name before each file's: "secrets_langfuse_secret_key".
    for path in (folder / f"secrets_{name}", folder / name):
        try:
            if path.exists():
                return path
        except PermissionError:
            return Unseen(folder)
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
