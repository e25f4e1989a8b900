"""Attacks on the network and the kernel: what an honest program never asks for."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import socket
from collections.abc import Callable

import pytest

from src.sandbox import ExecutionResult, Status
from src.sandbox.pool import WorkerPool

Attack = Callable[[str], ExecutionResult]
X86 = platform.machine() == "x86_64"

CALL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return libc.syscall(*wide), ctypes.get_errno()
"""
REFUSED = "(-1, 1)\n"  # EPERM


FAMILIES = ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG", "AF_CAN"]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_socket_opens(attack: Attack, family: str) -> None:
    result = attack(
        f"""
import socket
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
    try:
        socket.socket({getattr(socket, family).value}, kind)
    except PermissionError:
        print("refused")
"""
    )
    assert (result.status, result.stdout) == (Status.OK, "refused\n" * 4)


def test_no_family_of_sockets_is_left(attack: Attack) -> None:
    """Also those that nobody has heard of."""
    number = 41 if X86 else 198
    result = attack(f"{CALL}\nprint({{call({number}, f, k, 0) for f in range(64) for k in range(1, 12)}})")
    assert (result.status, result.stdout) == (Status.OK, "{(-1, 1)}\n")


WAYS_OUT = {
    "connection": "socket.create_connection(('127.0.0.1', port))",
    "web": "urllib.request.urlopen(f'http://127.0.0.1:{port}', timeout=1)",
    "pair": "socket.socketpair()",
    "name": "socket.getaddrinfo('example.org', 80)",
    "event loop": "asyncio.run(asyncio.open_connection('127.0.0.1', port))",
    "server": "socket.create_server(('127.0.0.1', 0))",
    "hidden name": "socket.socket(socket.AF_UNIX).connect(name)",
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_server_on_this_machine_is_out_of_reach(attack: Attack, way: str) -> None:
    name = "\0sandbox-test-" + secrets.token_hex(8)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0)))]
        servers.append(stack.enter_context(socket.socket(socket.AF_UNIX)))
        servers[1].bind(name)
        servers[1].listen()
        port = servers[0].getsockname()[1]
        code = f"import asyncio, socket, urllib.request\nport, name = {port}, {name!r}\n{WAYS_OUT[way]}"
        assert attack(code).status is Status.ERROR
        for server in servers:
            server.settimeout(0.05)
            with pytest.raises(TimeoutError):
                server.accept()


SYSTEM_CALLS = {  # name: (x86-64, arm64)
    "socket": (41, 198),
    "sendmsg": (46, 211),
    "ptrace": (101, 117),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "seccomp": (317, 277),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_setup": (206, 0),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262),
    "inotify_init1": (294, 26),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "vmsplice": (278, 75),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "timer_create": (222, 107),
    "timer_settime": (223, 110),
    "setuid": (105, 146),
    "setgid": (106, 144),
    "setreuid": (113, 145),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "setgroups": (116, 159),
    "setfsuid": (122, 151),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "capset": (126, 91),
    "personality": (135, 92),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchownat": (260, 54),
    "mknodat": (259, 33),
    "setxattr": (188, 5),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "fsopen": (430, 430),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "mount_setattr": (442, 442),
    "landlock_create_ruleset": (444, 444),
    "quotactl": (179, 60),
    "mlockall": (151, 230),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
}


@pytest.mark.parametrize("name", SYSTEM_CALLS)
def test_a_dangerous_system_call_is_refused(attack: Attack, name: str) -> None:
    result = attack(f"{CALL}\nprint(call({SYSTEM_CALLS[name][not X86]}, 0, 0, 0, 0, 0, 0))")
    assert (result.status, result.stdout) == (Status.OK, REFUSED)  # whatever the arguments


NAMESPACES = {
    "user": 0x10000000,
    "mount": 0x00020000,
    "process": 0x20000000,
    "network": 0x40000000,
    "communication": 0x08000000,
    "host name": 0x04000000,
    "group": 0x02000000,
    "time": 0x00000080,
}


