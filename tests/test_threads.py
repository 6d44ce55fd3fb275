"""Waiting for work: neither its time nor a cancellation may be missed."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest

import kong_ai_tracing
from kong_ai_tracing.threads import within


async def test_work_is_waited_for_no_longer_than_allowed() -> None:
    """Whether it ended in time is told."""
    done = asyncio.Event()
    assert not await within(0.0, done.wait())
    done.set()
    assert await within(None, done.wait())


@pytest.mark.parametrize("steps", range(4))
async def test_a_cancellation_about_when_the_work_ends_is_heard(steps: int) -> None:
    """A task that went on would let who stops it wait for ever."""
    done = asyncio.Event()

    async def work() -> None:
        while True:
            await within(60, done.wait())
            done.clear()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    done.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    finished, _ = await asyncio.wait({task}, timeout=30)
    assert finished, "it goes on"


def test_nobody_waits_in_a_way_that_misses_a_cancellation() -> None:
    """`asyncio.wait_for` does before Python 3.12."""
    package = Path(kong_ai_tracing.__file__).parent
    using = [
        path.name
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "asyncio.wait_for"
    ]
    assert using == []
