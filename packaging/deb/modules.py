"""Unpack wheels into one folder that serves several Pythons.

Compiled modules carry the Python they are for in their names, so those for all of them lie side by side;
every other file must be the same in all wheels of a library. A wheel whose digest is not in the lock is
refused.

    modules.py requirements.lock WHEELS FOLDER
"""

import hashlib
import re
import sys
import zipfile
from pathlib import Path, PurePosixPath

_LEFT_OUT = re.compile(
    r"""[^/]+\.dist-info/(RECORD|WHEEL|INSTALLER|REQUESTED|direct_url\.json|entry_points\.txt|top_level\.txt)$
      | [^/]+\.dist-info/sboms/
      | [^/]+\.data/scripts/
      | [^/]+/(tests?|\.[^/]+)/
      | isal/isa-l/(?!LICENSE)
      | .*\.(pyi|pyx|pxd|c|h|cc)$""",
    re.VERBOSE,
)
"""What only installers, compilers and type checkers want, or differs between the wheels of one library."""


def unpack(lock: Path, wheels: Path, folder: Path) -> None:
    """Raises SystemExit when a wheel is not in the lock, or two of them disagree."""
    known = set(re.findall(r"sha256:([0-9a-f]{64})", lock.read_text()))
    found = sorted(wheels.glob("*.whl"))
    if not found:
        sys.exit(f"modules.py: no wheels in {wheels}")
    for wheel in found:
        if hashlib.sha256(wheel.read_bytes()).hexdigest() not in known:
            sys.exit(f"modules.py: {wheel.name} is not in {lock}")
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if not name.endswith("/") and not _LEFT_OUT.match(name):
                    _put(folder / _place(name, wheel), archive.read(name), wheel)


def _place(name: str, wheel: Path) -> str:
    path = PurePosixPath(name)
    if ".." in path.parts or path.is_absolute() or path.parts[0].endswith(".data"):
        sys.exit(f"modules.py: {wheel.name} has {name}, which has no place in a folder of modules")
    return name


def _put(path: Path, content: bytes, wheel: Path) -> None:
    if path.exists() and path.read_bytes() != content:
        sys.exit(f"modules.py: {path} of {wheel.name} is not that of another wheel of this library")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    unpack(*map(Path, sys.argv[1:]))
