"""Kong AI traffic in Langfuse, read from the lines of Kong's bundled ``file-log`` plugin."""

__version__ = "0.1.0"
