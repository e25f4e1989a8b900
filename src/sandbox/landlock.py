"""A Landlock domain for each execution: limits access to files, and blocks signals and sockets to the
outside.

Prepared once by the worker, entered by each child. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import struct

_CREATE, _ADD, _ENTER = 444, 445, 446  # the same numbers on every architecture
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE, _DEVICE = 1 << 14, 1 << 15
# create and remove files, directories, symbolic links; no devices, sockets or pipes
_EDIT = _WRITE_FILE | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13 | _TRUNCATE
_FILE_ONLY = _WRITE_FILE | _READ_FILE | _EXECUTE | _TRUNCATE | _DEVICE
_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}  # rights by ABI
_ALL_FILES = (1 << 16) - 1  # abi 5 and later


def abi() -> int:
    """Return the kernel's Landlock version, 0 if it has none."""
    version = ctypes.CDLL(None, use_errno=True).syscall(_CREATE, None, 0, 1)
    return max(int(version), 0)


class Domain:
    """Return a domain that may read ``readable`` trees, list ``listable`` ones, and modify one folder.

    ``writable`` is that folder's descriptor. Missing paths are ignored. Raises OSError if the kernel refuses.
    """

    def __init__(self, readable: list[str], listable: list[str], writable: int) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        version = abi()
        self._handled = _FILES.get(version, _ALL_FILES)
        ports, scopes = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
        size = 8 if version < 4 else 16 if version < 6 else 24
        attributes = struct.pack("=QQQ", self._handled, ports, scopes)[:size]
        self._fd = self._call(_CREATE, attributes, size, 0)
        for path in readable:
            self._add(path, _READ_FILE | _READ_DIR)
        for path in listable:
            self._add(path, _READ_DIR)
        self._add("/dev/null", _READ_FILE | _WRITE_FILE)
        self._allow(writable, _READ_FILE | _READ_DIR | _EDIT)

    def _add(self, path: str, access: int) -> None:
        try:
            target = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):
            return
        try:
            self._allow(target, access if os.path.isdir(path) else access & _FILE_ONLY)
        finally:
            os.close(target)

    def _allow(self, target: int, access: int) -> None:
        self._call(_ADD, self._fd, 1, struct.pack("=Qi", access & self._handled, target), 0)

    def enter(self) -> None:
        """Confine the calling process permanently; needs no_new_privs. Raises OSError if refused."""
        self._call(_ENTER, self._fd, 0)
        os.close(self._fd)

    def _call(self, *arguments: object) -> int:
        wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
        result = self._libc.syscall(*wide)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"Landlock call {arguments[0]}: {os.strerror(number)}")
        return int(result)
