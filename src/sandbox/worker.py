"""The worker: has the zygote fork a child for each program, and supervises that.

Runs inside the jail, with the standard library only. Descriptors 0 and 1 carry the frames only until they are
moved out of the children's reach; a child gets files of its own and pipes.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections import OrderedDict
from typing import Any, NoReturn

from src.sandbox.children import Child, Children
from src.sandbox.confine import protect
from src.sandbox.folders import empty
from src.sandbox.holdings import Holdings
from src.sandbox.protocol import receive, send
from src.sandbox.supervise import ConfinementError, Supervisor
from src.sandbox.zygote import Zygote, ZygoteError

# long enough to be supervised: failures should show before the first program
_REHEARSAL = "import time; time.sleep(0.05)"


class Worker:
    """Answers the pool's requests, one at a time.

    A fresh program gets its own child. With ``state`` replay the child first runs the trajectory's earlier
    programs; with session it is kept, stopped, for the trajectory's next program. Either way the child of a
    failed program is killed, so that its effects are undone; with ``undo`` False it is kept if it lives on.
    """

    def __init__(self, settings: dict[str, Any], requests: int, answers: int) -> None:
        self._requests, self._answers = requests, answers
        self._stateful = settings["state"] != "fresh"
        self._most_sessions = settings["sessions"] if settings["state"] == "session" else 0
        self._undoes = settings["undo"] or not self._most_sessions
        self._most_resident = settings["sessions_mb"] * 2**20
        self._sessions: OrderedDict[str, tuple[Child, int]] = OrderedDict()  # with programs run, oldest first
        self._current = -1  # id of the request in progress
        self._trajectory: str | None = None  # its trajectory, until that has ended
        self._closed = False
        try:
            self._prepare(settings)
        except ConfinementError as error:
            if settings["strict"]:
                raise
            self._zygote.end()
            self._prepare(settings | {"no_filter": str(error)})
        self.missing = self._zygote.missing

    def serve(self) -> None:
        """Serve until the pool closes the connection. Raises ZygoteError when no program can be started."""
        while not self._closed:
            if not self._asked(wait=not self._children.busy):
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
        self._zygote.end()

    def _asked(self, wait: bool) -> bool:
        """Whether the pool has sent something; ``wait`` for that, or for the end of a killed child.

        Raises ZygoteError, between programs, so that none is blamed for it.
        """
        poll = select.poll()
        for fd in (self._requests, self._zygote.fileno(), *self._children.ending()):
            poll.register(fd, select.POLLIN)
        found = {fd for fd, _event in poll.poll(None if wait else 0)}
        if self._zygote.fileno() in found:
            raise ZygoteError("it has ended")
        return self._requests in found

    def _prepare(self, settings: dict[str, Any]) -> None:
        """Start the zygote, create children and supervisor, and test them. Raises ConfinementError."""
        self._zygote = Zygote(settings)
        self._children = Children(
            self._zygote,
            settings["scratch"],
            waiting=settings["waiting"],
            most=max(self._most_sessions, 1),
            data=settings["mounts"].get("files"),
        )
        limits = settings["limits"]
        self._holdings = Holdings(settings["scratch"], settings["private"], limits["file_mb"])
        self._supervisor = Supervisor(limits, self._requests, self._interrupted, self._zygote, self._holdings)
        self._done: Child | None = self._children.take()
        self._supervisor.watch(self._done, _REHEARSAL, wall=10.0)
        self._supervisor.proved = True
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
        replayed = 0.0
        for number, (code, wall, failed) in enumerate(history[begun:], start=begun + 1):
            outcome = self._supervisor.watch(child, code, wall)
            replayed += outcome.seconds
            as_before = outcome.status == "ok" or (failed and outcome.status == "error")
            if not (as_before and outcome.alive):
                why = outcome.error or "it ended its process"
                return {
                    "status": "error",
                    "stdout": "",
                    "error": f"program {number} of this trajectory, run again for its state, failed: {why}",
                    "seconds": 0.0,
                    "replay_seconds": replayed,
                    "kept": False,
                }
        outcome = self._supervisor.watch(child, request["code"], request["wall"], self._prepare_next)
        status, error = outcome.status, outcome.error
        lives_on = status == "ok" or (status == "error" and outcome.alive and not self._undoes)
        kept = False
        if self._stateful and status == "ok" and not outcome.alive:
            status, error = "error", "exited with code 0: what it had defined is gone"
        elif self._most_sessions and lives_on and (exceeded := self._supervisor.look(child)):
            status, error = exceeded  # it may have been too short for a look
        elif self._most_sessions and lives_on and self._trajectory is not None:
            kept = status != "ok"
            child.signal(signal.SIGSTOP)
            with contextlib.suppress(OSError):  # it has just ended, which its next program will find
                child.resident = self._holdings.resident(child)
            self._children.shut(child)
            self._sessions[self._trajectory] = child, len(history) + 1
            self._done = None
        return {
            "status": status,
            "stdout": outcome.stdout,
            "error": error,
            "seconds": outcome.seconds,
            "replay_seconds": replayed,
            "kept": kept,
        }

    def _prepare_next(self) -> None:
        """Use the time while a program runs, but not for work that may not be needed."""
        if self._children.spent:
            self._children.prepare()

    def _clear_up(self) -> None:
        """Clean up after the answer: the child that ran, and sessions beyond the limit."""
        if self._done is not None:
            self._children.retire(self._done)
            self._done = None
        total = sum(child.resident for child, _count in self._sessions.values())
        while len(self._sessions) > self._most_sessions or total > self._most_resident:
            oldest, _count = self._sessions.popitem(last=False)[1]
            total -= oldest.resident
            self._children.retire(oldest)

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


def main(settings: dict[str, Any]) -> NoReturn:
    """Start the zygote, report ready, and serve to the end of the connection; called by the bootstrap."""
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):  # a shell may have had them ignored
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o077)
    os.chdir(settings["scratch"])
    protect()
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
