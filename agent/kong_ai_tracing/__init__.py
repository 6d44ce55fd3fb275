"""Kong AI traffic in Langfuse, read from the lines of Kong's bundled ``file-log`` plugin."""

import sys

__version__ = "0.1.0"

# httpx loads its own command line program where it can, and with it rich, pygments and click: a fifth of the
# daemon's start and some megabytes that nothing uses. It is made to go without it, as if they were missing.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
