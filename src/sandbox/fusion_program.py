"""The request to a SandboxFusion service for one execution, and how its answer is parsed.

The service runs a script with ``python``. The script contains the module that runs programs in the local
jails (src/sandbox/program.py), so that a last bare expression, errors, threads and exit codes behave the
same. That module reports on the script's stderr, which the program cannot access; there, a line with a secret
mark shows when the program began: earlier failures are not caused by the program.
"""

from __future__ import annotations

import json
import math
import secrets
import signal
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from src.config import SandboxConfig
from src.sandbox.api import ExecutionResult, Status
from src.sandbox.jails.base import ENVIRONMENT, worker_modules
from src.sandbox.lane import LaneFailure, Order, ProgramLost

_START_SECONDS = 5.0  # to start an interpreter, beyond the limits of the programs
_START_MB = 256  # address space of an interpreter with numpy and sympy, beyond the limit of its program
_SHELL = 128  # a shell reports the death of a command by signal N as 128 + N
_BEGIN = "__import__('sys').modules.pop('src.sandbox.begin').begin()"  # run like a program, leaves no name
_NOT_REPLAYED = "an earlier program of this trajectory, run again for its state, failed"
_UNREADABLE = "[DecodeError]"  # how the service represents output that is not utf-8

# It restarts itself for a fixed hash seed, and because the service may give threads enormous stacks.
# Descriptors: 100 the report, 101 the true stdout.
_SCRIPT = """
import json, os, resource, select, signal, sys, time, types
if "SANDBOX_BEGAN" not in os.environ:
    os.environ.update(json.loads({environment!r}), SANDBOX_BEGAN=str(time.time()))
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    small = 1 << 23
    resource.setrlimit(resource.RLIMIT_STACK, (small if hard < 0 else min(small, hard), hard))
    os.execv(sys.executable, [sys.executable, __file__])
began = float(os.environ["SANDBOX_BEGAN"])
os.dup2(2, 100)
os.dup2(1, 101)
null = os.open(os.devnull, os.O_RDWR)
for descriptor in (0, 1, 2):
    os.dup2(null, descriptor)
def pass_on(pipe, most, program):
    # services read the output only at the end, and a pipe holds little: what is beyond the limit is dropped
    os.dup2(pipe, 102)
    os.closerange(0, 101)
    os.closerange(103, 1 << 10)
    ended, status, left = 0, 0, 16  # reads once it has ended: it may have left processes that go on writing
    while left:
        if not ended:
            ended, status = os.waitpid(program, os.WNOHANG)
        if select.select([102], [], [], 0 if ended else 0.05)[0]:
            part = os.read(102, 1 << 16)
            if not part:
                break
            kept, most = part[:most], most - len(part[:most])
            while kept:
                kept = kept[os.write(101, kept):]
        elif ended:
            break
        left -= bool(ended)
    if not ended:
        ended, status = os.waitpid(program, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))
ours, theirs = os.pipe()
program = os.fork()
if program:  # services may look for the output as soon as this process has ended
    os.close(theirs)
    pass_on(ours, {most!r}, program)
os.close(ours)
os.dup2(theirs, 101)
os.close(theirs)
def begin():
    import os, signal, time
    os.dup2(101, 1)
    os.write(100, ("{mark} " + str(time.time() - began) + chr(10)).encode())
    signal.setitimer(signal.ITIMER_REAL, {wall!r})
for name, source in json.loads({modules!r}).items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, "<" + name + ">", "exec"), module.__dict__)
orders = os.memfd_create("orders")
with open(orders, "wb", closefd=False) as file:
    for program in json.loads({programs!r}):
        file.write(module.order(program))
os.lseek(orders, 0, os.SEEK_SET)
for name in [name for name in sys.modules if name.startswith("src.")]:
    del sys.modules[name]
sys.modules["src.sandbox.begin"] = sys.modules["__main__"]
sys.argv, sys.path[:1] = ["-c"], []
os.environ.clear()
module.serve(module.open_streams(), orders, 100, True, {echoes!r}, -1)
"""


class _NotReplayed(Exception):
    """An earlier program of the trajectory did not end as it had at first."""


@cache
def _modules() -> str:
    sources = worker_modules()
    return json.dumps({name: sources[name] for name in ("src.sandbox.protocol", "src.sandbox.program")})


