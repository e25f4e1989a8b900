"""Attacks on files: nothing of the user's is read, listed or changed; nothing survives an execution."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src.config.paths import ROOT
from src.sandbox import ExecutionResult, Status

Attack = Callable[[str], ExecutionResult]


PLACES = {"home": Path.home(), "tmp": Path(tempfile.gettempdir()), "repository": ROOT}


@contextlib.contextmanager
def user_file(folder: Path) -> Iterator[tuple[Path, str]]:
    """A file of the user's that everyone may read, and what is in it."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".sandbox-test-") as place:
        path, text = Path(place, "secret"), secrets.token_hex(16)
        path.write_text(text)
        path.chmod(0o644)
        Path(place).chmod(0o777)
        yield path, text


@pytest.fixture
def secret() -> Iterator[tuple[Path, str]]:
    """Such a file in the home directory."""
    with user_file(PLACES["home"]) as found:
        yield found


WAYS_TO_READ = {
    "open": "print(open(path).read())",
    "libc": """
import ctypes
libc = ctypes.CDLL(None)
buffer = ctypes.create_string_buffer(100)
print(libc.read(libc.open(path.encode(), 0), buffer, 100), buffer.value)
""",
    "symbolic link": "import os\nos.symlink(path, 'link')\nprint(open('link').read())",
    "hard link": "import os\nos.link(path, 'link')\nprint(open('link').read())",
    "relative": "print(open('../' * 20 + path).read())",
    "root of a process": "print(open('/proc/self/root' + path).read())",
    "root of the worker": "import os\nprint(open(f'/proc/{os.getppid()}/root' + path).read())",
    "root of init": "print(open('/proc/1/root' + path).read())",
    "path descriptor": """
import os
folder = os.open(os.path.dirname(path), os.O_PATH)
print(os.read(os.open(os.path.basename(path), os.O_RDONLY, dir_fd=folder), 100))
""",
    "import": "import sys, os\nsys.path.insert(0, os.path.dirname(path))\nexec(open(path).read())",
    "rename": "import os\nos.rename(path, 'mine')\nprint(open('mine').read())",
    "map": "import numpy\nprint(bytes(numpy.memmap(path, mode='r')))",
}


@pytest.mark.parametrize("way", WAYS_TO_READ)
def test_a_file_of_the_users_is_not_read(attack: Attack, secret: tuple[Path, str], way: str) -> None:
    path, text = secret
    result = attack(f"path = {str(path)!r}\n{WAYS_TO_READ[way]}")
    assert text not in result.stdout
    assert text not in (result.error or "")
    assert result.status is Status.ERROR or "-1" in result.stdout


SECRETS = [
    "/etc/shadow",
    "/etc/sudoers",
    "/etc/hostname",
    "/root/.bashrc",
    "/var/run/docker.sock",
    "/var/log/dpkg.log",
    "/dev/mem",
    "/dev/kmsg",
    "/dev/fuse",
    "/dev/kvm",
    "/dev/sda",
    "/dev/tty",
    "/dev/ptmx",
    "/proc/kcore",
    "/proc/kmsg",
    "/proc/kallsyms",
    "/proc/keys",
    "/proc/cmdline",
    "/proc/mounts",
    "/proc/net/tcp",
    "/proc/sys/kernel/hostname",
    "/proc/1/cmdline",
    "/proc/self/status",
    "/proc/self/mountinfo",
    "/proc/self/cgroup",
    "/sys/kernel/notes",
    "/sys/class/net",
    "/sys/fs/cgroup/cgroup.procs",
]


@pytest.mark.parametrize("path", SECRETS)
def test_nothing_of_the_machines_is_opened(attack: Attack, path: str) -> None:
    """Neither to read nor to write, nor as a folder."""
    result = attack(
        f"""
import os
for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_DIRECTORY, os.O_WRONLY | os.O_CREAT):
    try:
        if os.fstat(os.open({path!r}, flags)).st_rdev != os.stat("/dev/null").st_rdev:  # a mask of Docker's
            print("opened", flags)
    except OSError:
        pass
"""
    )
    assert (result.status, result.stdout) == (Status.OK, "")


