"""Notices that a server has gone whose connections stay open.

A vLLM server that is told to end stops its engine at once, and then waits for its requests, which never end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

_EVERY = 10.0  # seconds between looks
_FAILURES = 3  # in a row; a busy server may be slow to answer
_ANSWER = 5.0  # seconds


async def watch(url: str, running: Callable[[], bool], lost: Callable[[str], None]) -> None:
    """Look at a server for as long as the task lives.

    Args:
        url: of the server.
        running: whether it has anything to do; otherwise it is left alone.
        lost: called with the reason, each time that it has not answered ``_FAILURES`` times in a row.
    """
    failures = 0
    while True:
        await asyncio.sleep(_EVERY)
        problem = await _problem(url) if running() else None
        failures = failures + 1 if problem is not None else 0
        if problem is not None and failures == _FAILURES:
            failures = 0
            lost(problem)


async def _problem(url: str) -> str | None:
    """Return why the server is gone; a new connection, since old ones outlive it."""
    timeout = aiohttp.ClientTimeout(total=_ANSWER)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url}/health") as answer:
            return f"status {answer.status}" if answer.status >= 500 else None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return f"{type(error).__name__}: {error}"
