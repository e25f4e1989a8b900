"""Jail: bubblewrap (namespaces). Needs the program ``bwrap``; no root.

Guaranteed: the worker and its programs see, read-only, the interpreter, numpy, sympy, mpmath, scipy and the
system's shared libraries, a private /proc and a handful of devices, what sandbox.packages and sandbox.files
name (each mounted by itself: a link in it leads to nothing outside), and nothing else of the file system; the
only writable place is a private in-memory /tmp of limited size. New user, pid, network, ipc, uts and cgroup
namespaces: no interface but loopback (and sockets are refused by seccomp anyhow), no process of the
host in sight. No capabilities, no new privileges, no environment. The worker is pid 1 of its namespace: its
programs cannot kill it; whatever is in the namespace dies with it, and it dies with its caller. On top,
each program enters a seccomp filter and, where the kernel has it, a Landlock domain
(src/sandbox/seccomp.py, landlock.py).

Not guaranteed: anything against a hole in the kernel, which is shared; CPU caches, timing and other side
channels; a fair share of the CPU within the limits of an execution; that a program does not learn which
process numbers are in use in its namespace (those of its worker and that one's children, which it can neither
look into nor signal). Without Landlock (kernels before 5.13) a program can read what /proc and the system's
files show to everyone, no child is forked ahead, and sandbox.state=session does not start. Started by root,
programs are root's uid, without its capabilities. Where user namespaces are forbidden to ordinary users (some
distributions, most containers), it does not start.
"""

from __future__ import annotations

import os
import shutil
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
    writable_mb,
)

_PYTHON = "/python"  # hides where the interpreter lies on the host, say, in someone's home
_PACKAGES = "/packages"


class Bubblewrap(Jail):
    """See the module's header."""

    name = "bubblewrap"

    def unavailable(self) -> str | None:
        """bwrap must be on the PATH."""
        if shutil.which("bwrap") is None:
            return "the program bwrap is not installed; remedy: apt-get install bubblewrap"
        return None

    def launch(self, limits: dict[str, Any]) -> Launched:
        """Start a worker under bwrap."""
        files = find_python()

        def moved(path: str) -> str:
            """Where a file of the interpreter lies in the jail."""
            inside = os.path.commonpath([path, files.prefix]) == files.prefix != "/usr"
            return os.path.join(_PYTHON, os.path.relpath(path, files.prefix)) if inside else path

        shown = {path: path for path in files.libraries}
        shown |= {path: moved(path) for path in (files.stdlib, files.executable, *files.python_libraries)}
        packages = {name: f"{_PACKAGES}/{name}" for name in files.packages}
        shown |= {files.packages[name]: place for name, place in packages.items()}
        shown |= {path: f"{_PACKAGES}/{os.path.basename(path)}" for path in files.package_libraries}

        command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1"]
        command += ["--cap-drop", "ALL", "--clearenv", "--hostname", "sandbox"]
        for source, place in (*shown.items(), *mounts.places(self.mounts, mounts.ROOT)):
            command += ["--ro-bind", source, place]
        for name in ("site-packages", "dist-packages"):  # what else is installed is nobody's business
            if os.path.isdir(os.path.join(files.stdlib, name)):
                hidden = os.path.join(moved(files.stdlib), name)
                command += ["--tmpfs", hidden, "--remount-ro", hidden]
        size = writable_mb(self._cfg) * 2**20
        # bwrap leaves /proc/sys writable to root's uid, capabilities or not
        command += ["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
        command += ["--size", str(size), "--tmpfs", "/tmp", "--chdir", "/tmp", "--remount-ro", "/"]
        for name, value in ENVIRONMENT.items():
            command += ["--setenv", name, value]
        if files.python_libraries:
            command += ["--setenv", "LD_LIBRARY_PATH", f"{_PYTHON}/lib"]
        command += ["--", *interpreter(moved(files.executable))]
        process, log = spawn(command, {"PATH": os.environ.get("PATH", os.defpath)})
        settings = {
            "packages": packages,
            "mounts": mounts.folders(self.mounts, mounts.ROOT),
            "scratch": "/tmp",
            "private": True,
            "readable": [*shown.values(), mounts.ROOT, *DEVICES],
            "listable": [],
            "landlock": "optional",
            "own_process_count": os.geteuid() != 0,
            "strict": True,
        }
        return LaunchedProcess(process, log, settings)
