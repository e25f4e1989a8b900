"""No jail at all: only when ``sandbox=unconfined`` is asked for, with a warning at every start.

Guaranteed: what each program does to itself before it runs, as far as the kernel lets it: limits on memory,
CPU and wall time, threads, file size and output, an empty environment, a process of its own that is killed
when over, and the seccomp filter (no sockets, no new processes).

NOT guaranteed: anything about files. A program reads and writes whatever the user who started it can, keys
and data included. What it finds as data (sandbox.files) is a copy per worker that nobody may write, which
keeps a careless program from changing the original, and no other. Where the kernel has no seccomp filters,
it can also use the network, start processes and signal those of the user; a second warning then says so.
"""

from __future__ import annotations

import logging
from typing import Any

from src.sandbox import mounts
from src.sandbox.jails.base import (
    ENVIRONMENT,
    Jail,
    Launched,
    LaunchedProcess,
    find_python,
    interpreter,
    spawn,
)
from src.sandbox.jails.scratch import Scratch

_log = logging.getLogger(__name__)


class Unconfined(Jail):
    """See the module's header."""

    name = "unconfined"
    isolates_files = False

    def unavailable(self) -> str | None:
        """Always there, which is no recommendation."""
        return None

    def launch(self, limits: dict[str, Any]) -> Launched:
        """Start a worker as an ordinary process."""
        _log.warning(
            "sandbox=unconfined: model-written code runs with the rights of this user and can read and "
            "change all of their files; use sandbox=auto on any machine that matters"
        )
        files = find_python()
        scratch = Scratch()
        copies = Scratch(in_memory=False)

        def remove() -> None:
            scratch.remove()
            mounts.remove(copies.folder)
            copies.remove()

        try:
            mounts.copy(self.mounts, copies.folder)
            process, log = spawn(interpreter(files.executable), dict(ENVIRONMENT))
        except BaseException:
            remove()
            raise
        settings = {
            "packages": files.packages,
            "mounts": mounts.folders(self.mounts, copies.folder),
            "copies": copies.folder,
            "scratch": scratch.folder,
            "private": False,
            "readable": [],
            "listable": [],
            "landlock": "",
            "own_process_count": False,
            "strict": False,
        }
        return LaunchedProcess(process, log, settings, remove)
