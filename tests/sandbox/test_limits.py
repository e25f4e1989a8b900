"""Attacks on time, memory and output: each ends as its own status, in time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from src.sandbox import ExecutionResult, Status, build_sandbox
from tests.sandbox.helpers import cold

Attack = Callable[[str], ExecutionResult]

ENDLESS = {
    "python": "while True: pass",
    "sleep": "import time\ntime.sleep(1000)",
    "power": "10 ** 10 ** 9 % 7",
    "regular expression": "import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
    "nested repetition": "import re\nre.match('(?:(?:a|aa)+)+$', 'a' * 90 + 'b')",
    "back reference": "import re\nre.search(r'(.*)(.*)(.*)(.*)(.*)\\\\1\\\\5x', 'ab' * 2000)",
    "sum in C": "import itertools\nsum(itertools.repeat(0))",
    "search in C": "import itertools\n'x' in itertools.repeat('a')",
    "length in C": "import collections, itertools\ncollections.deque(itertools.count(), maxlen=0)",
    "largest in C": "max(iter(int, 1))",
    "factorial": "import math\nmath.factorial(10**8)",
    "decimal": "import decimal\nprint(decimal.Context(prec=10**7).exp(decimal.Decimal(1)))",
    "numpy": "import numpy\na = numpy.ones((700, 700))\nwhile True: a = a @ a * 0 + 1",
    "libc": "import ctypes\nctypes.PyDLL(None).pause()",  # with the interpreter's lock
    "deadlock": "import threading\na = threading.Lock()\na.acquire()\na.acquire()",
    "deadlock of threads": "import threading\nt = threading.Thread(target=lambda: b.wait())\n"
    "b = threading.Barrier(3)\nt.start()\nb.wait()",
    "reading nothing": "import os\nr, w = os.pipe()\nos.read(r, 1)",
    "writing to nobody": "import os\nr, w = os.pipe()\nwhile True: os.write(w, bytes(4096))",
    "signals blocked": "import signal\nsignal.pthread_sigmask(0, range(1, 65))\nwhile True: pass",
    "stopped": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "event": "import threading\nthreading.Event().wait()",
    "generator": "def f():\n    try: yield\n    finally:\n        while True: pass\nnext(f())",
    "finaliser": "class A:\n    def __del__(self):\n        while True: pass\nA() and None\ndel A",
    "metaclass": "class M(type):\n    def __call__(cls):\n        while True: pass\n"
    "class A(metaclass=M): pass\nA()",
    "comparison": "class A:\n    def __lt__(self, o):\n        while True: pass\nsorted([A(), A()])",
    "hash": "class A:\n    def __hash__(self):\n        while True: pass\n{A(): 1}",
    "import": "import sys\nclass F:\n    def find_spec(*a):\n        while True: pass\n"
    "sys.meta_path.insert(0, F())\nimport nothing",
    "sympy": "import sympy\nsympy.factorint(sympy.nextprime(10**30) * sympy.nextprime(10**31))",
    "signals ignored": """
import signal
for number in range(1, 32):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True: pass
""",
    "errors swallowed": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "thread": "import threading\nthreading.Thread(target=threading.Event().wait).start()",
    "hostile repr": "class A:\n    def __repr__(self):\n        while True: pass\nA()",
    "hostile message": "class A(Exception):\n    def __str__(self):\n        while True: pass\nraise A",
    "interrupts": """
import signal
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 1e-5, 1e-5)
while True: pass
""",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_endless_program_times_out(attack: Attack, kind: str) -> None:
    start = time.monotonic()
    result = attack(f"print('begun')\n{ENDLESS[kind]}")
    assert (result.status, result.stdout) == (Status.TIMEOUT, "begun\n")
    assert result.error == "timed out after 1.6 s" or "CPU limit" in (result.error or "")
    assert 0.7 < result.seconds < 6
    assert time.monotonic() - start < 10


def test_cpu_time_is_limited_apart_from_wall_time() -> None:
    cfg = cold(workers=1, wall_seconds=20, cpu_seconds=0.5)
    with build_sandbox(cfg) as sandbox:
        result = sandbox.run("while True: pass")
        assert (result.status, result.error) == (Status.TIMEOUT, "CPU limit of 0.5 s exceeded")
        assert result.seconds < 10
        assert sandbox.run("import time\ntime.sleep(0.7)").status is Status.OK


MEMORY = {
    "list": "x = []\nwhile True: x.append(bytes(10**6))",
    "one piece": "bytes(10**9)",
    "numpy": "import numpy\nnumpy.ones(10**9)",
    "numpy in steps": "import numpy\nx = []\nwhile True: x.append(numpy.ones(10**5))",
    "bytearray": "x = bytearray(1)\nwhile True: x.extend(x)",
    "format": "'%0100000000000d' % 1",
    "padding": "f'{1:0>1000000000}'",
    "join": "','.join('a' * 10**6 for _ in range(10**4))",
    "replace": "('a' * 10**5).replace('a', 'b' * 10**5)",
    "nesting": "x = []\nwhile True: x = [x, x[:], bytes(10**5)]",
    "power": "x = 3\nwhile True: x = x << 10**8",
    "unpacking": "import zlib\nx = zlib.compress(bytes(10**7))\nlist(zlib.decompress(x) for _ in range(100))",
    "product": "import itertools\nlist(itertools.product(range(100), repeat=6))",
    "matrix": "import numpy\nnumpy.zeros((10**5, 10**5)) + 1",
    "thread": "import threading\nthreading.stack_size(1 << 30)\nbytes(10**9)",
    "threads": "import threading\ndef f(): bytes(10**9)\nt = threading.Thread(target=f)\nt.start()\n"
    "t.join()\nf()",
    "comprehension": "[bytes(10**4) for _ in range(10**9)]",
    "map": "import mmap\nx = []\nwhile True: x.append(mmap.mmap(-1, 10**7, flags=34))",
    "integer": "x = 1 << 10**9\nx * x",
    "string": "x = 'a'\nwhile True: x += x",
    "dictionary": "x = {}\ni = 0\nwhile True:\n    x[i] = i\n    i += 1",
}


SLOW = {"dictionary", "nesting", "numpy in steps", "product", "unpacking"}  # or the other limit comes first


@pytest.mark.parametrize("kind", MEMORY)
def test_a_memory_bomb_is_told_from_an_error(attack: Attack, kind: str) -> None:
    result = attack(MEMORY[kind])
    if kind not in SLOW or result.status is not Status.TIMEOUT:
        assert (result.status, result.error) == (Status.MEMORY, "memory limit of 128 MB exceeded")


def test_pipes_hold_little(attack: Attack) -> None:
    """Their memory is not in the address space: at most so many descriptors, each of a pipe's size."""
    result = attack(
        """
import os
kept, total = [], 0
try:
    for _ in range(1000):
        kept += (ends := os.pipe())
        os.set_blocking(ends[1], False)
        total += os.write(ends[1], bytes(10**6))
except OSError:
    pass
print(total)
"""
    )
    assert (result.status, int(result.stdout) <= 4 * 2**20) == (Status.OK, True)