@pytest.mark.parametrize("kind", NAMESPACES)
def test_no_namespace_is_made(attack: Attack, kind: str) -> None:
    unshare, clone = (272, 56) if X86 else (97, 220)
    flag = NAMESPACES[kind]
    thread = 0x10F00 | (flag if kind != "time" else 0)  # of a thread the filter allows, without a stack
    asked = f"[call({unshare}, {flag}), call({clone}, {flag | 17}, 0, 0, 0, 0)]"
    result = attack(f"{CALL}\nfor got in {asked}:\n    if got[0] == 0: os._exit(7)\n    print(got)")
    assert (result.status, result.stdout) == (Status.OK, REFUSED * 2)
    if thread != 0x10F00:
        result = attack(f"{CALL}\nprint(call({clone}, {thread}, 0, 0, 0, 0))")
        assert (result.status, result.stdout) == (Status.OK, REFUSED)


REAL_CALLS = {
    "a key of one's own": (248, 217, "b'user', b'sandbox-test', b'x', 1, -3"),
    "a key for all of the user's": (248, 217, "b'user', b'sandbox-test', b'x', 1, -4"),
    "search for a key": (249, 218, "b'user', b'sandbox-test', None, -4"),
    "the user's keys": (250, 219, "6, -4, 0"),
    "the session's keys": (250, 219, "0, -3, 0"),
    "another session's keys": (250, 219, "1, None"),
    "keys that stay": (250, 219, "22, -1, -2"),
    "queue of requests to the kernel": (425, 425, "8, bytes(120)"),
    "watch for faults": (323, 282, "1"),
    "program in the kernel": (321, 280, "0, bytes(72), 72"),
    "count events": (298, 241, "bytes(128), 0, -1, -1, 0"),
    "filter of one's own": (317, 277, "1, 0, None"),
    "segment of shared memory": (29, 194, "0, 4096, 0o1600"),
    "root for a moment": (122, 151, "0"),
    "root": (117, 147, "0, 0, 0"),
    "nobody": (117, 147, "65534, 65534, 65534"),
    "another architecture": (135, 92, "8"),
    "addresses without chance": (135, 92, "0x40000"),
}


@pytest.mark.parametrize("what", REAL_CALLS)
def test_a_well_formed_request_is_refused_too(attack: Attack, what: str) -> None:
    *numbers, arguments = REAL_CALLS[what]
    result = attack(f"{CALL}\nprint(call({numbers[not X86]}, {arguments}))")
    assert (result.status, result.stdout) == (Status.OK, REFUSED)


FINE_PRINT = {
    "type for the terminal": "fcntl.ioctl(0, 0x5412, b'x')",
    "take the terminal": "fcntl.ioctl(0, 0x540E, 0)",
    "flags of a file": "fcntl.ioctl(os.open('f', 66), 0x40086602, struct.pack('l', 16))",
    "copy a file's blocks": "fcntl.ioctl(os.open('f', 66), 0x40049409, 1)",
    "larger pipe": "fcntl.fcntl(1, 1031, 1 << 20)",
    "lease": "fcntl.fcntl(os.open(os.__file__, 0), 1024, 0)",
    "news of a folder": "fcntl.fcntl(os.open('.', 0), 1026, 4)",
    "no filter": "libc.prctl(22, 0, 0, 0, 0) and fail()",
    "traceable by all": "libc.prctl(0x59616D61, -1, 0, 0, 0) and fail()",
    "invisible to the worker": "libc.prctl(4, 0, 0, 0, 0) and fail()",
    "outlive the worker": "libc.prctl(1, 0, 0, 0, 0) and fail()",
    "parent of orphans": "libc.prctl(36, 1, 0, 0, 0) and fail()",
    "keep capabilities": "libc.prctl(8, 1, 0, 0, 0) and fail()",
    "ambient capability": "libc.prctl(47, 2, 21, 0, 0) and fail()",
    "own memory map": "libc.prctl(35, 8, 4096, 0, 0) and fail()",
    "setuid file": "os.chmod('f', 0o4755)",
    "setuid by descriptor": "os.fchmod(os.open('f', 66), 0o6755)",
    "device": "os.mknod('d', 0o20666, os.makedev(1, 3))",
    "pipe in the file system": "os.mkfifo('p')",
    "another owner": "os.chown('f', 0, 0)",
    "capability of a file": "os.setxattr('f', 'security.capability', bytes(20))",
    "hidden data": "os.setxattr('f', 'user.x', b'1')",
    "another root": "os.chroot('.')",
    "priority": "os.setpriority(0, 0, -20)",
    "real time": "os.sched_setscheduler(0, 1, os.sched_param(1))",
    "pinned memory": "libc.mlock(libc.malloc(1 << 20), 1 << 20) and fail()",
    "machine name": "socket.sethostname('hacked')",
}