def test_only_harmless_devices_are_there(attack: Attack) -> None:
    for name in ("null", "full", "random", "urandom"):
        assert attack(f"open('/dev/{name}', 'rb').close()").status is Status.OK
    result = attack("import os\nprint(os.listdir('/dev'))")
    assert result.status is Status.ERROR


@pytest.mark.parametrize("place", PLACES)
def test_no_place_of_the_users_is_open(attack: Attack, place: str) -> None:
    with user_file(PLACES[place]) as (path, text):
        read = attack(f"print(open({str(path)!r}).read())")
        assert (read.status, text in read.stdout) == (Status.ERROR, False)
        assert attack(f"open({str(path)!r}, 'w').write('changed')").status is Status.ERROR
        assert attack(f"open({str(path)!r} + '2', 'w').write('new')").status is Status.ERROR
        assert (path.read_text(), os.listdir(path.parent)) == (text, [path.name])


def test_the_users_folders_are_not_listed(attack: Attack) -> None:
    for folder in PLACES.values():
        names = set(os.listdir(folder))
        result = attack(f"import os\nprint(os.listdir({str(folder)!r}))")
        assert result.status is Status.ERROR or not names & set(eval(result.stdout)), folder


def test_only_the_packages_that_are_meant_for_programs_are_there(attack: Attack) -> None:
    assert attack(
        "import numpy, sympy, mpmath, importlib.util\nimportlib.util.find_spec('scipy').name"
    ).stdout
    for name in ("pytest", "hydra", "torch", "src", "src.sandbox.worker", "sandlock"):
        assert "ModuleNotFoundError" in (attack(f"import {name}").error or "")


WAYS_TO_WRITE = {
    "overwrite": "open(path, 'w').write('changed')",
    "append": "open(path, 'a').write('changed')",
    "truncate": "import os\nos.truncate(path, 0)",
    "unlink": "import os\nos.unlink(path)",
    "rename": "import os\nos.rename(path, path + '2')",
    "mode": "import os\nos.chmod(path, 0o777)",
    "mode of a descriptor": "import os\nos.fchmod(os.open(path, os.O_RDONLY), 0)",
    "dates": "import os\nos.utime(path, (0, 0))",
    "owner": "import os\nos.chown(path, 1, 1)",
    "attribute": "import os\nos.setxattr(path, 'user.x', b'1')",
    "beside": "open(path + '2', 'w').write('new')",
    "folder beside": "import os\nos.mkdir(path + '2')",
    "link beside": "import os\nos.symlink('/', path + '2')",
    "through a link": "import os\nos.symlink(path, 'link')\nopen('link', 'w').write('changed')",
}


@pytest.mark.parametrize("way", WAYS_TO_WRITE)
def test_a_file_of_the_users_is_not_changed(attack: Attack, secret: tuple[Path, str], way: str) -> None:
    path, text = secret
    before = path.stat()
    assert attack(f"path = {str(path)!r}\n{WAYS_TO_WRITE[way]}").status is Status.ERROR
    assert os.listdir(path.parent) == [path.name]
    assert path.read_text() == text
    after = path.stat()
    assert (after.st_mode, after.st_mtime, after.st_uid) == (before.st_mode, before.st_mtime, before.st_uid)


@pytest.mark.parametrize(
    "folder",
    [
        "'/'",
        "'/tmp'",
        "'/dev/shm'",
        "'/dev'",
        "os.path.dirname(os.__file__)",
        "os.path.dirname(numpy.__file__)",
        "'..'",
    ],
)
def test_nothing_is_written_outside_the_working_directory(attack: Attack, folder: str) -> None:
    result = attack(f"import os, numpy\nopen(os.path.join({folder}, 'new'), 'w').write('x')")
    assert result.status is Status.ERROR


