"""Handles Ctrl-C, and SIGTERM as job managers send it.

Both end a program immediately, with one line and the exit code 128 + the signal's number (130, 143). During
training (:meth:`Interrupts.deferred`) the first one lets the current step finish, and a second one ends it
immediately.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from src.run.processes import world_size

# The launcher forwards signals that the terminal, or Slurm, has already sent to all processes: count these
# once.
_ECHO = 1.0  # seconds


class Interrupt(KeyboardInterrupt):
    """A signal that ends the program.

    Args:
        number: of the signal.
        message: printed when the program ends.
    """

    def __init__(self, number: int = signal.SIGINT, message: str = "") -> None:
        super().__init__(message)
        self.number, self.message = int(number), message

    @property
    def code(self) -> int:
        """The program's exit code."""
        return 128 + self.number


class Interrupts:
    """The signals of this process.

    Attributes:
        asked: number of the signal received while deferred, or None.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._installed = self._defers = self._raised = False
        self._last = float("-inf")

    def install(self) -> None:
        """From now on both signals raise :class:`Interrupt` in the main thread.

        Signals that this process was started to ignore, as shells do for background jobs, stay ignored.
        """
        self._installed = True
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within this context, the first signal is stored in ``asked``, and only a second one raises."""
        if self._installed:
            self.install()  # a library may have replaced the handler
        self._defers = True
        try:
            yield
        finally:
            self._defers = False

    @contextmanager
    def immediate(self) -> Iterator[None]:
        """Within this context, inside of :meth:`deferred`, the first signal raises."""
        defers, self._defers = self._defers, False
        try:
            yield
        finally:
            self._defers = defers

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if world_size() > 1 and now - self._last < _ECHO:
            return
        self._last = now
        if self._defers and self.asked is None:
            self.asked = number
            say("stopping after this step, with a checkpoint; a second signal stops immediately")
        elif not self._raised:
            self._raised = True
            raise Interrupt(number)
        else:  # the exception raised earlier did not end the program
            os._exit(128 + number)


interrupts = Interrupts()


def say(text: str) -> None:
    """Print a line to stderr, once per machine; safe in a signal handler."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        line = f"{text}\n"
        os.write(2, (f"\n{line}" if os.isatty(2) else line).encode())  # after a progress bar, or ^C


def end(error: KeyboardInterrupt) -> SystemExit:
    """Print the message of an interrupt, and return the SystemExit with its exit code."""
    error = error if isinstance(error, Interrupt) else Interrupt()
    say(error.message or "interrupted")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # no traceback for further signals
    return SystemExit(error.code)
