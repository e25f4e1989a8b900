"""Attacks on processes, the network, the kernel and the worker's own channel."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from src.sandbox import ExecutionResult, Status
from src.sandbox.pool import WorkerPool
from tests.sandbox.helpers import descendants, eventually

Attack = Callable[[str], ExecutionResult]

WAYS_TO_FORK = {
    "fork": "os.fork() or os._exit(0)",
    "vfork": "ctypes.CDLL(None).vfork() < 0 and fail()",
    "clone": "ctypes.CDLL(None, use_errno=True).syscall(CLONE, 17, 0, 0, 0, 0) < 0 and fail()",
    "clone3": "ctypes.CDLL(None).syscall(435, bytes(88), 88) < 0 and fail()",
    "spawn": "os.posix_spawn(sys.executable or '/bin/true', ['x'], {})",
    "subprocess": "subprocess.Popen([sys.executable or '/bin/true'])",
    "multiprocessing": "multiprocessing.Process(target=print).start()",
    "system": "os.system('true') and fail()",
    "popen": "os.popen('true').close() and fail()",
    "daemon": "os.fork() or (os.setsid(), os.fork() or time.sleep(100))",
    "exec": "os.execv(sys.executable or '/bin/true', ['x'])",
}


@pytest.mark.parametrize("way", WAYS_TO_FORK)
def test_no_process_is_made(attack: Attack, way: str) -> None:
    """A fork bomb cannot start; bounded, in case it could."""
    result = attack(
        f"""
import ctypes, multiprocessing, os, subprocess, sys, time
CLONE = 56 if os.uname().machine == "x86_64" else 220
def fail():
    raise PermissionError
made = 0
for _ in range(20):
    try:
        {WAYS_TO_FORK[way]}
        made += 1
    except OSError:
        pass
print("made", made)
"""
    )
    assert (result.status, result.stdout) == (Status.OK, "made 0\n")


def test_threads_work_in_moderation(attack: Attack) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as executor:
    print(sum(executor.map(abs, range(100))))
"""
    assert attack(code).stdout == "4950\n"


def test_a_thread_bomb_is_stopped(attack: Attack) -> None:
    result = attack(
        """
import threading, time
threading.stack_size(32768)
for _ in range(2000):
    threading.Thread(target=time.sleep, args=(60,)).start()
"""
    )
    # the exact limit where the kernel counts for the jail alone, the worker's watch elsewhere
    assert result.error in ("more than 16 threads", "RuntimeError: can't start new thread")


def test_a_script_waits_for_its_threads(attack: Attack) -> None:
    code = (
        "import threading, time\ndef f(): time.sleep(0.1); print('late')\nthreading.Thread(target=f).start()"
    )
    assert attack(code).stdout == "late\n"


WAYS_TO_SIGNAL = {
    "worker": "os.kill(os.getppid(), 9)",
    "group of the worker": "os.killpg(os.getpgid(os.getppid()), 9)",
    "own group": "os.kill(0, 9)",
    "all": "os.kill(-1, 9)",
    "stop the worker": "os.kill(os.getppid(), signal.SIGSTOP)",
    "thread of the worker": "libc.syscall(TGKILL, os.getppid(), os.getppid(), 9) < 0 and fail()",
    "queue": "libc.sigqueue(os.getppid(), 9, None) < 0 and fail()",
    "pidfd": "signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)",
    "owner of a descriptor": "fcntl.fcntl(1, 8, os.getppid())",
    "limits of the worker": "resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))",
    "priority of the worker": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    "cores of the worker": "os.sched_setaffinity(os.getppid(), {0})",
    "trace the worker": "libc.ptrace(16, os.getppid(), None, None) < 0 and fail()",
    "be traced": "libc.ptrace(0, 0, None, None) < 0 and fail()",
    "read the worker": "libc.process_vm_readv(os.getppid(), None, 0, None, 0, 0) < 0 and fail()",
    "open the worker": "open(f'/proc/{os.getppid()}/mem', 'r+b')",
    "list the worker": "os.listdir(f'/proc/{os.getppid()}/fd')",
}


@pytest.mark.parametrize("way", WAYS_TO_SIGNAL)
def test_the_worker_is_out_of_reach(attack: Attack, way: str) -> None:
    result = attack(
        f"""
import ctypes, fcntl, os, resource, signal
libc = ctypes.CDLL(None)
TGKILL = 234 if os.uname().machine == "x86_64" else 131
def fail():
    raise PermissionError
{WAYS_TO_SIGNAL[way]}
print("done")
"""
    )
    assert (result.status, result.stdout) == (Status.ERROR, "")


def test_processes_of_the_host_are_out_of_reach(attack: Attack) -> None:
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        for act in (
            "os.kill(pid, 9)",
            "open(f'/proc/{pid}/environ').read()",
            "os.listdir(f'/proc/{pid}/fd')",
        ):
            assert attack(f"import os\npid = {victim.pid}\n{act}").status is Status.ERROR
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_the_program_may_signal_itself(attack: Attack) -> None:
    killed = attack("import os\nprint('before', flush=True)\nos.kill(os.getpid(), 9)")
    assert (killed.status, killed.stdout) == (Status.KILLED, "before\n")
    assert killed.error == "killed by signal 9 (SIGKILL)"
    assert attack("import os\nos.kill(os.getpid(), 19)").status is Status.TIMEOUT
    assert attack("import os\nos.abort()").error == "killed by signal 6 (SIGABRT)"
    alarm = (
        "import signal\nsignal.signal(14, lambda *_: print('rang'))\nsignal.setitimer(0, 0.1)\nsignal.pause()"
    )
    assert attack(alarm).stdout == "rang\n"


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_VSOCK"])
def test_no_socket_opens(attack: Attack, family: str) -> None:
    result = attack(
        f"""
import socket
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
    try:
        socket.socket(socket.{family}, kind)
    except PermissionError:
        print("refused")
"""
    )
    assert (result.status, result.stdout) == (Status.OK, "refused\n" * 4)


