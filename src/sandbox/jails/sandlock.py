"""Jail: sandlock (Landlock, a Python wheel). No root, no namespaces; Linux 6.12 or later.

Guaranteed: programs read only the interpreter, numpy, sympy, mpmath, scipy and the system's shared
libraries, and what sandbox.packages and sandbox.files name (a link in that which leads elsewhere cannot be
read), and write only into a private folder, emptied after each; no sockets, no new processes, no signal
to any other process (Landlock scopes, and the seccomp filter of src/sandbox/seccomp.py); no new privileges,
no capabilities, no environment. Each program enters a Landlock domain of its own, within sandlock's for the
worker. All of it is enforced in the kernel (why sandlock's supervisor is not used: sandlock_launcher.py).

Not guaranteed, beside what bubblewrap does not either: whether a file exists, its size and dates, and where
a symbolic link points can be asked of any path (Landlock does not cover stat), though nothing is read,
listed or changed; there is no pid namespace, so that one can ask whether a process number is in use; no
network namespace, so that the refusal of sockets rests on seccomp, and on Landlock for TCP; the machine's
name is seen; the folder is one of the host's (in /dev/shm), its size watched every 20 ms, with the
program stopped, rather than capped. The worker itself (our code, never the program) is held by Landlock
alone.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

from src.sandbox import mounts
from src.sandbox.jails.base import (
    DEVICES,
    ENVIRONMENT,
    Jail,
    Launched,
    LaunchedProcess,
    find_python,
    interpreter,
    spawn,
)
from src.sandbox.jails.scratch import Scratch
from src.sandbox.landlock import abi

_LANDLOCK = 6


class Sandlock(Jail):
    """See the module's header."""

    name = "sandlock"

    def unavailable(self) -> str | None:
        """The wheel must be installed and the kernel's Landlock recent enough."""
        if importlib.util.find_spec("sandlock") is None:
            return "the package sandlock is not installed; remedy: pip install sandlock"
        if abi() < _LANDLOCK:
            return f"it needs Landlock version {_LANDLOCK} (Linux 6.12); this kernel has {abi() or 'none'}"
        return None

    def launch(self, limits: dict[str, Any]) -> Launched:
        """Start a worker under sandlock, by way of the launcher."""
        files = find_python()
        scratch = Scratch()
        libraries = [*files.libraries, *files.python_libraries, *files.package_libraries]
        own = [path for path, _ in mounts.places(self.mounts, "")]
        shown = [files.stdlib, *libraries, *files.packages.values(), *own]
        environment = dict(ENVIRONMENT)
        if files.python_libraries:
            environment["LD_LIBRARY_PATH"] = os.path.join(files.prefix, "lib")
        task = {
            "command": interpreter(files.executable),
            "readable": [*shown, files.executable, *DEVICES],
            "scratch": scratch.folder,
            "environment": environment,
        }
        launcher = str(Path(__file__).with_name("sandlock_launcher.py"))
        links = os.path.join(scratch.folder, "mounts")  # beside the folders that programs may write in
        try:
            mounts.link(self.mounts, links)
            # the launcher alone has the caller's environment: it finds sandlock where the caller does
            process, log = spawn([sys.executable, "-P", launcher, json.dumps(task)], dict(os.environ))
        except BaseException:
            scratch.remove()
            raise
        hidden = ("site-packages", "dist-packages")  # what else is installed is nobody's business
        inside = sorted(
            os.path.join(files.stdlib, name) for name in os.listdir(files.stdlib) if name not in hidden
        )
        settings = {
            "packages": files.packages,
            "mounts": mounts.folders(self.mounts, links),
            "scratch": scratch.folder,
            "private": False,
            "readable": [*libraries, *inside, *files.packages.values(), *own, links, *DEVICES],
            "listable": [files.stdlib],
            "landlock": "required",
            "own_process_count": False,
            "strict": True,
        }
        return LaunchedProcess(process, log, settings, scratch.remove)