@pytest.mark.parametrize("what", FINE_PRINT)
def test_nothing_hides_in_an_allowed_family_of_calls(attack: Attack, what: str) -> None:
    result = attack(
        f"""
import ctypes, fcntl, os, socket, struct
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.mlock.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_size_t)
def fail():
    raise PermissionError
open('f', 'w').close()
{FINE_PRINT[what]}
"""
    )
    assert (result.status, (result.error or "")[:15]) == (Status.ERROR, "PermissionError"), result


def test_a_setuid_file_gives_nothing(attack: Attack) -> None:
    """Creating one cannot be refused by its mode; running it is."""
    code = "import os\nos.umask(0)\nos.close(os.open('f', os.O_CREAT | os.O_WRONLY, 0o6777))\n"
    result = attack(code + "os.execv('f', ['f'])")
    assert (result.status, (result.error or "")[:15]) == (Status.ERROR, "PermissionError")
    assert attack("import os\nprint(os.listdir('.'))").stdout == "[]\n"


def test_a_system_call_of_the_future_is_unknown(attack: Attack) -> None:
    assert attack(f"{CALL}\nprint(call(1000)[1])").stdout == "38\n"  # ENOSYS
    x32 = attack(f"{CALL}\nprint(call(0x40000000 + 57)[1])")
    assert x32.stdout == "38\n" or x32.error == "killed by signal 31 (SIGSYS)"  # sandlock's own filter kills


@pytest.mark.parametrize("machine", ["x86_64"])
def test_the_32_bit_entry_is_closed(attack: Attack, machine: str) -> None:
    """``int 0x80`` counts calls differently: 2 is fork there."""
    result = attack(
        """
import ctypes, mmap
code = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
code.write(bytes.fromhex("b802000000cd80c3"))
entry = ctypes.addressof(ctypes.c_char.from_buffer(code))
print(ctypes.CFUNCTYPE(ctypes.c_int)(entry)())
"""
    )
    if platform.machine() == machine:
        assert result.error == "killed by signal 31 (SIGSYS)"
    else:
        assert result.status is Status.KILLED  # not even an instruction there


def test_the_name_of_the_machine_is_seen_only_where_the_jail_says_so(
    attack: Attack, pool: WorkerPool
) -> None:
    seen = attack("import os\nprint(os.uname().nodename)").stdout.strip()
    assert (seen == os.uname().nodename) == (pool.jail == "sandlock")


IN_OTHER_HANDS = {
    "group": "os.getpgid(pid)",
    "session": "os.getsid(pid)",
    "priority": "os.getpriority(os.PRIO_PROCESS, pid)",
    "cores": "os.sched_getaffinity(pid)",
    "scheduling": "os.sched_getscheduler(pid)",
    "processor time": "time.clock_gettime(2 if pid == os.getpid() else (~pid << 3) | 2)",
}


@pytest.mark.parametrize("what", IN_OTHER_HANDS)
def test_nothing_is_learnt_of_another_process(attack: Attack, what: str) -> None:
    """The worker's processor time, say, is that of the programs of others; of oneself it may be asked."""
    code = "import os, time\nfor pid in (os.getpid(), os.getppid()):\n    {}\n    print('told')"
    result = attack(code.format(IN_OTHER_HANDS[what]))
    assert (result.status, result.stdout) == (Status.ERROR, "told\n")
