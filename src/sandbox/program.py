"""Runs a program in the confined child: as ``__main__``, with echo of a last bare expression and a report.

Runs inside the jail, with the standard library only. The child reports on its own program: at worst the
program misreports itself, but it cannot fake an infrastructure failure.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import errno
import io
import json
import linecache
import os
import sys
import threading
import traceback
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from src.sandbox.protocol import read_exactly

ERROR_CHARS = 2000
_READY_MADE = {  # created in advance: one is common, the other may occur when no memory is left
    "ok": b'{"status": "ok", "error": null}\n',
    "memory": b'{"status": "memory", "error": null}\n',
}
_HALF = ERROR_CHARS // 2
_SOURCE_CHARS = 1_000_000  # of a program that can look at its own source
_write, _exit = os.write, os._exit  # saved, since a program may replace them


def last_line(error: BaseException) -> str:
    """Return an exception as one line, ``NameError: name 'x' is not defined``, cut in the middle if long."""
    if isinstance(error, SyntaxError):
        text = f"{type(error).__name__}: {error.msg}"
    else:
        error.__notes__ = []
        text = "".join(traceback.format_exception_only(type(error), error))
    text = " ".join(text.split())
    if len(text) > ERROR_CHARS:
        text = f"{text[:_HALF]} ... {text[-_HALF:]}"
    return text


class Heard(io.RawIOBase):
    """The beginning and the end of what a program writes to ``sys.stderr``."""

    def __init__(self) -> None:
        self._head, self._tail, self._size = b"", b"", 0

    def writable(self) -> bool:
        """See RawIOBase."""
        return True

    def fileno(self) -> int:
        """Return the descriptor that it stands for: what is written there directly is lost."""
        return 2

    def write(self, data: Any) -> int:
        """See RawIOBase."""
        part = bytes(data)
        room = _HALF - len(self._head)
        self._head += part[:room]
        self._tail = (self._tail + part[room:])[-_HALF:]
        self._size += len(part)
        return len(part)

    def take(self) -> str:
        """Return what was written, cut in the middle if long, and forget it."""
        cut = b" ... " if self._size > len(self._head) + len(self._tail) else b""
        text = (self._head + cut + self._tail).decode("utf-8", "replace")
        self._head, self._tail, self._size = b"", b"", 0
        return text


class Streams(NamedTuple):
    """The streams of programs that are looked at when they end, and what reached stderr."""

    stdout: io.TextIOWrapper
    stderr: io.TextIOWrapper
    heard: Heard

    def end(self) -> str:
        """Flush both; return what the program wrote to stderr."""
        for stream in (self.stdout, self.stderr):
            with contextlib.suppress(OSError, ValueError):  # the program may have closed its own output
                stream.flush()
        return self.heard.take()


def _compile(code: str, name: str, echoes: bool) -> tuple[CodeType, CodeType | None]:
    """Return the program and, with ``echoes``, its last statement separately if that is a bare expression."""
    tree = ast.parse(code, name)
    last = tree.body[-1] if tree.body and echoes else None
    if not isinstance(last, ast.Expr):
        return compile(tree, name, "exec", dont_inherit=True), None
    tree.body.pop()
    body = compile(tree, name, "exec", dont_inherit=True)
    return body, compile(ast.Expression(last.value), name, "eval", dont_inherit=True)


def _show_source(code: str, name: str) -> None:
    """Let ``inspect.getsource``, warnings and tracebacks find the program's lines."""
    if len(code) <= _SOURCE_CHARS:
        linecache.cache[name] = len(code), None, [f"{line}\n" for line in code.split("\n")], name


def _shown(value: object) -> str:
    """Return a value's text as its echo: numpy's scalars, also within others, look like plain numbers."""
    numpy: Any = sys.modules.get("numpy")
    # before version 2 they did so anyway
    if not str(getattr(numpy, "__version__", "")).startswith("2.") or isinstance(value, numpy.ndarray):
        return repr(value)
    with numpy.printoptions(legacy="1.25"):
        return repr(value)


def _join_threads() -> None:
    """Wait for the threads of the program, as at the end of a script."""
    for thread in threading.enumerate() if threading.active_count() > 1 else ():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def _execute(code: str, module: ModuleType, name: str, echoes: bool) -> tuple[str, str | None]:
    """Run ``code`` in ``module`` as file ``name``; return the status and the error line."""
    sys.modules["__main__"] = module
    try:
        body, echo = _compile(code, name, echoes)
        _show_source(code, name)
        exec(body, module.__dict__)
        if echo is not None:
            value = eval(echo, module.__dict__)
            if value is not None:
                sys.stdout.write(f"{_shown(value)}\n")
        _join_threads()
    except SystemExit as error:
        if error.code is None or error.code == 0:
            return "ok", None
        return "error", f"SystemExit: {error.code}"[:ERROR_CHARS]
    except MemoryError:
        return "memory", None
    except BaseException as error:
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:  # mmap, for one
            return "memory", None
        return "error", last_line(error)
    return "ok", None


def open_streams() -> Streams:
    """Give programs their standard streams: stdin and stdout on descriptors 0 and 1, stderr in memory."""
    heard = Heard()
    stdout, stderr = (
        # line-buffered, so that output before a limit is not lost
        io.TextIOWrapper(
            io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
        for raw in (io.FileIO(1, "w", closefd=False), heard)
    )
    streams = {"stdin": os.fdopen(0, closefd=False), "stdout": stdout, "stderr": stderr}
    for name, stream in streams.items():
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    return Streams(stdout, stderr, heard)


def _receive(orders: int) -> str | None:
    """Return the next program: 8 bytes with its length, then utf-8; None at the end."""
    header = read_exactly(orders, 8)
    body = None if header is None else read_exactly(orders, int.from_bytes(header, "big"))
    return None if body is None else body.decode("utf-8", "surrogatepass")


def order(code: str) -> bytes:
    """Return the message that makes a waiting child run ``code``."""
    body = code.encode("utf-8", "surrogatepass")
    return len(body).to_bytes(8, "big") + body


def serve(streams: Streams, orders: int, report: int, keep: bool, echoes: bool, number: int = 0) -> None:
    """Execute the program read from ``orders``, write one line to ``report``, and end the process.

    ``streams`` come from :func:`open_streams`. ``keep``: continue with the next program in the same namespace
    instead; ``number``: of programs before the first that count. ``echoes``: write the value of a last bare
    expression. Exit handlers are not run.
    """
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    exit_code = 1
    try:
        while (code := _receive(orders)) is not None:
            if not keep:
                os.close(orders)
            number += 1
            # a name for each, so that functions of earlier programs keep their own source
            name = "<program>" if number == 1 else f"<program {number}>"
            status, error = _execute(code, module, name, echoes)
            done, heard = _READY_MADE.get(status), streams.end()
            if done is None or (heard and status == "ok"):
                done = json.dumps({"status": status, "error": error, "stderr": heard}).encode() + b"\n"
            _write(report, done)
            exit_code = 0
            if not keep:
                break
    except MemoryError:
        _write(report, _READY_MADE["memory"])
    finally:
        _exit(exit_code)
