"""Programs for the soak test, honest and hostile, with their expected results.

Each has its own token; a result with the token of another program was mixed up.
"""

from __future__ import annotations

import random
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from src.sandbox import ExecutionResult, Status

_TOKEN = re.compile(r"T[0-9a-f]{16}")
_CAP = 64 * 1024  # bytes of output that are kept
_ANY = frozenset(Status) - {Status.INFRASTRUCTURE}
_OK, _ERROR = frozenset({Status.OK}), frozenset({Status.ERROR})
_LATE = frozenset({Status.TIMEOUT})
_STOPPED = frozenset({Status.TIMEOUT, Status.KILLED, Status.MEMORY, Status.ERROR})


@dataclass(frozen=True)
class SoakProgram:
    """``statuses``: how it may end; ``stdout``: all that it prints, or with ``prefix`` how that begins."""

    kind: str
    hostile: bool
    token: str
    code: str
    statuses: frozenset[Status]
    stdout: str
    error: str | None = None
    prefix: bool = False

    def fault(self, result: ExecutionResult) -> str | None:
        """What is wrong with ``result``; None if nothing, or if an honest program merely ran out of time."""
        text = f"{result.stdout} {result.error}"
        if others := set(_TOKEN.findall(text)) - {self.token}:
            return f"has the tokens {sorted(others)} of others"
        if self.late(result):
            return None if self.stdout.startswith(result.stdout) else f"printed {result.stdout[:80]!r}"
        if result.status not in self.statuses:
            return f"ended as {result.status} ({result.error})"
        if self.error is not None and result.error != self.error:
            return f"gave the error {result.error!r}"
        right = result.stdout.startswith(self.stdout) if self.prefix else result.stdout == self.stdout
        return None if right else f"printed {result.stdout[:80]!r}"

    def late(self, result: ExecutionResult) -> bool:
        """An honest program was cut off by the wall limit: a false timeout."""
        return not self.hostile and result.status is Status.TIMEOUT


def _print(token: str, rng: random.Random) -> tuple[str, str]:
    return f"print({token!r})", f"{token}\n"


def _arithmetic(token: str, rng: random.Random) -> tuple[str, str]:
    a, b = rng.randrange(10**9), rng.randrange(1, 10**9)
    return (
        f"a, b = {a}, {b}\nprint(a * b, a // b, a % b)\n{token!r}",
        f"{a * b} {a // b} {a % b}\n{token!r}\n",
    )


def _sympy(token: str, rng: random.Random) -> tuple[str, str]:
    a, b = rng.randrange(2, 99), rng.randrange(100, 999)
    code = f"from sympy import *\nx = symbols('x')\nprint(expand((x + {a}) * (x - {b})), sqrt({4 * a * a}))"
    return f"{code}\nprint({token!r})", f"x**2 - {b - a}*x - {a * b} {2 * a}\n{token}\n"


def _numpy(token: str, rng: random.Random) -> tuple[str, str]:
    n = rng.randrange(10, 10_000)
    return f"import numpy as np\nprint(int(np.arange({n}).sum()), {token!r})", f"{n * (n - 1) // 2} {token}\n"


def _output(token: str, rng: random.Random) -> tuple[str, str]:
    text = f"{token}\n" * rng.randrange(1, 8000)
    return f"print({token + chr(10)!r} * {text.count(token)}, end='')", text[:_CAP]


def _files(token: str, rng: random.Random) -> tuple[str, str]:
    code = f"""
import os
before = os.listdir('.')
os.mkdir('folder')
for i in range({rng.randrange(1, 20)}):
    with open(f'folder/{{i}}', 'w') as file:
        file.write({token!r})
print(before, open('folder/0').read())
"""
    return code, f"[] {token}\n"


def _threads(token: str, rng: random.Random) -> tuple[str, str]:
    code = f"""
import threading
found = []
threads = [threading.Thread(target=found.append, args=(i,)) for i in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sum(found), {token!r})
"""
    return code, f"15 {token}\n"


def _error(token: str, rng: random.Random) -> tuple[str, str]:
    return f"print({token!r})\nraise ValueError({token!r})", f"{token}\n"


_HONEST: dict[str, tuple[float, Callable[[str, random.Random], tuple[str, str]]]] = {  # weight, maker
    "print": (30, _print),
    "arithmetic": (20, _arithmetic),
    "sympy": (12, _sympy),
    "numpy": (10, _numpy),
    "error": (10, _error),
    "output": (6, _output),
    "files": (7, _files),
    "threads": (5, _threads),
}

# after printing its token; code, how it may end, and whether the token is all that it prints
_HOSTILE: dict[str, tuple[str, frozenset[Status], bool]] = {
    "loop": ("while True: pass", _LATE, True),
    "loop in C": ("sum(iter(int, 1))", _LATE, True),
    "regular expression": ("import re\nre.match('(a+)+$', 'a' * 60 + 'b')", _LATE, True),
    "memory": ("x = []\nwhile True: x.append(bytes(10**7))", _STOPPED, True),
    "output": ("while True: print(TOKEN * 100)", _STOPPED, False),
    "fork": (
        "import os\nmade = 0\nfor _ in range(10):\n    try: made += 1 if os.fork() else os._exit(0)\n"
        "    except OSError: pass\nassert not made",
        _OK,
        True,
    ),
    "daemon": ("import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)", _ERROR, True),
    "descriptors": ("import os\nos.closerange(0, 256)\n1/0", _ERROR, True),
    "stop": ("import os\nos.kill(os.getpid(), 19)", _LATE, True),
    "kill": ("import os\nos.kill(os.getpid(), 9)", frozenset({Status.KILLED}), True),
    "recursion": (
        "import sys\nsys.setrecursionlimit(10**9)\nf = lambda x: [f(x) for _ in x]\nf([1])",
        _STOPPED,
        True,
    ),
    "threads": (
        "import threading, time\nfor _ in range(100): threading.Thread(target=time.sleep, args=(9,)).start()",
        _STOPPED,
        True,
    ),
    "files": ("i = 0\nwhile True:\n    open(str(i), 'w').write('x' * 999)\n    i += 1", _STOPPED, True),
    "report": (
        "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'{}\\n' * 99)\n    except OSError: pass",
        _ANY,
        True,
    ),
    "patches": (
        "import builtins, os, sys\nbuiltins.open = builtins.print = os.write = None\nsys.modules.clear()",
        _ANY,
        True,
    ),
    "network": ("import socket\nsocket.socket()", _ERROR, True),
}


def make(rng: random.Random, hostile_share: float) -> SoakProgram:
    """A program of a random kind, hostile with that probability."""
    token = "T" + secrets.token_hex(8)
    if rng.random() < hostile_share:
        kind = rng.choice(list(_HOSTILE))
        code, statuses, all_it_prints = _HOSTILE[kind]
        code = f"TOKEN = {token!r}\nprint(TOKEN, flush=True)\n{code}"
        return SoakProgram(
            f"hostile {kind}", True, token, code, statuses, f"{token}\n", prefix=not all_it_prints
        )
    kind = rng.choices(list(_HONEST), [weight for weight, _ in _HONEST.values()])[0]
    code, stdout = _HONEST[kind][1](token, rng)
    if kind == "error":
        return SoakProgram(kind, False, token, code, _ERROR, stdout, error=f"ValueError: {token}")
    return SoakProgram(kind, False, token, code, _OK, stdout)
