"""Runs the programs of the solution writer in this process, to learn their output.

Only for programs that this package wrote; a policy's programs go to the sandbox. A test compares the two.
"""

from __future__ import annotations

import contextlib
import io
import traceback
from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """What one program printed, or the last line of its exception."""

    ok: bool
    text: str


def run_own(code: str) -> Said:
    """Run a program of the solution writer."""
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(code, "<program>", "exec"), {"__name__": "__main__"})
    except Exception as error:  # whatever a beginner's mistake raises
        return Said(False, traceback.format_exception_only(error)[-1].strip())
    return Said(True, out.getvalue().strip())
