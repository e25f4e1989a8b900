"""What the policy reads after an execution: the text of a ``sandbox`` segment."""

from __future__ import annotations

import re

from src.rollout.boundary import Cut
from src.sandbox import ExecutionResult, Status

OPEN = "```output\n"
CLOSE = "\n```\n"
BARE = "error"
NOTICE = "The budget of code executions is spent: code no longer runs."
_FENCE = re.compile(r"`{3,}")


def neutralise(text: str) -> str:
    """Return ``text`` with every run of three or more backticks turned into apostrophes.

    What is left can neither open nor close a fence, wherever it is put (invariant 5).
    """
    return _FENCE.sub(lambda match: "'" * len(match.group()), text)


def shorten(text: str, limit: int) -> str:
    """Cut ``text`` to at most ``limit`` characters, keeping its head and its tail."""
    if len(text) <= limit:
        return text
    mark = "\n...\n"
    head = (limit - len(mark) + 1) // 2
    tail = limit - len(mark) - head
    return text[:head] + mark + text[len(text) - tail :]


def message(result: ExecutionResult, limit: int, errors: str = "message") -> str:
    """Return what one execution says: its output, or the last line of its exception.

    Args:
        result: the execution.
        limit: most characters.
        errors: ``rollout.errors``; with ``bare`` a failure of any kind says that it is one and no more.
    """
    if errors == "bare" and result.status is not Status.OK:
        return BARE
    # Cutting can join two short runs of backticks, so fences are neutralised afterwards.
    return neutralise(shorten(result.output, limit))


def feedback(result: ExecutionResult, limit: int, cut: Cut, errors: str = "message") -> str:
    """Return the whole feedback segment that follows a boundary.

    Args:
        result: the execution.
        limit: most characters of its message.
        cut: where the policy's segment was cut.
        errors: see :func:`message`.
    """
    return _block(message(result, limit, errors), cut)


def notice(cut: Cut) -> str:
    """Return the segment that tells, in place of an execution, that the budget is spent."""
    return _block(NOTICE, cut)


def _block(said: str, cut: Cut) -> str:
    return ("" if cut.after_newline else "\n") + ("" if cut.opened else OPEN) + said + CLOSE
