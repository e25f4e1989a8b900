"""Attacks on other executions: those that come next, and those in another worker."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator

import pytest

from src.config import SandboxConfig
from src.sandbox import ExecutionResult, Sandbox, Status, build_sandbox
from src.sandbox.pool import WorkerPool
from tests.sandbox.helpers import eventually

Attack = Callable[[str], ExecutionResult]


def test_nothing_patched_survives(attack: Attack) -> None:
    attack(
        """
import builtins, sys, sympy, numpy, os, json
builtins.print = lambda *_: None
builtins.open = None
sympy.solve = numpy.sum = os.fork = os.write = json.dumps = None
sys.modules.clear()
sys.stdout = None
sys.setrecursionlimit(50)
globals()["leftover"] = 1
builtins.leftover = 2
"""
    )
    code = "import sympy, sys\nx = sympy.symbols('x')\nprint(sympy.solve(x - 2), sys.getrecursionlimit())"
    result = attack(f"{code}\nleftover")
    assert result.stdout == "[2] 1000\n"
    assert result.error == "NameError: name 'leftover' is not defined"


LEFTOVERS = {  # what is done, what the next is asked, and what it must say
    "path": (
        "sys.path.insert(0, '/x'); sys.meta_path.clear()",
        "'/x' in sys.path, bool(sys.meta_path)",
        "(False, True)",
    ),
    "modules": ("sys.modules['math'] = None", "math.pi > 3", "True"),
    "directory": ("os.mkdir('d'); os.chdir('d')", "os.path.basename(os.getcwd()) == 'd'", "False"),
    "mask": ("os.umask(0)", "oct(os.umask(0))", "'0o77'"),
    "environment": ("os.environ['A'] = 'b'", "dict(os.environ)", "{}"),
    "signals": ("signal.signal(2, signal.SIG_IGN)", "signal.getsignal(2) == signal.SIG_IGN", "False"),
    "blocked signals": ("signal.pthread_sigmask(0, {15})", "signal.pthread_sigmask(0, [])", "set()"),
    "timer": ("signal.setitimer(0, 0.1)", "time.sleep(0.2) or signal.getitimer(0)", "(0.0, 0.0)"),
    "recursion": ("sys.setrecursionlimit(99)", "sys.getrecursionlimit()", "1000"),
    "digits": ("sys.set_int_max_str_digits(0)", "sys.get_int_max_str_digits()", "4300"),
    "garbage": ("gc.disable(); gc.unfreeze()", "gc.isenabled()", "True"),
    "trace": ("sys.settrace(lambda *_: None)", "sys.gettrace()", ""),
    "hooks": ("sys.excepthook = sys.displayhook = print", "sys.excepthook is print", "False"),
    "decimals": ("decimal.getcontext().prec = 2", "decimal.getcontext().prec", "28"),
    "randomness": ("random.seed(1)", "random.Random(1).random() == random.random()", "False"),
    "locale": ("locale.localeconv = None", "locale.localeconv()['decimal_point']", "'.'"),
    "codecs": (
        "codecs.register(lambda n: codecs.lookup('utf-8') if n == 'mine' else None)",
        "codecs.lookup('mine')",
        None,
    ),
    "stack of threads": ("threading.stack_size(1 << 20)", "threading.stack_size()", "0"),
    "numpy's errors": ("numpy.seterr(all='raise')", "numpy.geterr()['divide']", "'warn'"),
    "numpy's printing": ("numpy.set_printoptions(precision=1)", "numpy.get_printoptions()['precision']", "8"),
    "sympy's functions": ("sympy.Integer.__add__ = lambda a, b: a", "sympy.Integer(1) + 1", "2"),
    "sympy's caches": ("sympy.core.cache.clear_cache(); sympy.sqrt = None", "sympy.sqrt(8)", "2*sqrt(2)"),
    "constants": ("math.pi = 3", "math.pi > 3.1", "True"),
    "limits": ("resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))", "resource.getrlimit(7)[0] > 8", "True"),
    "warnings": (
        "warnings.simplefilter('error')",
        "warnings.warn('x')",
        "<program>:5: UserWarning: x\n  warnings.warn('x')",
    ),
    "locks": (
        "threading._active_limbo_lock.acquire(); logging._lock.acquire()",
        "logging.getLogger('a').name",
        "'a'",
    ),
    "import lock": ("_imp.acquire_lock()", "__import__('wave').__name__", "'wave'"),
    "small numbers": (
        "ctypes.c_long.from_address(id(7) + 24).value = 8",
        "3 + 4 == 7, str(3 + 4)",
        "(True, '7')",
    ),
    "the only None": ("ctypes.memset(id(type(None)) + 24, 0, 8)", "type(None).__name__", "'NoneType'"),
}
IMPORTS = """
import _imp, atexit, codecs, ctypes, decimal, gc, locale, logging, math, numpy, os, random, resource, signal
import sympy, sys, threading, time, warnings
"""


@pytest.mark.parametrize("what", LEFTOVERS)
def test_nothing_changed_is_found_by_the_next(attack: Attack, what: str) -> None:
    change, question, expected = LEFTOVERS[what]
    attack(f"{IMPORTS}\n{change}")
    result = attack(f"{IMPORTS}\n{question}")
    if expected is None:
        assert result.status is Status.ERROR
    else:
        assert (result.status, result.stdout.strip()) == (Status.OK, expected)


def test_the_warm_interpreters_memory_is_not_shared(attack: Attack) -> None:
    """Neither its objects nor what they point to."""
    scribble = (
        "import ctypes, sympy\nfor o in list(sympy.__dict__.values()): ctypes.memset(id(o) + 16, 1, 64)"
    )
    assert attack(scribble).status is not Status.OK
    assert attack("import sympy\nprint(sympy.sqrt(8) + sympy.pi)").stdout == "2*sqrt(2) + pi\n"


def test_a_death_with_locks_held_is_the_programs_own(attack: Attack) -> None:
    lock = "import logging, threading\nlogging._lock.acquire()\nthreading._active_limbo_lock.acquire()\n"
    assert attack(lock + "import time\ntime.sleep(9)").status is Status.TIMEOUT
    use = "import threading\nt = threading.Thread(target=print, args=('fine',))\nt.start()\nt.join()"
    assert attack(use).stdout == "fine\n"


SIGNS = {
    "link": ("os.symlink('SIGN', 'mark')", "os.readlink(path) == 'SIGN'"),
    "file": ("open('mark', 'w').write('SIGN')", "open(path).read()"),
    "existence": ("open('mark', 'w').close()", "os.stat(path)"),
    "folder": ("os.mkdir('mark')", "os.chdir(path) or True"),
}


@pytest.mark.parametrize("kind", SIGNS)
def test_what_one_leaves_is_not_found_by_one_that_is_already_waiting(pool: WorkerPool, kind: str) -> None:
    """Queued back to back: clearing up may come later, finding it may not."""
    leave, look = SIGNS[kind]
    search = f"""
