"""Baselines for the sandbox: a bare fork-and-wait, a cold interpreter, the released executor."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from src.sandbox.jails.base import ENVIRONMENT
from src.sandbox.warm_up import statements

_HERE = Path(__file__).parent


class ForkAndWait:
    """``count`` processes that are as warm as a worker, and only fork. Close it, or use ``with``."""

    def __init__(self, count: int, warm: list[str]) -> None:
        command = [sys.executable, "-I", str(_HERE / "fork_and_wait.py")]
        self._processes = [
            subprocess.Popen(
                command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(count)
        ]
        for process in self._processes:
            self._say(process, json.dumps(statements(warm)))
        for process in self._processes:
            assert self._hear(process) == "ready"

    def loop(self, count: int, seconds: float) -> list[list[float]]:
        """``count`` of them at once, each one fork after the other; what each fork-and-wait took."""
        for process in self._processes[:count]:
            self._say(process, str(seconds))
        return [json.loads(self._hear(process)) for process in self._processes[:count]]

    def __enter__(self) -> ForkAndWait:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.communicate()

    @staticmethod
    def _say(process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()

    @staticmethod
    def _hear(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"a fork-and-wait process ended with status {process.wait()}")
        return line


@dataclass(frozen=True)
class Throughput:
    """``programs`` in ``seconds``; how many were cut off, and how many failed otherwise."""

    programs: int
    seconds: float
    timeouts: int = 0
    failures: int = 0

    @property
    def per_second(self) -> float:
        """Throughput including failed programs and those cut off: an upper bound."""
        return self.programs / self.seconds

    @property
    def answered_per_second(self) -> float:
        """Throughput of programs with an answer."""
        return (self.programs - self.timeouts - self.failures) / self.seconds


def cold(programs: list[str], parallel: int) -> Throughput:
    """Each program in an interpreter of its own, ``parallel`` at a time."""

    def run(code: str) -> int:
        return subprocess.run(
            [sys.executable, "-I", "-c", code], capture_output=True, env=ENVIRONMENT
        ).returncode

    began = time.perf_counter()
    with ThreadPoolExecutor(parallel) as executor:
        codes = list(executor.map(run, programs))
    return Throughput(len(programs), time.perf_counter() - began, failures=sum(code != 0 for code in codes))


def released(path: Path, programs: list[str]) -> Throughput:
    """One batch with the released executor at ``path``. Raises RuntimeError when it does not work."""
    command = [sys.executable, str(_HERE / "released.py"), str(path)]
    done = subprocess.run(command, input=json.dumps(programs), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the released executor at {path} does not run:\n{done.stderr.strip()[-2000:]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    reports = [report for _, report in answer["results"]]
    timeouts = sum("Timeout" in report for report in reports)
    return Throughput(
        len(programs), answer["seconds"], timeouts, len(reports) - timeouts - reports.count("Done")
    )