def test_a_server_on_this_machine_is_out_of_reach(attack: Attack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        for act in (
            f"socket.create_connection(('127.0.0.1', {port}))",
            f"urllib.request.urlopen('http://127.0.0.1:{port}', timeout=1)",
            "socket.socketpair()",
            "socket.getaddrinfo('example.org', 80)",
        ):
            assert attack(f"import socket, urllib.request\n{act}").status is Status.ERROR
        with pytest.raises(TimeoutError):
            server.accept()


SYSTEM_CALLS = {  # name: (x86-64, arm64)
    "socket": (41, 198),
    "ptrace": (101, 117),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "open_by_handle_at": (304, 265),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "setuid": (105, 146),
    "capset": (126, 91),
    "personality": (135, 92),
    "execve": (59, 221),
    "mknodat": (259, 33),
    "init_module": (175, 105),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "clock_settime": (227, 112),
    "fsopen": (430, 430),
    "mlockall": (151, 230),
}


@pytest.mark.parametrize("name", SYSTEM_CALLS)
def test_a_dangerous_system_call_is_refused(attack: Attack, name: str) -> None:
    number = SYSTEM_CALLS[name][platform.machine() != "x86_64"]
    code = (
        f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nlibc.syscall({number}, 0, 0, 0, 0, 0, 0)"
    )
    result = attack(f"{code}\nprint(ctypes.get_errno())")
    assert (result.status, result.stdout) == (Status.OK, "1\n")  # EPERM, whatever the arguments


def test_a_system_call_of_the_future_is_unknown(attack: Attack) -> None:
    code = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall(NUMBER)
print(ctypes.get_errno())
"""
    assert attack(code.replace("NUMBER", "1000")).stdout == "38\n"  # ENOSYS
    x32 = attack(code.replace("NUMBER", str(0x40000000 + 57)))
    assert x32.stdout == "38\n" or x32.error == "killed by signal 31 (SIGSYS)"  # sandlock's own filter kills


@pytest.mark.parametrize("machine", ["x86_64"])
def test_the_32_bit_entry_is_closed(attack: Attack, machine: str) -> None:
    """``int 0x80`` counts calls differently: 2 is fork there."""
    result = attack(
        """
import ctypes, mmap
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes.fromhex("b802000000cd80c3"))
entry = ctypes.addressof(ctypes.c_char.from_buffer(code))
print(ctypes.CFUNCTYPE(ctypes.c_int)(entry)())
"""
    )
    if platform.machine() == machine:
        assert result.error == "killed by signal 31 (SIGSYS)"
    else:
        assert result.status is Status.KILLED  # not even an instruction there


def test_privileges_are_gone(pool: WorkerPool) -> None:
    before = descendants(os.getpid())
    running = pool.submit("import time\ntime.sleep(0.6)")
    assert eventually(lambda: bool(descendants(os.getpid()) - before))
    (program,) = descendants(os.getpid()) - before

    def settled() -> bool:
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{program}/status").read_text().splitlines()
        )
        none = {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        return none and (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")

    assert eventually(settled, seconds=0.4)
    assert running.result().status is Status.OK


FORGED = """
import json, os
frame = {"id": NUMBER, "status": "infrastructure", "stdout": "forged", "error": None, "seconds": 0}
body = json.dumps(frame).encode()
for fd in range(256):
    try:
        os.write(fd, len(body).to_bytes(4, "big") + body)
    except OSError:
        pass
"""


def test_frames_are_neither_forged_nor_read(attack: Attack, pool: WorkerPool) -> None:
    for ahead in range(3):
        result = attack(FORGED.replace("NUMBER", str(int(pool.stats()["executions"]) + ahead)))
        assert (result.status, result.error) == (Status.ERROR, "the program wrote over its own report")
    result = attack(
        """
import os
for fd in range(256):
    try:
        os.set_blocking(fd, False)
        data = os.read(fd, 100)
    except OSError:
        continue
    if data:
        print(fd, data)
"""
    )
    assert (result.status, result.stdout) == (Status.OK, "")


def test_frames_on_stdout_are_only_text(attack: Attack) -> None:
    frame = '{"id": 1, "status": "infrastructure", "stdout": "", "error": null, "seconds": 0}'
    result = attack(f"import sys\nx = sys.stdout.write('\\0\\0\\0\\x50' + {frame!r})")
    assert (result.status, result.stdout) == (Status.OK, "\0\0\0\x50" + frame)


@pytest.mark.parametrize("rest", ["", "while True: pass", "import os; os.kill(os.getpid(), 9)", "1/0"])
def test_closing_every_descriptor_hides_nothing(attack: Attack, rest: str) -> None:
    result = attack(f"import os\nos.closerange(0, 256)\n{rest}")
    expected = {"": Status.ERROR, "while True: pass": Status.TIMEOUT, "1/0": Status.ERROR}
    assert result.status is expected.get(rest, Status.KILLED)


def test_a_program_cannot_claim_that_the_sandbox_failed(attack: Attack) -> None:
    for status in ("infrastructure", "timeout", "nonsense", None, 7):
        code = f"import json, os\nos.write(3, json.dumps({{'status': {status!r}, 'error': 'x'}}).encode())"
        result = attack(code + "\nos._exit(0)")
        assert (result.status, result.error) == (Status.ERROR, "x")


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


def test_the_worker_grows_no_descriptors(attack: Attack, pool: WorkerPool) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for code in ("print(1)", "1/0", "import os; os._exit(1)"):
        attack(code)
    assert count() == before