import os
here = os.getcwd()
names = [here, *(f"{{here.rstrip('0123456789')}}{{i}}" for i in range(100))]
for name in names:
    path = name + "/mark"
    try:
        if {look}: print("found", path)
    except OSError:
        pass
"""
    sign = secrets.token_hex(4)
    pairs = [
        [pool.submit(f"import os\n{code}".replace("SIGN", sign)) for code in (leave, search)]
        for _ in range(10)
    ]
    for left, searched in pairs:
        assert left.result().status is Status.OK
        result = searched.result()
        assert (result.status, result.stdout) == (Status.OK, "")


@pytest.fixture(scope="module")
def pair(pool: WorkerPool) -> Iterator[Sandbox]:
    """Two workers in the jail under attack."""
    cfg = SandboxConfig(jail=pool.jail, workers=2, warm=[], wall_seconds=2, cpu_seconds=2, memory_mb=128)
    with build_sandbox(cfg) as sandbox:
        yield sandbox


HOGS = {
    "threads": "import threading\ndef f():\n    while True: pass\n"
    "for _ in range(12): threading.Thread(target=f).start()",
    "memory": "x = []\nwhile True:\n    x = [bytes(10**6) for _ in range(100)]",
    "files": "i = 0\nwhile True:\n    open(str(i % 900), 'w').write('x' * 10**4); i += 1",
    "output": "while True: print('x' * 10**4)",
    "yielding": "import os\nwhile True: os.sched_yield()",
    "mapping": "import mmap\nwhile True: mmap.mmap(-1, 10**8).close()",
    "system calls": "import os\nwhile True: os.getppid(), os.stat('.')",
    "deaths": "import os\nos.kill(os.getpid(), 9)",
}


@pytest.mark.long
@pytest.mark.parametrize("kind", HOGS)
def test_a_greedy_program_leaves_the_others_their_share(pair: Sandbox, kind: str) -> None:
    hogs = [pair.submit(HOGS[kind], trajectory="greedy") for _ in range(3)]
    assert eventually(lambda: pair.stats()["queue"] < 3)
    start, token = time.monotonic(), secrets.token_hex(8)
    result = pair.run(f"print(sum(range(10**5)), {token!r})", trajectory="modest")
    assert (result.status, result.stdout) == (Status.OK, f"4999950000 {token}\n")
    assert result.seconds < 2  # once it has a worker; which is at most one wall limit away
    assert time.monotonic() - start < 3.5
    for hog in hogs:
        assert hog.result().status is not Status.INFRASTRUCTURE


def test_two_programs_at_once_are_not_mixed_up(pair: Sandbox) -> None:
    tokens = [secrets.token_hex(8) for _ in range(100)]
    code = "open('f', 'a').write({0!r})\nfor part in {0!r}: print(part, end='', flush=True)\n"
    code += "print(open('f').read())"
    futures = [pair.submit(code.format(token)) for token in tokens]
    assert [future.result().stdout for future in futures] == [f"{token}{token}\n" for token in tokens]
