"""The worker: a warm interpreter inside the jail, whose forked children run the programs.

Runs inside the jail with the standard library and the packages that it warms. Descriptors 0 and 1 carry the
frames only until they are moved out of the children's reach; a child gets /dev/null and pipes.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib
import importlib.machinery
import importlib.util
import os
import random
import select
import signal
import sys
from collections import OrderedDict
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from src.sandbox.children import Child, Children
from src.sandbox.confine import Confinement, protect_worker
from src.sandbox.folders import empty
from src.sandbox.protocol import receive, send
from src.sandbox.snapshot import take_snapshot
from src.sandbox.supervise import ConfinementError, Supervisor

# long enough to be supervised: failures should show before the first program
_REHEARSAL = "import time; time.sleep(0.05)"


class PackageFinder:
    """Finds the packages that the jail exposes, and no others of site-packages."""

    def __init__(self, packages: dict[str, str]) -> None:
        self._packages = packages

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for an exposed top-level package, None for anything else."""
        folder = self._packages.get(name)
        if folder is None:
            return None
        return importlib.util.spec_from_file_location(
            name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )


class Worker:
    """Answers the pool's requests, one at a time.

    A fresh program gets its own child. With ``state`` replay the child first runs the trajectory's earlier
    programs; with session it is kept, stopped, for the trajectory's next program. Either way the child of a
    failed program is killed, so that its effects are undone.
    """

    def __init__(self, settings: dict[str, Any], requests: int, answers: int) -> None:
        self._requests, self._answers = requests, answers
        self._stateful = settings["state"] != "fresh"
        self._most_sessions = settings["sessions"] if settings["state"] == "session" else 0
        self._sessions: OrderedDict[str, tuple[Child, int]] = OrderedDict()  # with programs run, oldest first
        self._current = -1  # id of the request in progress
        self._trajectory: str | None = None  # its trajectory, until that has ended
        self._closed = False
        self._replay_wall = 2 * settings["limits"]["wall_seconds"]
        confinement = Confinement(settings)
        self.missing = confinement.missing
        try:
            self._prepare(settings, confinement)
        except ConfinementError as error:
            self._children.end()
            confinement.forgo_filter(str(error))
            self._prepare(settings, confinement)

    def serve(self) -> None:
        """Serve until the pool closes the connection."""
        idle = select.poll()
        idle.register(self._requests, select.POLLIN)
        while not self._closed:
            if self._children.busy and not idle.poll(0):
                self._children.improve()
                continue
            message = receive(self._requests)
            if message is None:
                break
            if "code" not in message:
                self._take_note(message)
                continue
            answer = self._execute(message)
            if not self._closed:
                send(self._answers, {"id": message["id"], **answer})
            self._clear_up()
        for child, _count in self._sessions.values():
            self._children.retire(child)
        self._children.end()

    def _prepare(self, settings: dict[str, Any], confinement: Confinement) -> None:
        """Create children and supervisor, and test them. Raises ConfinementError."""
        self._children = Children(
            confinement,
            settings["scratch"],
            waiting=settings["waiting"],
            most=max(self._most_sessions, 1),
            keep=self._stateful,
            data=settings["mounts"].get("files"),
        )
        known = None if confinement.one_process else self._known
        self._supervisor = Supervisor(settings["limits"], self._requests, self._interrupted, known)
        self._done: Child | None = self._children.take()
        self._supervisor.watch(self._done, _REHEARSAL, wall=10.0)
        self._clear_up()

    def _execute(self, request: dict[str, Any]) -> dict[str, Any]:
        """Handle one request; return the answer without its id."""
        self._current = request["id"]
        trajectory, history = request["trajectory"], request["history"]
        self._trajectory = trajectory
        child, begun = self._sessions.pop(trajectory, (None, 0))
        if child is not None and begun != len(history):
            self._children.retire(child)  # from before the worker was replaced
            child = None
        if child is None:
            child, begun = self._children.take(), 0
        else:
            self._children.open(child)
        self._done = child  # until it is known to be kept
        for code in history[begun:]:
            outcome = self._supervisor.watch(child, code, self._replay_wall)
            if outcome.status != "ok" or not outcome.alive:
                return {"lost": f"{outcome.status}: {outcome.error}"}
        outcome = self._supervisor.watch(child, request["code"], request["wall"], self._prepare_next)
        status, error = outcome.status, outcome.error
        if self._stateful and status == "ok" and not outcome.alive:
            status, error = "error", "exited with code 0: what it had defined is gone"
        elif self._most_sessions and status == "ok" and self._trajectory is not None:
            child.signal(signal.SIGSTOP)
            self._children.shut(child)
            self._sessions[self._trajectory] = child, len(history) + 1
            self._done = None
        return {"status": status, "stdout": outcome.stdout, "error": error, "seconds": outcome.seconds}

    def _prepare_next(self) -> None:
        """Use the time while a program runs, but not for work that may not be needed."""
        if self._children.spent:
            self._children.prepare()

    def _clear_up(self) -> None:
        """Clean up after the answer: the child that ran, and sessions beyond the limit."""
        if self._done is not None:
            self._children.retire(self._done)
            self._done = None
        while len(self._sessions) > self._most_sessions:
            self._children.retire(self._sessions.popitem(last=False)[1][0])

    def _interrupted(self) -> bool:
        """Handle a message of the pool while a program runs; return whether the program must end."""
        message = receive(self._requests)
        if message is None:
            self._closed = True
            return True
        return self._take_note(message)

    def _take_note(self, message: dict[str, Any]) -> bool:
        """Handle a message that has no answer; return whether it cancels the running program."""
        if "forget" in message:
            if message["forget"] == self._trajectory:
                self._trajectory = None
            child, _count = self._sessions.pop(message["forget"], (None, 0))
            if child is not None:
                self._children.retire(child)
        return bool(message.get("cancel") == self._current)

    def _known(self) -> set[int]:
        """Return the children that do not belong to the program that just ended."""
        return self._children.known() | {child.pid for child, _count in self._sessions.values()}