def test_memory_within_the_limit_is_there(attack: Attack) -> None:
    assert attack("import numpy\nprint(int(numpy.ones(10**7).sum()))").stdout == "10000000\n"  # 80 MB


def test_a_caught_memory_error_is_the_programs_own(attack: Attack) -> None:
    code = "try:\n    bytes(10**9)\nexcept MemoryError:\n    print('caught')"
    assert (attack(code).status, attack(code).stdout) == (Status.OK, "caught\n")


def test_limits_cannot_be_raised(attack: Attack) -> None:
    for name in ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CORE"):
        result = attack(f"import resource\nresource.setrlimit(resource.{name}, (10**12, 10**12))")
        assert (result.status, "ValueError" in (result.error or "")) == (Status.ERROR, True), name


def test_long_output_is_cut_and_the_program_goes_on(attack: Attack) -> None:
    result = attack("for _ in range(20): print('a' * 10**5)\nopen('done', 'w').write('x')")
    assert (result.status, result.stdout) == (Status.OK, "".join(["a" * 65536]))


FLOODS = {
    "lines": "while True: print('a' * 1000)",
    "bytes": "import os\nwhile True: os.write(1, bytes(10**5))",
    "one line": "import sys\nwhile True: sys.stdout.write('a' * 10**5)",
    "without a buffer": "while True: print('a', flush=True)",
    "pieces": "import os\nwhile True: os.writev(1, [b'a' * 1000] * 100)",
    "threads": "import threading\ndef f():\n    while True: print('a' * 1000)\n"
    "for _ in range(8): threading.Thread(target=f).start()",
    "an interrupted one": "from signal import *\nsignal(14, lambda *_: None)\nsetitimer(0, 1e-4, 1e-4)\n"
    "while True: print('a' * 10**4)",
}


@pytest.mark.parametrize("kind", FLOODS)
def test_endless_output_ends(attack: Attack, kind: str) -> None:
    result = attack(FLOODS[kind])
    assert result.status in (Status.KILLED, Status.TIMEOUT)
    assert 1000 < len(result.stdout) <= 65536


def test_endless_output_to_other_descriptors_ends(attack: Attack) -> None:
    result = attack("import os\nwhile True: os.write(3, bytes(10**5))")
    assert result.status in (Status.KILLED, Status.TIMEOUT)
    assert len(attack("import sys\nx = sys.stderr.write('a' * 10**7)").stdout) < 2100


def test_descriptors_are_limited(attack: Attack) -> None:
    result = attack("x = [open('/dev/null') for _ in range(10**4)]")
    assert "Too many open files" in (result.error or "")


RECURSIONS = {
    "comprehensions": "def f(x): return [f([x])]\nf(1)",
    "representations": "x = []\nfor _ in range(10**6): x = [x]\nrepr(x)",
    "attributes": "class A:\n    def __getattr__(self, n): return getattr(self, n + 'a')\nA().a",
    "comparisons": "x = y = None\nfor _ in range(10**6): x, y = [x], [y]\nx == y",
    "callbacks": "import functools\nf = lambda: functools.reduce(lambda a, b: f(), [1, 2])\nf()",
    "destruction": "x = None\nfor _ in range(10**6): x = (x, )\ndel x\nimport os\nos.abort()",
    "pickles": "import pickle\nx = []\nfor _ in range(10**6): x = [x]\npickle.dumps(x)",
    "sorting": "f = lambda x: sorted([x], key=f)\nf(1)",
    "patterns": "import re\nre.compile('(' * 10**5 + ')' * 10**5)",
    "expressions": "eval('-' * 10**6 + '1')",
}


@pytest.mark.parametrize("kind", RECURSIONS)
def test_deep_recursion_in_c_is_contained(attack: Attack, kind: str) -> None:
    """It ends the program at worst."""
    result = attack(f"import sys\nsys.setrecursionlimit(10**9)\n{RECURSIONS[kind]}")
    assert result.status in (Status.KILLED, Status.MEMORY, Status.TIMEOUT, Status.ERROR)
