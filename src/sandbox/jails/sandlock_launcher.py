"""Starts one worker under sandlock and stays beside it; a script of its own, run by jails/sandlock.py.

It ends when the worker does, and ends the worker when the caller is gone, whichever way that went; then it
removes the worker's scratch folder, which the worker, confined, cannot.

``confine`` rather than sandlock's supervised ``popen``: everything is then enforced in the kernel. Supervised
(0.9.0), each fork leaves a descriptor open in the supervisor, system calls take a detour through it, and it
opens files of /proc on a program's behalf, past the program's own domain.

Arguments: one JSON object {"command", "readable", "scratch", "environment"}.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import sys
import time
from typing import Any

from sandlock import Sandbox, confine

_GRACE = 2.0  # seconds for the worker to notice by itself that the caller is gone
_PDEATHSIG = 1


def become_worker(task: dict[str, Any], launcher: int) -> None:
    """Confine this process and turn it into the worker."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != launcher:
        os._exit(1)  # it died before the line above
    os.chdir(task["scratch"])
    # for src/sandbox/snapshot.py and for watching programs, which do not get to see it
    readable = [*task["readable"], "/proc"]
    confine(Sandbox(fs_readable=readable, fs_writable=[task["scratch"], "/dev/null"]))
    os.execve(task["command"][0], task["command"], task["environment"])


def watch(worker: int, caller: int) -> None:
    """Return when the worker has ended; end it when the caller is gone."""
    ended = os.pidfd_open(worker)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(0, 0)  # only its end; the frames are the worker's
    deadline = None
    while True:
        ready = {fd for fd, _event in poll.poll(500)}
        if ended in ready:
            return
        if deadline is None and (0 in ready or os.getppid() != caller):
            poll.unregister(0)
            deadline = time.monotonic() + _GRACE
        if deadline is not None and time.monotonic() > deadline:
            os.kill(worker, signal.SIGKILL)


def main() -> None:
    """Run the worker to its end."""
    task = json.loads(sys.argv[1])
    launcher, caller = os.getpid(), os.getppid()
    worker = os.fork()
    if worker == 0:
        try:
            become_worker(task, launcher)
        except BaseException as error:
            os.write(2, f"sandlock: {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)  # the end of the worker is then the end of its answers
    watch(worker, caller)
    os.waitpid(worker, 0)
    with contextlib.suppress(OSError), os.scandir(task["scratch"]) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.path, 0o700)  # see scratch.py, which a script cannot import
    shutil.rmtree(task["scratch"], ignore_errors=True)


if __name__ == "__main__":
    main()