@dataclass(frozen=True)
class Question:
    """One execution, and the secret that marks its start."""

    order: Order
    cfg: SandboxConfig
    mark: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def seconds(self) -> float:
        """Return the service's time limit: the program has a timer, but may switch it off."""
        return self.order.longest_seconds + _START_SECONDS

    def request(self) -> dict[str, Any]:
        """Return the body of the request, in ASCII, independent of how the service decodes text."""
        script = _SCRIPT.format(
            environment=json.dumps(ENVIRONMENT),
            mark=self.mark,
            wall=self.order.wall_seconds,
            most=self.cfg.output_kb * 1024,
            echoes=self.cfg.echo,
            modules=_modules(),
            programs=json.dumps([*(one.code for one in self.order.history), _BEGIN, self.order.code]),
        )
        return {
            "language": "python",
            "code": script,
            "run_timeout": self.seconds,
            "memory_limit_MB": self.cfg.memory_mb + _START_MB,
        }

    def result(self, answer: Any) -> ExecutionResult:
        """Return the result in the service's answer.

        Raises LaneFailure if the program was not begun, ProgramLost if the answer does not say.
        """
        try:
            return self._result(answer)
        except _NotReplayed:
            return ExecutionResult(Status.ERROR, "", _NOT_REPLAYED, 0.0)

    def _result(self, answer: Any) -> ExecutionResult:
        try:
            if answer["status"] not in ("Success", "Failed"):
                raise ProgramLost(f"the service says {answer['status']}: {str(answer.get('message'))[:500]}")
            run = answer["run_result"]
            status, stdout, stderr = run["status"], run["stdout"], run["stderr"]
            if status not in ("Finished", "TimeLimitExceeded") or not isinstance(stdout, str):
                raise ProgramLost(f"nonsense: {str(run)[:500]}")
            code = int(run["return_code"]) if status == "Finished" else None
            began, reports = self._reports(stderr)
            seconds = float(run["execution_time"]) - began
            if not math.isfinite(seconds):
                raise ValueError(f"{seconds} seconds")
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ProgramLost(f"nonsense: {type(error).__name__}: {error}") from error
        outcome, text = self._judge(code, reports)
        if outcome is Status.OK and reports and not stdout.strip():
            stdout = str(json.loads(reports[0]).get("stderr", "")) or stdout
        seconds = self.order.wall_seconds if outcome is Status.TIMEOUT else max(seconds, 0.0)
        most = self.cfg.output_kb * 1024
        cut = stdout.encode("utf-8", "replace")[:most].decode("utf-8", "replace")
        return ExecutionResult(outcome, cut, text, seconds)

    def _reports(self, stderr: str) -> tuple[float, list[str] | None]:
        """Return when the program began, and its reports; None if they are damaged."""
        if stderr.startswith(_UNREADABLE):
            return 0.0, None
        lines = stderr.splitlines()
        marked = [index for index, line in enumerate(lines) if line.startswith(self.mark)]
        if not marked and self.order.history:
            raise _NotReplayed
        if not marked:
            raise LaneFailure(f"the program was not begun: {(lines or ['without a reason'])[-1][:500]}")
        try:  # earlier programs may have written there, and even have found the mark
            before = [json.loads(line)["status"] for line in lines[: marked[0]]]
            began = float(lines[marked[0]].split()[1])
        except (IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise _NotReplayed from error
        if before != ["ok"] * len(self.order.history) or not math.isfinite(began):
            raise _NotReplayed
        return began, lines[marked[0] + 2 :]

    def _judge(self, code: int | None, reports: list[str] | None) -> tuple[Status, str | None]:
        """Return status and error of a program that had begun."""
        signalled = 0 if code is None else -code if code < 0 else max(code - _SHELL, 0)
        if code is None or signalled == signal.SIGALRM:
            return Status.TIMEOUT, f"timed out after {self.order.wall_seconds:g} s"
        if signalled:
            return Status.KILLED, f"killed by signal {signalled} ({_name(signalled)})"
        if reports == []:
            return (Status.ERROR, f"exited with code {code}") if code else (Status.OK, None)
        try:
            (report,) = reports or []
            message = json.loads(report)
            status, error = Status(message["status"]), message["error"]
        except (KeyError, TypeError, ValueError, RecursionError):
            return Status.ERROR, "the program wrote over its own report"
        if status is Status.MEMORY:
            return status, f"memory limit of {self.cfg.memory_mb} MB exceeded"
        if status is Status.OK:
            return status, None
        return Status.ERROR, str(error).encode("utf-8", "backslashreplace").decode()


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