def test_the_installation_is_not_changed(attack: Attack) -> None:
    """Under sandlock the interpreter is the host's own, and belongs to the user."""
    before = Path(os.__file__).stat()
    for act in ("os.open(os.__file__, os.O_WRONLY)", "os.chmod(os.__file__, 0)", "os.unlink(os.__file__)"):
        assert attack(f"import os\n{act}").status is Status.ERROR
    assert Path(os.__file__).stat() == before


def test_the_working_directory_is_private_writable_and_empty(attack: Attack) -> None:
    code = "import os, tempfile\nprint(os.listdir('.'))\nopen('a', 'w').write('x')\ntempfile.mkdtemp()"
    for _ in range(2):
        result = attack(code)
        assert (result.status, result.stdout.splitlines()[0]) == (Status.OK, "[]")


@pytest.mark.parametrize(
    "mess",
    [
        "open('file', 'w').write('x')",
        "open(b'\\xff\\xfe\\n', 'w').write('x')",
        "os.makedirs('a/b/c'); open('a/b/c/d', 'w').write('x')",
        "os.umask(0o777); os.mkdir('closed'); open('shut', 'w').close()",
        "os.symlink('/', 'root'); os.symlink('nowhere', 'dangling'); os.symlink('.', 'loop')",
        "[(os.mkdir('d'), os.chdir('d')) for _ in range(900)]",
        "[open(str(i), 'w').close() for i in range(900)]",
        "open('a' * 255, 'w').close(); os.mkdir('é' * 127); open('é' * 127 + '/\\n\\x7f', 'w').close()",
        "open('a', 'w').close(); [os.link('a', f'link{i}') for i in range(100)]; os.rename('a', 'b')",
        "os.mkdir('a'); open('a/b', 'w').close(); os.chdir('a'); os.rename('../a', '../c')",
        "os.symlink('../work', 'up'); os.mkdir('d'); os.symlink('../d', 'd/d')",
        "open('.hidden', 'w').close(); os.mkdir('..x'); os.mkdir('-rf'); os.mkdir('$(id)')",
    ],
)
def test_no_file_survives(attack: Attack, mess: str) -> None:
    assert attack(f"import os\n{mess}").status is not Status.ERROR
    assert attack("import os\nprint(os.listdir('.'))").stdout == "[]\n"


WAYS_TO_LOSE_IT = {
    "remove": "shutil.rmtree(cwd, ignore_errors=True)\nos.rmdir(cwd)",
    "move": "os.rename(cwd, cwd + '2')",
    "replace by a link": "os.chdir('/')\nos.rename(cwd, cwd + '2')\nos.symlink('/etc', cwd)",
    "replace by a file": "os.chdir('/')\nos.rmdir(cwd)\nopen(cwd, 'w').close()",
    "close it": "os.chmod(cwd, 0)",
    "move up": "os.mkdir('d')\nos.rename('d', '../d')",
    "another folder for it": "os.rename('../' + os.path.basename(cwd), '../x')\nos.mkdir(cwd)",
}


@pytest.mark.parametrize("way", WAYS_TO_LOSE_IT)
def test_the_working_directory_cannot_be_removed_for_the_next(attack: Attack, way: str) -> None:
    assert attack(f"import os, shutil\ncwd = os.getcwd()\n{WAYS_TO_LOSE_IT[way]}").status is Status.ERROR
    assert attack("open('a', 'w').write('x')\nprint(open('a').read())").stdout == "x\n"


