"""A grading process: compares pairs of answers, one at a time, for ``src.rewards.grader``.

Run as ``python -m src.rewards.grading_child PARENT_PID MEMORY_MB ALARM_SECONDS GRADER``, the last of which is
``exact`` or ``math_verify``. It uses JSON Lines on its standard streams: first ``"ready"``; then requests
``[gold, answer]``, or ``[gold, null]`` to ask whether the gold answer can be parsed, and replies
``{"equivalent": bool, "error": string or null, "retire": bool}``. It does not outlive its parent, neither
while idle (end of input, or another parent process) nor inside a comparison (the kernel's alarm, whose
default action ends even a process that is stuck in C).
"""

from __future__ import annotations

import json
import logging
import os
import resource
import select
import signal
import sys

_IDLE_SECONDS = 5.0  # between checks that the parent is alive


def _read_requests(parent: int) -> list[bytes]:
    """Return the next complete lines of standard input; an empty list at its end or without a parent."""
    data = b""
    while not data.endswith(b"\n"):
        while not select.select([0], [], [], _IDLE_SECONDS)[0]:
            if os.getppid() != parent:
                return []
        chunk = os.read(0, 1 << 16)
        if not chunk:
            return []
        data += chunk
    return data.splitlines()


def _resident_bytes() -> int:
    # Not ru_maxrss: it survives exec, so a child would start with the value of its large parent.
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def main(parent: int, memory_mb: int, alarm_seconds: float, grader: str) -> None:
    """Serve requests until the parent is gone."""
    # math-verify sets alarms of its own on the real-time clock; the other clock is the process's CPU time.
    clock = signal.ITIMER_PROF if grader == "math_verify" else signal.ITIMER_REAL
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)  # output of libraries must not mix with the replies
        logging.disable(logging.CRITICAL)

        if grader == "math_verify":
            from src.rewards.released import accepted as equivalent
            from src.rewards.released import parsed as readable
        else:
            from src.rewards.equivalence import equivalent, readable

        equivalent(r"\frac{x^2}{2}", "x(x+2)/2-x")  # warms up the caches of parser and simplifier
        memory = memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        print(json.dumps("ready"), file=replies, flush=True)
        while lines := _read_requests(parent):
            for line in lines:
                gold, answer = json.loads(line)
                error = None
                signal.setitimer(clock, alarm_seconds)
                try:
                    correct = readable(gold) if answer is None else equivalent(gold, answer)
                except Exception as exception:  # untrusted input can make sympy raise anything
                    correct, error = False, type(exception).__name__
                signal.setitimer(clock, 0)
                # Libraries treat failed allocations as "not equivalent": without memory, results are silently
                # wrong.
                retire = _resident_bytes() > memory // 2
                reply = {"equivalent": correct, "error": error, "retire": retire}
                print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
