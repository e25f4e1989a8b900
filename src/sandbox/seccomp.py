"""A seccomp filter in raw BPF for executed programs. Standard library only.

An allow list, so that unknown system calls are refused. Deliberately absent: every socket
call, ptrace and process_vm_*, mounts, namespaces, keyrings, bpf, perf, userfaultfd, io_uring, execve,
System V and POSIX queues, priorities of others, pidfds, and chmod and utime, which Landlock does not see.
Creating a process is refused, which stops fork bombs for root and non-root alike (RLIMIT_NPROC does not
bind root); creating a thread that shares everything with its process is allowed. A process may send signals
to itself only, and not the one that would let it go on when it is stopped between two programs: so POSIX
timers are refused, too. Refused is memory that no limit counts: files without a name (memfd_create,
O_TMPFILE), what is shared with nobody (MAP_SHARED | MAP_ANONYMOUS stays whole until its last page is
unmapped), and descriptor tables of a thread's own. Locks on files pretend to succeed, which is right for a
program that is alone in its folder: on files that all can read they would be a channel, and each takes the
kernel's memory.
Numbers: Linux 6.x, asm/unistd_64.h (x86-64) and asm-generic/unistd.h (arm64).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

# name:x86-64:arm64, "-" where the architecture has no such call
_ALLOWED = """
read:0:63 write:1:64 readv:19:65 writev:20:66 pread64:17:67 pwrite64:18:68 preadv:295:69 pwritev:296:70
preadv2:327:286 pwritev2:328:287 creat:85:- close:3:57
lseek:8:62 dup:32:23 dup2:33:- dup3:292:24 pipe:22:- pipe2:293:59 poll:7:- ppoll:271:73
select:23:- pselect6:270:72 epoll_create:213:- epoll_create1:291:20 epoll_ctl:233:21 epoll_wait:232:-
epoll_pwait:281:22 epoll_pwait2:441:441 eventfd:284:- eventfd2:290:19 signalfd:282:- signalfd4:289:74
timerfd_create:283:85 timerfd_settime:286:86 timerfd_gettime:287:87 stat:4:- fstat:5:80 lstat:6:-
newfstatat:262:79 statx:332:291 statfs:137:43 fstatfs:138:44 access:21:- faccessat:269:48 faccessat2:439:439
readlink:89:- readlinkat:267:78 getdents:78:- getdents64:217:61 getcwd:79:17 chdir:80:49 fchdir:81:50
mkdir:83:- mkdirat:258:34 rmdir:84:- unlink:87:- unlinkat:263:35 rename:82:- renameat:264:38 renameat2:316:276
link:86:- linkat:265:37 symlink:88:- symlinkat:266:36 umask:95:166 truncate:76:45 ftruncate:77:46
fallocate:285:47 fadvise64:221:223 fsync:74:82 fdatasync:75:83 sendfile:40:71
copy_file_range:326:285 munmap:11:215 mremap:25:216 mprotect:10:226
madvise:28:233 msync:26:227 brk:12:214 rt_sigaction:13:134 rt_sigprocmask:14:135 rt_sigreturn:15:139
rt_sigpending:127:136 rt_sigsuspend:130:133 rt_sigtimedwait:128:137 sigaltstack:131:132
restart_syscall:219:128 pause:34:- alarm:37:- getitimer:36:102 setitimer:38:103
nanosleep:35:101
gettimeofday:96:169 time:201:-
times:100:153 futex:202:98 futex_waitv:449:449 set_robust_list:273:99 set_tid_address:218:96 rseq:334:293
membarrier:324:283 sched_yield:24:124
sched_get_priority_max:146:125 sched_get_priority_min:147:126 getcpu:309:168
getpid:39:172 getppid:110:173 gettid:186:178 getpgrp:111:-
getuid:102:174 geteuid:107:175 getgid:104:176 getegid:108:177 getresuid:118:148 getresgid:120:150
getgroups:115:158 uname:63:160 sysinfo:99:179 getrlimit:97:163 setrlimit:160:164 getrusage:98:165
getrandom:318:278 wait4:61:260 waitid:247:95 arch_prctl:158:- exit:60:93 exit_group:231:94
"""
# calls that are allowed for some arguments
_SPECIAL = """
clone:56:220 clone3:435:435 kill:62:129 tgkill:234:131 prctl:157:167 ioctl:16:29 fcntl:72:25 prlimit64:302:261
getpgid:121:155 getsid:124:156 getpriority:140:141 sched_getaffinity:204:123 sched_getparam:143:121
sched_getscheduler:145:120 clock_gettime:228:113 clock_getres:229:114 clock_nanosleep:230:115
open:2:- openat:257:56 openat2:437:437 close_range:436:436 flock:73:32 mmap:9:222
"""
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, AUDIT_ARCH
_NEWEST = 451  # beyond: "no such call", so that libraries fall back

_KILL, _ALLOW, _ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
_LOAD, _AND, _RETURN, _EQUAL, _AT_LEAST = 0x20, 0x54, 0x06, 0x15, 0x35
_NUMBER, _ARCH, _ARGUMENT = 0, 4, (16, 24, 32, 40)  # offsets in struct seccomp_data; arguments' low halves
_OWN_PID = 0xFFFFFFF0  # stands for the caller's pid until it is known

_CLONE_THREAD = 0x00010F00  # CLONE_VM, FS, FILES, SIGHAND and THREAD
_CLONE_NAMESPACES = 0x7E020000
_GO_ON = (18,)  # SIGCONT
_TMPFILE = 0x00400000  # of O_TMPFILE, without O_DIRECTORY
_UNSHARE = 2  # CLOSE_RANGE_UNSHARE
_SHARED, _ANONYMOUS = 0x01, 0x20  # MAP_SHARED, MAP_ANONYMOUS
_PRCTL = (15, 16, 3, 0x53564D41)  # PR_SET_NAME, PR_GET_NAME, PR_GET_DUMPABLE, PR_SET_VMA (malloc)
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIO(N)CLEX
# no F_SETOWN, F_SETOWN_EX, F_SETSIG: they can send a signal to another process; no F_SETPIPE_SZ, F_SETLEASE
_FCNTL = (0, 1, 2, 3, 4, 5, 36, 1030, 1032, 1033, 1034)
_FCNTL_LOCK = (6, 7, 37, 38)  # F_SETLK and F_SETLKW, of processes and of open files

_OF_A_PROCESS = ("getpgid", "getsid", "sched_getaffinity", "sched_getparam", "sched_getscheduler")
_OF_A_CLOCK = ("clock_gettime", "clock_getres", "clock_nanosleep")
_CLOCK_OF_A_PROCESS = 0x80000000  # negative clock ids name a process or thread, not necessarily one's own

_Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def _give(action: int) -> list[_Instruction]:
    return [(_RETURN, 0, 0, action)]


def _when(
    offset: int,
    values: tuple[int, ...],
    then: list[_Instruction],
    otherwise: list[_Instruction],
    mask: int | None = None,
) -> list[_Instruction]:
    """``then`` when the argument at ``offset`` (masked) is one of ``values``; both parts end in a return."""
    program: list[_Instruction] = [(_LOAD, 0, 0, offset)]
    if mask is not None:
        program.append((_AND, 0, 0, mask))
    for left, value in zip(reversed(range(len(values))), values, strict=True):
        program.append((_EQUAL, left + len(otherwise), 0, value))
    return [*program, *otherwise, *then]


def _only(
    offset: int, values: tuple[int, ...], mask: int | None = None, error: int = errno.EPERM
) -> list[_Instruction]:
    """Allow when the argument at ``offset`` (masked) is one of ``values``; otherwise ``error``."""
    return _when(offset, values, _give(_ALLOW), _give(_ERRNO | error), mask)


def _search(blocks: list[tuple[int, list[_Instruction]]]) -> list[_Instruction]:
    """Binary search over ``(first number, program)`` blocks that cover all numbers."""
    if len(blocks) == 1:
        return blocks[0][1]
    middle = len(blocks) // 2
    low, high = _search(blocks[:middle]), _search(blocks[middle:])
    if len(low) > 255:
        raise ValueError(f"a BPF jump over {len(low)} instructions; the most is 255")
    return [(_AT_LEAST, len(low), 0, blocks[middle][0]), *low, *high]


def _numbers(table: str, column: int) -> dict[str, int]:
    rows = (row.split(":") for row in table.split())
    return {row[0]: int(row[1 + column]) for row in rows if row[1 + column] != "-"}


class Filter:
    """The filter for this machine, compiled once; :meth:`install` binds it to the calling process.

    ``threads`` False refuses threads, too. Raises OSError on an unknown architecture.
    """

    def __init__(self, threads: bool = True) -> None:
        machine = platform.machine()
        if machine not in _ARCHITECTURES:
            raise OSError(errno.ENOSYS, f"no seccomp table for {machine}; known: {', '.join(_ARCHITECTURES)}")
        column, arch = _ARCHITECTURES[machine]
        special = _numbers(_SPECIAL, column)
        wanted = (_CLONE_THREAD,) if threads else ()
        refused, unknown, succeed = (_give(_ERRNO | error) for error in (errno.EPERM, errno.ENOSYS, 0))
        programs = {
            special["clone"]: _only(_ARGUMENT[0], wanted, _CLONE_THREAD | _CLONE_NAMESPACES),
            # its flags lie behind a pointer, which a filter cannot follow; libc falls back to clone
            special["clone3"]: _give(_ERRNO | errno.ENOSYS),
            special["kill"]: _when(_ARGUMENT[1], _GO_ON, refused, _only(_ARGUMENT[0], (_OWN_PID,))),
            special["tgkill"]: _when(_ARGUMENT[2], _GO_ON, refused, _only(_ARGUMENT[0], (_OWN_PID,))),
            special["openat"]: _only(_ARGUMENT[2], (0,), _TMPFILE, errno.EOPNOTSUPP),
            special["openat2"]: unknown,  # its flags lie behind a pointer, too; nothing relies on it
            special["close_range"]: _only(_ARGUMENT[2], (0,), _UNSHARE),
            special["mmap"]: _only(_ARGUMENT[3], (0, _SHARED, _ANONYMOUS), _SHARED | _ANONYMOUS),
            special["flock"]: succeed,
            special["prctl"]: _only(_ARGUMENT[0], _PRCTL),
            special["ioctl"]: _only(_ARGUMENT[1], _IOCTL),
            special["fcntl"]: _when(_ARGUMENT[1], _FCNTL_LOCK, succeed, _only(_ARGUMENT[1], _FCNTL)),
            special["prlimit64"]: _only(_ARGUMENT[0], (0, _OWN_PID)),
            special["getpriority"]: _only(_ARGUMENT[1], (0, _OWN_PID)),
        }
        if "open" in special:
            programs[special["open"]] = _only(_ARGUMENT[1], (0,), _TMPFILE, errno.EOPNOTSUPP)
        for name in _OF_A_PROCESS:
            programs[special[name]] = _only(_ARGUMENT[0], (0, _OWN_PID))
        for name in _OF_A_CLOCK:
            programs[special[name]] = _only(_ARGUMENT[0], (0,), _CLOCK_OF_A_PROCESS)
        programs |= {number: _give(_ALLOW) for number in _numbers(_ALLOWED, column).values()}
        blocks: list[tuple[int, list[_Instruction]]] = []
        for number in range(_NEWEST + 1):
            program = programs.get(number, refused)
            if not blocks or blocks[-1][1] != program:
                blocks.append((number, program))
        blocks.append((_NEWEST + 1, unknown))
        prologue: list[_Instruction] = [
            (_LOAD, 0, 0, _ARCH),
            (_EQUAL, 1, 0, arch),
            *_give(_KILL),
            (_LOAD, 0, 0, _NUMBER),
        ]
        code = prologue + _search(blocks)
        self._pids = [8 * index + 4 for index, step in enumerate(code) if step[3] == _OWN_PID]
        self._code = b"".join(struct.pack("=HBBI", *step) for step in code)
        self._length = len(code)
        self._libc = ctypes.CDLL(None, use_errno=True)

    def install(self) -> None:
        """Apply to the calling process permanently; needs no_new_privs. Raises OSError if refused."""
        code = bytearray(self._code)
        for offset in self._pids:
            struct.pack_into("=I", code, offset, os.getpid())
        body = (ctypes.c_char * len(code)).from_buffer(code)
        program = struct.pack("=H6xQ", self._length, ctypes.addressof(body))
        # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        if self._libc.prctl(ctypes.c_long(22), ctypes.c_long(2), program, ctypes.c_long(0), ctypes.c_long(0)):
            number = ctypes.get_errno()
            raise OSError(number, f"seccomp filter refused: {os.strerror(number)}")
