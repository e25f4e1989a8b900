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
import os
import sys
import threading
import traceback
from types import CodeType, ModuleType

from src.sandbox.protocol import read_exactly

ERROR_CHARS = 2000
_READY_MADE = {  # created in advance: one is common, the other may occur when no memory is left
    "ok": b'{"status": "ok", "error": null}\n',
    "memory": b'{"status": "memory", "error": null}\n',
}
_NAME = "<program>"
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
        half = ERROR_CHARS // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return text


def _compile(code: str, echoes: bool) -> tuple[CodeType, CodeType | None]:
    """Return the program and, with ``echoes``, its last statement separately if that is a bare expression."""
    tree = ast.parse(code, _NAME)
    last = tree.body[-1] if tree.body and echoes else None
    if not isinstance(last, ast.Expr):
        return compile(tree, _NAME, "exec", dont_inherit=True), None
    tree.body.pop()
    body = compile(tree, _NAME, "exec", dont_inherit=True)
    return body, compile(ast.Expression(last.value), _NAME, "eval", dont_inherit=True)


def _join_threads() -> None:
    """Wait for the threads of the program, as at the end of a script."""
    for thread in threading.enumerate() if threading.active_count() > 1 else ():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def _execute(code: str, module: ModuleType, echoes: bool) -> tuple[str, str | None]:
    """Run ``code`` in ``module``; return the status and the error line."""
    sys.modules["__main__"] = module
    try:
        body, echo = _compile(code, echoes)
        exec(body, module.__dict__)
        if echo is not None:
            value = eval(echo, module.__dict__)
            if value is not None:
                sys.stdout.write(f"{value!r}\n")
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


def open_streams() -> io.TextIOWrapper:
    """Give programs their standard streams, on descriptors 0 to 2: stdout."""
    # line-buffered, so that output before a limit is not lost
    stdout = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(1, "w", closefd=False)),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )
    streams = {
        "stdin": os.fdopen(0, closefd=False),
        "stdout": stdout,
        "stderr": os.fdopen(2, "w", closefd=False),
    }
    for name, stream in streams.items():
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    return stdout


def _receive(orders: int) -> str | None:
    """Return the next program: 8 bytes with its length, then utf-8; None at the end."""
    header = read_exactly(orders, 8)
    body = None if header is None else read_exactly(orders, int.from_bytes(header, "big"))
    return None if body is None else body.decode("utf-8", "surrogatepass")


def order(code: str) -> bytes:
    """Return the message that makes a waiting child run ``code``."""
    body = code.encode("utf-8", "surrogatepass")
    return len(body).to_bytes(8, "big") + body


def serve(stdout: io.TextIOWrapper, orders: int, report: int, keep: bool, echoes: bool) -> None:
    """Execute the program read from ``orders``, write one line to ``report``, and end the process.

    ``stdout`` comes from :func:`open_streams`. ``keep``: continue with the next program in the same namespace
    instead. ``echoes``: write the value of a last bare expression. Exit handlers are not run.
    """
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    exit_code = 1
    try:
        while (code := _receive(orders)) is not None:
            if not keep:
                os.close(orders)
            status, error = _execute(code, module, echoes)
            with contextlib.suppress(OSError, ValueError):  # the program may have closed its own output
                stdout.flush()
            done = _READY_MADE.get(status) or json.dumps({"status": status, "error": error}).encode() + b"\n"
            _write(report, done)
            exit_code = 0
            if not keep:
                break
    except MemoryError:
        _write(report, _READY_MADE["memory"])
    finally:
        _exit(exit_code)
