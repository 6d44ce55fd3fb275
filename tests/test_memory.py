"""What large lines needed is given back."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_TRY = """
from kong_ai_tracing.memory import give_back_large_blocks

assert give_back_large_blocks()
learned = bytes(bytearray(30 << 20))
del learned  # from now on glibc would keep blocks of that size in its heap
large, small = [], []
for _ in range(12):
    large.append(b"x" * (12 << 20))
    small.append(b"y" * 200_000)  # stands behind it, so that the heap cannot shrink
del large
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_large_blocks_do_not_stay() -> None:
    """After many megabytes in large blocks the process is about as small as before."""
    done = subprocess.run(
        [sys.executable, "-c", _TRY], capture_output=True, text=True, check=True, timeout=180
    )
    assert int(done.stdout) < 60_000, f"{done.stdout} KB"