def _warm(packages: dict[str, str], statements: list[str]) -> None:
    """Import and exercise packages, so that programs need not fill caches or import lazily."""
    sys.meta_path.append(PackageFinder(packages))
    namespace: dict[str, Any] = {}
    for statement in statements:
        exec(statement, namespace)
    site = importlib.import_module("_sitebuiltins")  # absent without the site module
    for name in ("exit", "quit"):
        setattr(builtins, name, site.Quitter(name, "Ctrl-D (i.e. EOF)"))
    # every program then draws the same random numbers, in any worker and when it is replayed
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)


def _forget_ourselves() -> None:
    """Hide the worker's modules and environment from programs."""
    for name in [name for name in sys.modules if name.startswith("src.")]:
        del sys.modules[name]
    os.environ.clear()


def main(settings: dict[str, Any]) -> NoReturn:
    """Warm up, report ready, serve until the pool closes the connection; called once by the bootstrap."""
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.umask(0o077)
    os.chdir(settings["scratch"])
    _warm(settings["packages"], settings["warm"])
    if "modules" in settings["mounts"]:
        sys.path.append(settings["mounts"]["modules"])  # looked into when a program imports, not before
    protect_worker()
    _forget_ourselves()
    gc.collect()
    gc.freeze()
    take_snapshot()
    worker = Worker(settings, requests, answers)
    send(answers, {"ready": True, "missing": worker.missing})
    worker.serve()
    os.chdir("/")
    with contextlib.suppress(OSError):  # not ours to remove in every jail
        os.rmdir(settings["scratch"])
        if "copies" in settings:
            empty(settings["copies"])
            os.rmdir(settings["copies"])
    os._exit(0)
