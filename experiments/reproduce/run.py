"""Runs the commands of a plan in parallel, those on the longest dependency chains first."""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from experiments.reproduce.folder import LOG, SUMMARY, Durations, Folder
from experiments.reproduce.names import text
from experiments.reproduce.pace import Pace, priorities, span
from experiments.reproduce.plan import EVALUATE, MERGE, TRAIN, Command, CommandPlan
from src.run.console import console
from src.run.disk import write_json

ABOUT = "about.json"
_POLL = 0.2  # seconds
_PATIENCE = 5.0  # seconds that a command has to end after SIGTERM
_LAST_LINES = 20  # lines of the log of a failed command
_SET_PDEATHSIG = 1  # <sys/prctl.h>
_LIBC = ctypes.CDLL(None)


class CommandError(RuntimeError):
    """A command failed; the message has the end of its log."""


@dataclass
class _Running:
    command: Command
    process: subprocess.Popen[bytes]
    spent: float  # seconds of earlier attempts
    began: float
    counted: float  # until when its seconds are in the durations
    task: TaskID


class Runner:
    """Runs the unfinished commands.

    It has one thread and starts every command in a new session: an interrupt reaches only this process, and
    the kernel kills a command whose runner has ended, for whatever reason.

    Args:
        plan: the commands.
        folder: the locked folder.
        durations: durations of commands, which are updated.
        jobs: number of parallel commands.
    """

    def __init__(self, plan: CommandPlan, folder: Folder, durations: Durations, jobs: int) -> None:
        self._folder, self._durations, self._jobs = folder, durations, jobs
        self._environment = os.environ | {"OMP_NUM_THREADS": str(max(1, cores() // jobs))}
        self._pace = Pace()
        first = priorities(plan)
        self._todo: dict[str, Command] = {}
        self._running: dict[str, _Running] = {}
        self._failed: list[str] = []
        self._planned = plan.commands.keys()
        self.total = len(plan.commands)
        for name in sorted(plan.commands, key=lambda name: -first[name]):
            command = plan.commands[name]
            if folder.finished(command):
                self._pace.learn(command, durations.commands.get(name) or self._wall_seconds(command))
            else:
                self._todo[name] = command
        self.finished = self.total - len(self._todo)

    def _wall_seconds(self, command: Command) -> float:
        summary = json.loads((self._folder.of(command) / SUMMARY).read_text())
        return float(summary["wall_seconds"])

    def run(self) -> None:
        """Run all remaining commands.

        Raises:
            CommandError: a command failed; running commands were ended.
        """
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            auto_refresh=False,  # needs a second thread
        )
        with bar:
            whole = bar.add_task("reproducing", total=self.total, note="")
            try:
                while self._running or (self._todo and not self._failed):
                    self._start_what_can(bar)
                    time.sleep(_POLL)
                    self._count()
                    self._collect(bar)
                    for job in self._running.values():
                        bar.update(job.task, completed=self._seconds(job))
                    count = f"{self.finished}/{self.total} commands"
                    bar.update(whole, completed=self.finished, description=count, note=self._note())
                    bar.refresh()
            finally:
                self._end_all()
                self._durations.write(now=True)
        if self._failed:
            raise CommandError("\n".join(self._failed))

    def _start_what_can(self, bar: Progress) -> None:
        waiting = {**self._todo, **{name: job.command for name, job in self._running.items()}}
        for name, command in list(self._todo.items()):
            if self._failed or len(self._running) >= self._jobs:
                return
            if not waiting.keys() & set(command.needs):
                del self._todo[name]
                task = bar.add_task(name, total=self._pace.of(command), note="")
                self._running[name] = self._start(command, task)

    def _start(self, command: Command, task: TaskID) -> _Running:
        folder = self._folder.of(command)
        if command.about is not None:
            self._clear(folder)
            write_json(folder.parent / ABOUT, command.about)
        if command.kind == MERGE:
            shutil.rmtree(folder, ignore_errors=True)  # what a killed one has left
        folder.mkdir(parents=True, exist_ok=True)
        arguments = ["-m", command.module, *command.overrides, f"hydra.run.dir={text(str(folder))}"]
        arguments += self._folder.resumption(command)
        self._durations.started(command.name)
        self._durations.write(now=True)
        with (folder / LOG).open("ab") as log:
            log.write(f"$ python {shlex.join(arguments)}\n".encode())
            log.flush()
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
                pass_fds=self._folder.locks,
                preexec_fn=partial(_end_with, os.getpid()),
            )
        now = time.monotonic()
        return _Running(command, process, self._durations.commands[command.name], now, now, task)

    def _clear(self, folder: Path) -> None:
        """Remove earlier results of an analysis, and of analyses that the experiment no longer has."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        for other in folder.parent.glob("*/"):
            if other == folder or f"{other.parent.name}/{other.name}" not in self._planned:
                shutil.rmtree(other)

    def _count(self) -> None:
        now = time.monotonic()
        for name, job in self._running.items():
            self._durations.add(name, now - job.counted)
            job.counted = now
        self._durations.write()

    def _collect(self, bar: Progress) -> None:
        for name, job in list(self._running.items()):
            if job.process.poll() is None:
                continue
            del self._running[name]
            bar.remove_task(job.task)
            made = job.command.kind not in (TRAIN, EVALUATE, MERGE) or self._folder.finished(job.command)
            if job.process.returncode == 0 and made:
                self.finished += 1
                self._pace.learn(job.command, self._durations.commands[name])
                line = f"{self.finished}/{self.total}  {name}: {span(self._seconds(job))}; {self._note()}"
                console.print(line, markup=False, highlight=False)
            else:
                self._failed.append(self._failure(job))
                console.print(f"{name}: failed", markup=False, style="bold red")

    def _failure(self, job: _Running) -> str:
        log = self._folder.of(job.command) / LOG
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        code = job.process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        how = how if code else f"wrote no {SUMMARY}"
        return "\n".join([f"{job.command.name}: {how}; the end of {log}:", *(f"  {line}" for line in last)])

    @staticmethod
    def _seconds(job: _Running) -> float:
        return job.spent + job.counted - job.began

    def _note(self) -> str:
        under_way = {name: job.command for name, job in self._running.items()}
        spent = {name: self._seconds(job) for name, job in self._running.items()}
        left = self._pace.left(self._todo | under_way, spent, self._jobs)
        return "time left: unknown" if left is None else f"about {span(left)} left"

    def _end_all(self) -> None:
        for job in self._running.values():
            _signal(job.process, signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE
        for job in self._running.values():
            try:
                job.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal(job.process, signal.SIGKILL)
                job.process.wait()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to all processes of a command's session."""
    if process.poll() is None:
        os.killpg(process.pid, number)


def _end_with(parent: int) -> None:
    """Have this process killed when ``parent`` ends."""
    _LIBC.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent ended before the call
        os._exit(1)
