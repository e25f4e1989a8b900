"""What one trajectory can learn of another: a victim leaves marks wherever a program can, an attacker looks.

Both run in the same worker. The attacker knows how the marks begin, and where the sandbox keeps things.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from src.config import SandboxConfig
from src.sandbox import Status, build_sandbox
from src.sandbox.pool import WorkerPool
from tests.jails import asked_jails, in_jail

KINDS = (
    "text",
    "variable",
    "output",
    "error",
    "environment",
    "name",
    "content",
    "symbol",
    "thread",
    "pattern",
)

# All marks but the first are put together at run time, so that they are not in the text of the program.
VICTIM = """
# victim-{text}
import os, re, sys, sympy, threading
begin = "vic" + "tim-"
variable = begin + "{variable}"
kept = sys.intern(begin + "{variable}"), [variable.encode()] * 3, {{variable: variable}}
print(begin + "{output}")
print(begin + "{output}", file=sys.stderr)
os.environ["MARK"] = begin + "{environment}"
open(begin + "{name}", "w").write(begin + "{content}")
held = open(begin + "{name}", "r+")
sympy.sin(sympy.Symbol(begin + "{symbol}")).diff().simplify()
re.compile(begin + "{pattern}")
waiting = threading.Thread(target=threading.Event().wait, name=begin + "{thread}", daemon=True)
waiting.start()
"""
RECENT = "begin = 'vic' + 'tim-'\nprint([{{1: begin + '{output}'}}])  # victim-{text}"
FAILING = "\nraise ValueError(begin + '{error}')"

# What an attacker begins with: look(...) takes whatever may contain a mark.
LOOK = r"""
import ctypes, gc, os, re, sys
found = set()
BEGIN = b"vic" + b"tim-"
def look(*things):
    for thing in things:
        data = thing if isinstance(thing, (bytes, bytearray)) else repr(thing).encode("utf-8", "replace")
        found.update(re.findall(BEGIN + rb"[0-9a-f]{24}", data))
def peek(address, length):
    # pages that are not mapped are refused by the kernel instead of ending us
    for page in range(address & ~4095, address + length, 4096):
        if libc.write(ends[1], ctypes.c_void_p(page), ctypes.c_size_t(4096)) == 4096:
            look(os.read(ends[0], 4096))
def attempt(function, *arguments):
    try:
        return function(*arguments)
    except Exception as error:
        return error
def content(path):
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)
libc, ends = ctypes.CDLL(None), os.pipe()
others = [n for n in [1, os.getppid(), *range(2, 64)] if n != os.getpid()]
"""

WAYS = {
    "frames": """
frame = sys._getframe()
while frame:
    look(frame.f_locals, frame.f_code.co_consts)
    frame = frame.f_back
""",
    "frames' globals": """
frame = sys._getframe()
while frame:
    look(dict(frame.f_globals))
    frame = frame.f_back
""",
    "frames of all threads": """
for frame in sys._current_frames().values():
    while frame:
        look(frame.f_locals)
        frame = frame.f_back
""",
    "collected objects": """
for one in gc.get_objects():
    if isinstance(one, (dict, list, tuple, set)): look(attempt(repr, one))
""",
    "frozen objects": """
gc.unfreeze()
for one in gc.get_objects():
    if isinstance(one, (dict, list, tuple)): look(attempt(repr, one))
""",
    "garbage": "gc.set_debug(gc.DEBUG_SAVEALL); gc.collect(); look(gc.garbage)",
    "referrers": """
for kind in (str, bytes, dict): look(*(attempt(repr, one) for one in gc.get_referrers(kind)[:1000]))
""",
    "arenas of small objects": """
held = gc.get_objects()
places = {id(one) >> 20 for one in held} | {id(one) >> 20 for each in held for one in gc.get_referents(each)}
for place in places: peek(place << 20, 1 << 20)
""",
    "heap beside large objects": """
for size in (10**4, 10**5): peek(id(bytearray(size)) - (1 << 21), 1 << 22)
peek(ctypes.addressof(ctypes.create_string_buffer(5000)) - (1 << 21), 1 << 22)
""",
    "the whole break": """
libc.sbrk.restype = ctypes.c_void_p
end = libc.sbrk(ctypes.c_long(0))
peek(end - (96 << 20), 96 << 20)
""",
    "the stack": """
