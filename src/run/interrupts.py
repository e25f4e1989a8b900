"""Ctrl-C, and SIGTERM as job managers send it: what they end, when, and what is said.

Both end a program at once, with one line and the exit code 128 + the signal's number (130, 143). While steps
are trained (:meth:`Interrupts.deferred`) the first one lets the step be finished, and a second one ends it at
once.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from src.run.processes import world_size

# The launcher of several processes hands on what the terminal, or Slurm, has sent to all of them already:
# one signal, not two.
_ECHO = 1.0  # seconds


class Interrupt(KeyboardInterrupt):
    """A signal that ends the program.

    Args:
        number: of the signal.
        says: what is said.
    """

    def __init__(self, number: int = signal.SIGINT, says: str = "") -> None:
        super().__init__(says)
        self.number, self.says = int(number), says

    @property
    def code(self) -> int:
        """The program's exit code."""
        return 128 + self.number


class Interrupts:
    """The signals of this process.

    Attributes:
        asked: number of the signal that came while it was deferred, or None.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._installed = self._defers = self._raised = False
        self._last = float("-inf")

    def install(self) -> None:
        """From now on both signals raise :class:`Interrupt` in the main thread.

        One that this process was told to ignore, as a shell tells its background jobs, stays ignored.
        """
        self._installed = True
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within, the first signal is noted in ``asked``, and only a further one raises."""
        if self._installed:
            self.install()  # a library may have put its own there
        self._defers = True
        try:
            yield
        finally:
            self._defers = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if world_size() > 1 and now - self._last < _ECHO:
            return
        self._last = now
        if self._defers and self.asked is None:
            self.asked = number
            say("stopping after this step, with a checkpoint; a second signal ends it at once")
        elif not self._raised:
            self._raised = True
            raise Interrupt(number)
        else:  # what it raised is stuck somewhere
            os._exit(128 + number)


interrupts = Interrupts()


def say(text: str) -> None:
    """Print a line on stderr, once on each machine, wherever the program is."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        line = f"{text}\n"
        os.write(2, (f"\n{line}" if os.isatty(2) else line).encode())  # there is a bar, or ^C


def end(error: KeyboardInterrupt) -> SystemExit:
    """Say what an interrupt has to say, and return what ends the program with its code."""
    error = error if isinstance(error, Interrupt) else Interrupt()
    say(error.says or "interrupted")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # a further one needs no traceback either
    return SystemExit(error.code)
