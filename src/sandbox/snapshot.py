"""Maps the warm interpreter's memory from a file in memory, privately: forks get several times cheaper.

Runs inside the jail, with the standard library only. A fork copies the page table of anonymous memory,
with an entry for each of some 15,000 pages, and the end of the child frees it again. From a file, a child
maps only the pages that it touches, and copies those that it writes, as it would anyway.

Copying a region and mapping the copy in its place must be one step for Python, which writes to its memory all
the time. So both are done by a few machine instructions that touch no other memory. If these cannot be used
(another processor, no /proc), forks stay as they are.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import struct
import threading

_SMALLEST = 1 << 20  # smaller regions are not worth a mapping
_CHUNK = 1 << 18  # memory is taken in such pieces, if it is in use
_ENTRY = struct.Struct("=QQQ")

# x86-64, System V: rdi is a table of (address, length, offset in the file), rsi its entries, rdx the file.
# For each entry: pwrite64(file, address, length, offset), then mmap(address, length, READ|WRITE,
# PRIVATE|FIXED, file, offset). Returns the number of entries left, 0 when all went well.
_REPLACE = bytes.fromhex(
    "53 55 41 54"  # push rbx; push rbp; push r12
    "48 89 fb 48 89 f5 49 89 d4"  # mov rbx, rdi; mov rbp, rsi; mov r12, rdx
    "48 85 ed 74 49"  # next: test rbp, rbp; jz done
    "b8 12 00 00 00 4c 89 e7"  # mov eax, 18; mov rdi, r12
    "48 8b 33 48 8b 53 08 4c 8b 53 10"  # mov rsi, [rbx]; mov rdx, [rbx+8]; mov r10, [rbx+16]
    "0f 05 48 3b 43 08 75 2e"  # syscall; cmp rax, [rbx+8]; jne done
    "b8 09 00 00 00 48 8b 3b 48 8b 73 08"  # mov eax, 9; mov rdi, [rbx]; mov rsi, [rbx+8]
    "ba 03 00 00 00 41 ba 12 00 00 00"  # mov edx, 3; mov r10d, 0x12
    "4d 89 e0 4c 8b 4b 10"  # mov r8, r12; mov r9, [rbx+16]
    "0f 05 48 3b 03 75 09"  # syscall; cmp rax, [rbx]; jne done
    "48 83 c3 18 48 ff cd eb b2"  # add rbx, 24; dec rbp; jmp next
    "48 89 e8 41 5c 5d 5b c3"  # done: mov rax, rbp; pop r12; pop rbp; pop rbx; ret
)


def take_snapshot() -> None:
    """Put the private memory of the calling process into a sealed file, if it has one thread only.

    Raises OSError if it could only be done in part, which does no harm.
    """
    if platform.machine() != "x86_64" or threading.active_count() > 1:
        return
    try:
        with open("/proc/self/maps") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    spans = _in_use(lines)
    warm = os.memfd_create("warm", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(warm, sum(length for _address, length in spans))
    table, code = mmap.mmap(-1, len(spans) * _ENTRY.size or 1), mmap.mmap(-1, mmap.PAGESIZE, prot=7)
    offset = 0
    for index, (address, length) in enumerate(spans):
        _ENTRY.pack_into(table, index * _ENTRY.size, address, length, offset)
        offset += length
    code.write(_REPLACE)
    kind = ctypes.PYFUNCTYPE(ctypes.c_long, ctypes.c_void_p, ctypes.c_long, ctypes.c_long)
    left = kind(_address(code))(_address(table), len(spans), warm)
    # permanently: nothing may change the memory that all programs start from
    fcntl.fcntl(warm, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    os.close(warm)
    if left:
        raise OSError(f"{left} of {len(spans)} regions of memory could not be replaced")


def _in_use(lines: list[str]) -> list[tuple[int, int]]:
    """Return address and length of the used parts of writable anonymous regions in /proc/self/maps."""
    spans: list[tuple[int, int]] = []
    for line in lines:
        addresses, permissions, _offset, _device, inode, *path = line.split()
        start, end = (int(address, 16) for address in addresses.split("-"))
        if permissions != "rw-p" or inode != "0" or path not in ([], ["[heap]"]) or end - start < _SMALLEST:
            continue
        while start < end:
            length = min(end, (start // _CHUNK + 1) * _CHUNK) - start
            if _is_in_use(start, length):
                if spans and sum(spans[-1]) == start:
                    spans[-1] = spans[-1][0], spans[-1][1] + length
                else:
                    spans.append((start, length))
            start += length
    return spans


def _is_in_use(address: int, length: int) -> bool:
    pages = ctypes.create_string_buffer(length // mmap.PAGESIZE)
    failed = ctypes.CDLL(None).mincore(ctypes.c_void_p(address), ctypes.c_size_t(length), pages)
    return bool(failed) or any(byte & 1 for byte in pages.raw)


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