top = ctypes.c_void_p.in_dll(libc, 'environ').value
peek(top - (2 << 20), 3 << 20)
""",
    "fresh memory": """
import numpy
for size in (10**3, 10**5, 10**6): look(numpy.empty(size).tobytes())
libc.malloc.restype = ctypes.c_void_p
for size in (64, 256, 1024, 4096, 65536, 1 << 20):
    for _ in range(20): look(ctypes.string_at(libc.malloc(size), size))
""",
    "modules": """
import linecache, logging, traceback, warnings
for name in ('__main__', 'builtins', 'sys', 'linecache', 'traceback', 'threading', 'logging', 'os'):
    look(dict(vars(sys.modules[name])) if name in sys.modules else name)
""",
    "the last error": """
look(sys.exc_info(), getattr(sys, 'last_value', None), getattr(sys, 'last_traceback', None))
""",
    "lines of source": """
import linecache, traceback
look(linecache.cache, traceback.format_stack())
""",
    "compiled patterns": "look(list(re._cache), attempt(lambda: list(re._cache2)))",
    "sympy's caches": """
import sympy
from sympy.core import cache
for one in cache.CACHE:
    cells = one.__wrapped__.__closure__ or ()
    look(attempt(one.cache_info), [attempt(repr, cell.cell_contents) for cell in cells])
    look([attempt(repr, inner) for inner in gc.get_referents(one)])
""",
    "threads": """
import threading
look(threading.enumerate(), threading._active, threading._limbo)
for task in range(os.getpid() - 20, os.getpid() + 20): look(attempt(content, f'/proc/self/task/{task}/comm'))
""",
    "handlers at exit": """
import atexit, weakref
look(atexit._ncallbacks(), list(weakref.finalize._registry.items()))
""",
    "environment": """
look(dict(os.environ), os.environb)
environ, index = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, 'environ'), 0
while environ and environ[index]:
    look(environ[index])
    index += 1
""",
    "arguments": """
look(sys.argv, sys.orig_argv)
look(attempt(content, '/proc/self/cmdline'), attempt(content, '/proc/self/environ'))
""",
    "descriptors": """
for fd in range(64):
    if fd == ends[0]: continue
    attempt(os.set_blocking, fd, False)
    attempt(os.lseek, fd, 0, 0)
    look(attempt(os.read, fd, 1 << 20), attempt(os.readlink, f'/proc/self/fd/{fd}'))
""",
    "standard streams": """
os.set_blocking(0, False)
look(attempt(sys.stdin.read), attempt(lambda: sys.stderr.buffer), attempt(os.pread, 2, 4096, 0))
""",
    "the report and the orders": """
for fd in (3, 4):
    attempt(os.set_blocking, fd, False)
    look(attempt(os.read, fd, 1 << 16))
""",
    "working directory": """
for top, folders, files in os.walk('.'):
    look(top, folders, files)
    for name in files: look(attempt(content, os.path.join(top, name)))
look(os.getcwd(), attempt(os.listxattr, '.'))
""",
    "beside it": """
for path in ('..', '/tmp', os.path.dirname(os.getcwd())):
    names = attempt(os.listdir, path)
    look(names)
    for name in names if isinstance(names, list) else ():
        look(attempt(lambda: list(os.walk(os.path.join(path, name)))))
""",
    "guessed folders": """
for root in ('..', '/tmp', os.path.dirname(os.getcwd())):
    for name in [*(f'other{n}' for n in range(64)), *map(str, range(64)), 'work', 'scratch']:
        look(attempt(os.listdir, f'{root}/{name}'), attempt(os.stat, f'{root}/{name}'))
""",
    "temporary folders": """
import tempfile
for path in (tempfile.gettempdir(), '/var/tmp', '/run', '/dev/shm', '/dev/mqueue', os.path.expanduser('~')):
    look(attempt(os.listdir, path))
""",
    "shared memory by name": """
from multiprocessing import shared_memory
look([attempt(shared_memory.SharedMemory, name) for name in ('mark', 'psm_0', 'work')])
look(attempt(os.listdir, '/dev/shm'))
""",
    "shared memory of System V": """
for key in range(32):
    if libc.shmget(key, 0, 0) >= 0: look('vic' + 'tim-' + '0' * 24)
""",
    "other processes": """