def test_cleaning_up_follows_no_link(attack: Attack, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("x")
    attack(f"import os\nos.mkdir('d')\nfor name in ('l', 'd/l'): os.symlink({str(tmp_path)!r}, name)")
    assert (tmp_path / "kept").read_text() == "x"


def test_a_large_file_is_refused(attack: Attack) -> None:
    result = attack("open('big', 'wb').write(bytes(10**7))")
    assert (result.status, "File too large" in (result.error or "")) == (Status.ERROR, True)


def test_many_files_are_stopped(attack: Attack) -> None:
    result = attack("i = 0\nwhile True:\n    open(str(i), 'wb').close()\n    i += 1")
    assert (result.status, "wrote more than" in (result.error or "")) == (Status.KILLED, True)


MUCH_DATA = {
    "files": "for i in range(900):\n    open(str(i), 'wb').write(bytes(10**6))",
    "in folders": "for i in range(900):\n    os.mkdir(f'{i}')\n    open(f'{i}/a', 'wb').write(bytes(10**6))",
    "reserved": "for i in range(900):\n    f = os.open(str(i), 66)\n    os.posix_fallocate(f, 0, 10**6)\n"
    "    os.close(f)",
    "growing": "while True:\n    for i in range(100): open(str(i), 'ab').write(bytes(10**4))",
}


@pytest.mark.parametrize("way", MUCH_DATA)
def test_much_data_is_stopped(attack: Attack, way: str) -> None:
    """Bubblewrap's own file system is full before the worker looks, or the worker looks first."""
    result = attack(f"import os\n{MUCH_DATA[way]}\nimport time\ntime.sleep(9)")
    assert "wrote more than" in (result.error or "") or "No space left" in (result.error or "")


OUT_OF_SIGHT = {  # files that a look into the folder does not find, or not each time
    "without a name": "f = make('f'); os.unlink('f'); kept.append(f)",
    "only mapped": "f = make('f'); os.unlink('f'); kept.append(mmap.mmap(f, 4096)); os.close(f)",
    "on the move": "make(f'f{i}', dir_fd=folder); i or threading.Thread(target=swap, daemon=True).start()",
    "passed from hand to hand": "f = make('f'); os.unlink('f'); kept.append(f); i or threading.Thread("
    "target=shuffle, daemon=True).start()",
}


@pytest.mark.parametrize("way", OUT_OF_SIGHT)
def test_files_out_of_sight_count_too(attack: Attack, way: str) -> None:
    result = attack(
        f"""
import mmap, os, threading, time
def make(name, dir_fd=None):
    f = os.open(name, os.O_CREAT | os.O_RDWR, dir_fd=dir_fd)
    os.write(f, bytes(2**20 - 4096))
    if dir_fd is not None: os.close(f)
    return f
def swap():
    here, there = "a/d", "b/d"
    while True:
        os.rename(here, there)
        here, there = there, here
def shuffle():
    while True:
        for number in list(kept):
            copy = os.dup(number)
            os.close(number)
            kept[kept.index(number)] = copy
os.makedirs("a/d")
os.mkdir("b")
folder = os.open("a/d", os.O_RDONLY)
kept = []
for i in range(45):
    {OUT_OF_SIGHT[way]}
time.sleep(9)
"""
    )
    assert "wrote more than" in (result.error or "") or "No space left" in (result.error or ""), result


def test_data_in_a_folder_closed_to_the_worker_is_stopped(attack: Attack) -> None:
    result = attack("import os, time\nos.umask(0o777)\nos.mkdir('d')\ntime.sleep(9)")
    assert result.status is Status.KILLED or os.geteuid() == 0


def test_the_environment_is_empty(attack: Attack) -> None:
    result = attack(
        """
import ctypes, os
print(dict(os.environ))
ctypes.CDLL(None).getenv.restype = ctypes.c_char_p
print(ctypes.CDLL(None).getenv(b"PATH"), ctypes.CDLL(None).getenv(b"SANDBOX_TEST_SECRET"))
for name in ("self", os.getppid(), 1):
    try:
        print(open(f"/proc/{name}/environ").read())
    except OSError as error:
        print(type(error).__name__)
"""
    )
    assert result.stdout.splitlines()[0] == "{}"
    assert "environment-" not in result.stdout
    assert "PATH" not in result.stdout
