"""Work in threads, work that is waited for, and cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def within(seconds: float | None, work: Awaitable[object]) -> bool:
    """Wait for work no longer than that; False when the time was over.

    Not `asyncio.wait_for`: before Python 3.12 it takes no notice of a cancellation that comes in the moment
    in which the work ends. The task then goes on, and who cancelled it waits for ever.
    """
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        return False
    return True


async def to_its_end(work: Awaitable[T]) -> T:
    """Wait for work even when cancelled: its thread goes on, on things that would be used next."""
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        if not future.cancelled():
            future.exception()  # looked at, so that it is not reported as forgotten
        raise