for pid in others:
    for name in ('environ', 'cmdline', 'comm', 'maps', 'stack', 'wchan', 'fd', 'cwd', 'mem', 'smaps', 'io'):
        path = f'/proc/{pid}/{name}'
        look(attempt(content, path), attempt(os.listdir, path), attempt(os.readlink, path))
""",
    "other processes' files": """
for pid in others:
    for fd in range(32):
        path = f'/proc/{pid}/fd/{fd}'
        look(attempt(os.readlink, path), attempt(content, path))
    look(attempt(os.listdir, f'/proc/{pid}/cwd'), attempt(os.listdir, f'/proc/{pid}/root/tmp'))
""",
    "other processes' memory": """
here = ctypes.create_string_buffer(1 << 16)
class Part(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
for pid in others:
    for address in (id(here) & ~65535, id(look) & ~65535):
        ours, theirs = Part(ctypes.addressof(here), len(here)), Part(address, len(here))
        got = libc.process_vm_readv(pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
        if got > 0: look(here.raw)
""",
    "tracing": """
for pid in others:
    if libc.ptrace(16, pid, None, None) == 0: look('vic' + 'tim-' + '0' * 24)
""",
    "their descriptors": """
for pid in others:
    handle = libc.syscall(434, pid, 0)
    for fd in range(8):
        copy = libc.syscall(438, handle, fd, 0) if handle >= 0 else -1
        if copy >= 0: look(attempt(os.pread, copy, 1 << 16, 0))
""",
    "files by handle": """
handle = ctypes.create_string_buffer(b'\\x08\\0\\0\\0\\x01\\0\\0\\0' + bytes(120))
look(libc.open_by_handle_at(-100, handle, 0), attempt(content, '/proc/self/mountinfo'))
""",
    "deleted files": """
for fd in range(64):
    if fd not in ends: look(attempt(content, f'/proc/self/fd/{fd}'))
""",
    "recycled blocks": """
fd = os.open('fresh', os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1 << 19)
attempt(os.posix_fallocate, fd, 0, 1 << 19)
look(os.pread(fd, 1 << 19, 0))
""",
    "recycled pipes": """
for _ in range(8):
    a, b = os.pipe()
    os.set_blocking(a, False)
    look(attempt(os.read, a, 4096))
    os.close(a); os.close(b)
""",
    "locks": """
import fcntl
look(attempt(content, '/proc/locks'), attempt(fcntl.fcntl, os.open('.', 0), 5, bytes(32)))
""",
    "the kernel's log and keys": """
buffer = ctypes.create_string_buffer(1 << 16)
look(buffer.raw[:max(libc.klogctl(3, buffer, len(buffer)), 0)], libc.syscall(250, 0, -1, 0))
look(attempt(content, '/dev/kmsg'), attempt(content, '/proc/keys'))
""",
    "signals": """
import signal
look(signal.sigpending(), [signal.getsignal(n) for n in range(1, 65)])
look(attempt(signal.sigtimedwait, range(1, 32), 0))
""",
    "random numbers": """
import random
look(random.getstate())
""",
    "the dynamic linker": "look(attempt(content, '/proc/self/maps'), attempt(ctypes.CDLL, 'victim.so'))",
}
# A mark of the attacker's own, where it looks: shows that the way finds what is there.
OWN = {
    "frames": "mine = BEGIN + b'{0}'",
    "frames' globals": "mine = BEGIN + b'{0}'",
    "collected objects": "mine = [BEGIN.decode() + '{0}']",
    "frozen objects": "mine = [BEGIN.decode() + '{0}']\ngc.freeze()",
    "arenas of small objects": "mine = [BEGIN + b'{0}' for _ in range(3)]",
    "heap beside large objects": "mine = (BEGIN + b'{0}') * 200",
    "the whole break": """
libc.malloc.restype = ctypes.c_void_p
buffers = [libc.malloc(4096) for _ in range(50)]
for buffer in buffers: ctypes.memmove(buffer, BEGIN + b'{0}', 31)
""",
    "lines of source": "import linecache\nlinecache.cache['x'] = BEGIN + b'{0}'",
    "compiled patterns": "re.compile(BEGIN.decode() + '{0}')",
    "environment": "os.environ['A'] = BEGIN.decode() + '{0}'",
    "descriptors": "mine = open('mine', 'w+b', 0); mine.write(BEGIN + b'{0}')",
    "working directory": "open('mine', 'wb').write(BEGIN + b'{0}')",
    "threads": """
import threading
threading.Thread(target=threading.Event().wait, name=BEGIN.decode() + '{0}', daemon=True).start()
""",
}


def marks() -> dict[str, str]:
    return {kind: secrets.token_hex(12) for kind in KINDS}


def attack(way: str, own: str | None = None) -> str:
    planted = "" if own is None else OWN[way].format(own)
    return f"{LOOK}\n{planted}\n{WAYS[way]}\nprint('found', sorted(found))"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "shared" in metafunc.fixturenames:
        states = ("fresh", "replay", "session")
        cases = [
            pytest.param((jail, state), marks=getattr(pytest.mark, jail), id=f"{jail}-{state}")
            for jail in asked_jails(metafunc.config)
            for state in states
        ]
        metafunc.parametrize("shared", cases, indirect=True, scope="module")


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest) -> Iterator[tuple[WorkerPool, set[str]]]:
    """A worker in which victims ran and, where programs leave a state, still live; with their marks."""
    jail, state = request.param
    cfg = SandboxConfig(jail=jail, state=state, workers=1, wall_seconds=20, cpu_seconds=20)
    with build_sandbox(cfg) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        known: set[str] = set()
        for number in range(3):
            for failing in (False, True):
                mine = marks()
                text = (VICTIM + FAILING * failing).format(**mine)
                result = sandbox.run(text, trajectory=f"victim-{number}")
                assert result.status is (Status.ERROR if failing else Status.OK), result
                assert mine["output"] in result.stdout
                known.update(mine.values())
        yield sandbox, known


@pytest.mark.parametrize("way", WAYS)
def test_no_mark_of_another_trajectory_is_found(shared: tuple[WorkerPool, set[str]], way: str) -> None:
    sandbox, known = shared
    workers = sandbox.pids()
    for _ in range(3):  # right before: more of them than children that were forked even earlier
        mine = marks()
        known.update(mine.values())
        assert sandbox.run(RECENT.format(**mine), trajectory="recent").status is Status.OK
    result = sandbox.run(attack(way), trajectory=f"attacker-{way}")
    said = f"{result.stdout}\n{result.error}"
    assert [mark for mark in known if mark in said] == []
    assert "tim-000" not in said, "what should be refused was not"
    assert result.status is Status.OK, result
    assert "found []" in result.stdout
    assert sandbox.pids() == workers


@pytest.mark.parametrize("way", OWN)
def test_the_same_way_finds_a_mark_of_its_own(shared: tuple[WorkerPool, set[str]], way: str) -> None:
    own = secrets.token_hex(12)
    result = shared[0].run(attack(way, own), trajectory=f"own-{way}")
    assert result.status is Status.OK, result
    assert re.findall(r"tim-([0-9a-f]{24})", result.stdout) == [own]


def test_flags_of_descriptors_are_not_passed_on(shared: tuple[WorkerPool, set[str]]) -> None:
    """No two programs share a file: its flags would be a letter box."""
    sandbox, _known = shared
    change = "import os\nfor fd in (0, 1, 2): os.set_blocking(fd, False)"
    look = "import os\nprint([os.get_blocking(fd) for fd in (0, 1, 2)])"
    for number in range(3):  # more than there are children that were forked before the first
        assert sandbox.run(change, trajectory=f"changes-{number}").status is Status.OK
        assert sandbox.run(look, trajectory=f"looks-{number}").stdout == "[True, True, True]\n"


@pytest.mark.parametrize("jail", [in_jail("bubblewrap"), in_jail("sandlock")])
def test_nor_is_one_of_a_victim_that_runs_at_the_same_time(jail: str) -> None:
    """In another worker: they share the machine, and in some jails its file system."""
    mine = marks()
    slow = VICTIM.format(**mine) + "\nimport time\ntime.sleep(6)"
    with build_sandbox(SandboxConfig(jail=jail, workers=2, wall_seconds=20, cpu_seconds=20)) as sandbox:
        victim: Any = sandbox.submit(slow, trajectory="victim")
        ways = (
            "beside it",
            "temporary folders",
            "other processes",
            "other processes' files",
            "locks",
            "threads",
        )
        for way in ways:
            result = sandbox.run(attack(way), trajectory="attacker")
            said = f"{result.stdout}\n{result.error}"
            assert [mark for mark in mine.values() if mark in said] == []
            assert "found []" in result.stdout, result
        assert not victim.done()
        sandbox.cancel(victim)
