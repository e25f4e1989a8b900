"""The observation that follows a tool call: the text of a ``tool`` segment."""

from __future__ import annotations

from src.formats.base import Format, Piece
from src.rollout.boundary import Boundary
from src.sandbox import Status
from src.tools.base import ToolResult

BARE = "error"
SPENT = "The budget of code executions is spent: code no longer runs."


def shorten(text: str, limit: int) -> str:
    """Shorten ``text`` to at most ``limit`` characters by removing its middle."""
    if len(text) <= limit:
        return text
    mark = "\n...\n"
    head = (limit - len(mark) + 1) // 2
    tail = limit - len(mark) - head
    return text[:head] + mark + text[len(text) - tail :]


def message(result: ToolResult, limit: int, form: Format, errors: str = "message") -> str:
    """Return what a tool result says: output, or the last line of the exception, with markup neutralised.

    Args:
        result: of the tool call.
        limit: most characters.
        form: the format whose calls and results the message must not contain.
        errors: ``rollout.errors``; with ``bare`` the message of any failure is only "error".
    """
    if errors == "bare" and result.status is not Status.OK:
        return BARE
    # Cutting can join two halves of a tag, so markup is neutralised afterwards.
    return form.neutralise(shorten(result.output, limit))


def observation(text: str, boundary: Boundary, form: Format) -> list[Piece]:
    """Return the tool segment after a boundary; ``text`` is a :func:`message` or :data:`SPENT`."""
    return form.render(text, after_newline=boundary.after_newline, opened=boundary.opened)
