"""The user's modules and data files: the same in every jail, never changed, nothing beside them readable."""

from __future__ import annotations

import os
import platform
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest

from src.config import SandboxConfig
from src.config.mounts import find
from src.sandbox import SandboxError, Status, build_sandbox
from src.sandbox.jails.base import worker_modules
from src.sandbox.jails.docker import _description
from src.sandbox.pool import WorkerPool
from src.sandbox.ray_actor import Seat
from tests.jails import in_jail
from tests.sandbox.helpers import cold

LIMITS = {"workers": 1, "wall_seconds": 10.0, "cpu_seconds": 2.0, "memory_mb": 256}
TABLE = "a,b\n1,2\n"


@dataclass
class Things:
    """What the user has: some is named in ``packages`` and ``files``, and beside it lies a secret."""

    folder: Path
    secret: str = field(default_factory=lambda: secrets.token_hex(16))

    def __post_init__(self) -> None:
        self.write("beside/secret", self.secret)
        self.write("own/secret", self.secret)
        self.write("own/sibling.py", f"found = {self.secret!r}")
        self.write("own/table.csv", TABLE)
        self.write("own/numbers/one.txt", "1")
        self.write("own/tools.py", "print('imported')\ndef double(x):\n    return 2 * x\n")
        self.write("own/mytools/__init__.py", "from mytools.inner import half\n")
        self.write("own/mytools/inner.py", "def half(x):\n    return x // 2\n")
        self.write("own/hangs.py", "while True: pass")
        self.write("own/crashes.py", "import os\nos.kill(os.getpid(), 11)")
        for place in ("own/numbers", "own/mytools"):
            (self.folder / place / "absolute").symlink_to(self.folder / "beside" / "secret")
            (self.folder / place / "relative").symlink_to("../../beside/secret")
            (self.folder / place / "folder").symlink_to(self.folder / "beside")
            (self.folder / place / "machine").symlink_to("/etc/passwd")
        (self.folder / "named.csv").symlink_to("own/table.csv")

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def config(self, **settings: Any) -> SandboxConfig:
        """The settings that name them."""
        own = self.folder / "own"
        modules = ["tools.py", "mytools", "hangs.py", "crashes.py"]
        names = {
            "table.csv": own / "table.csv",
            "numbers": own / "numbers",
            "other": self.folder / "named.csv",
        }
        return cold(
            packages=[str(own / name) for name in modules],
            files={name: str(path) for name, path in names.items()},
            **LIMITS | settings,
        )

    def state(self) -> dict[str, tuple[Any, ...]]:
        """Everything that a program could change."""
        found = {}
        for path in sorted([self.folder, *self.folder.rglob("*")]):
            about = path.lstat()
            text = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            found[str(path)] = (about.st_mode, about.st_mtime_ns, about.st_ino, about.st_nlink, text)
        return found


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Things:
    return Things(tmp_path_factory.mktemp("things"))


@pytest.fixture(scope="module")
def mounted(each_jail: str, things: Things) -> Iterator[WorkerPool]:
    """One worker in the jail under attack, with some of the user's files mounted."""
    with build_sandbox(things.config(jail=each_jail)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        yield sandbox


LOOK = """
import os, tools, mytools
print(sorted(os.listdir("data")), sorted(os.listdir("data/numbers"))[-1], os.listdir("."))
print(open("data/table.csv").read() + open("data/other").read() + open("data/numbers/one.txt").read())
tools.double(mytools.half(4))
"""
SEEN = f"imported\n['numbers', 'other', 'table.csv'] relative ['data']\n{TABLE}{TABLE}1\n4\n"


@pytest.mark.parametrize("state", ["fresh", "replay", "session"])
def test_they_are_found_alike_in_every_jail_and_state(each_jail: str, things: Things, state: str) -> None:
    with build_sandbox(things.config(jail=each_jail, state=state)) as sandbox:
        for trajectory in "ab":
            assert sandbox.run(LOOK, trajectory=trajectory).stdout == SEEN
            again = sandbox.run(LOOK, trajectory=trajectory)
            imported_before = SEEN.removeprefix("imported\n")
            assert again.stdout == (SEEN if state == "fresh" else imported_before), again
        assert sandbox.stats()["restarts"] == 0


def test_they_are_found_alike_without_a_jail(things: Things) -> None:
    with build_sandbox(things.config(jail="unconfined")) as sandbox:
        for _ in range(2):
            assert sandbox.run(LOOK).stdout == SEEN


WAYS_TO_CHANGE = {
    "overwrite": "open(path, 'w').write('changed')",
    "append": "open(path, 'a').write('changed')",
    "in place": "open(path, 'r+b').write(b'changed')",
    "truncate": "os.truncate(path, 0)",
    "truncate what is open": "os.ftruncate(os.open(path, os.O_RDONLY), 0)",
    "open again to write": "open(f'/proc/self/fd/{os.open(path, os.O_RDONLY)}', 'r+').write('changed')",
    "a path descriptor": "open(f'/proc/self/fd/{os.open(path, os.O_PATH)}', 'w').write('changed')",
    "map": "mmap.mmap(os.open(path, os.O_RDONLY), 0)[0] = 65",
    "reserve": "os.posix_fallocate(os.open(path, os.O_RDWR), 0, 10**5)",
    "mode": "os.chmod(path, 0o777)",
    "dates": "os.utime(path, (0, 0))",
    "owner": "os.chown(path, 1, 1)",
    "attribute": "os.setxattr(path, 'user.x', b'1')",
    "unlink": "os.unlink(path)",
    "rename": "os.rename(path, path + '2')",
    "take away": "os.rename(path, 'mine')",
    "put another in its place": "open('mine', 'w').write('changed')\nos.replace('mine', path)",
    "put a link in its place": "os.unlink(path)\nos.symlink('/dev/null', path)",
    "exchange with a link": "os.symlink('/dev/null', 'mine')\nos.rename('mine', path)",
    "hard link": "os.link(os.path.realpath(path), 'mine')\nopen('mine', 'w').write('changed')",
    "beside": "open(path + '2', 'w').write('new')",
    "folder beside": "os.mkdir(path + '2')",
    "remove its folder": "import shutil\nshutil.rmtree(os.path.dirname(path))",
    "move its folder": "os.rename(os.path.dirname(os.path.realpath(path)), 'mine')",
}
PLACES = {
    "file": "'data/table.csv'",
    "file in a folder": "'data/numbers/one.txt'",
    "module": "importlib.util.find_spec('tools').origin",
    "module of a package": "importlib.util.find_spec('mytools').submodule_search_locations[0] + '/inner.py'",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", WAYS_TO_CHANGE)
def test_nothing_mounted_is_changed(mounted: WorkerPool, things: Things, way: str, place: str) -> None:
    """By the name it is found under, and by the one that leads to; what one does, another does not see."""
    before = things.state()
    for path in (PLACES[place], f"os.path.realpath({PLACES[place]})"):
        imports = "import importlib.util, mmap, os"
        result = mounted.run(f"{imports}\npath = {path}\nassert os.path.exists(path)\n{WAYS_TO_CHANGE[way]}")
        assert result.status is Status.ERROR
        assert "AssertionError" not in (result.error or "")
        assert things.state() == before
        assert mounted.run(LOOK).stdout == SEEN


WAYS_TO_SWAP = {
    "away": "os.unlink('data')",
    "a link": "os.unlink('data')\nos.symlink('/', 'data')",
    "a folder": "os.unlink('data')\nos.mkdir('data')\nopen('data/table.csv', 'w').write('changed')",
    "renamed": "os.rename('data', 'date')",
}


@pytest.mark.parametrize("way", WAYS_TO_SWAP)
def test_a_program_swaps_the_link_for_itself_alone(mounted: WorkerPool, things: Things, way: str) -> None:
    before = things.state()
    assert mounted.run(f"import os\n{WAYS_TO_SWAP[way]}").status is Status.OK
    for _ in range(4):
        assert mounted.run(LOOK).stdout == SEEN
    assert things.state() == before


WAYS_OUT = {
    "link": "open('data/numbers/absolute').read()",
    "relative link": "open('data/numbers/relative').read()",
    "link to a folder": "open('data/numbers/folder/secret').read()",
    "list a link": "os.listdir('data/numbers/folder')",
    "link to the machine's": "open('data/numbers/machine').read()",
    "link in a package": "open(package + '/absolute').read()",
    "relative link in a package": "open(package + '/relative').read()",
    "sibling": "open('data/secret').read()",
    "sibling of the real file": "open(os.path.realpath('data/table.csv')[:-9] + 'secret').read()",
    "sibling on the host": "open(host + '/own/secret').read()",
    "list the real folder": "assert 'secret' in os.listdir(os.path.dirname(os.path.realpath('data/other')))",
    "list on the host": "os.listdir(host + '/own')",
    "up from the folder": "open('data/numbers/../secret').read()",
    "far up": "open('data/numbers/../../beside/secret').read()",
    "sibling of a module": "__import__('sibling').found",
    "sibling of a package": "sys.path.insert(0, os.path.dirname(package))\n__import__('sibling').found",
    "of the host": "sys.path.insert(0, host + '/own')\n__import__('sibling').found",
    "descriptor": "os.open('../../beside/secret', 0, dir_fd=os.open('data/numbers', os.O_PATH))",
    "own link": "os.symlink(host + '/own/secret', 'mine')\nopen('mine').read()",
    "own link into the folder": "os.symlink(os.getcwd() + '/data/numbers/absolute', 'm')\nopen('m').read()",
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_nothing_beside_becomes_visible(mounted: WorkerPool, things: Things, way: str) -> None:
    head = "import importlib.util, os, sys\n"
    head += "package = os.path.dirname(importlib.util.find_spec('mytools').origin)"
    *before, last = WAYS_OUT[way].split("\n")
    code = "\n".join([head, f"host = {str(things.folder)!r}", *before])
    result = mounted.run(f"{code}\n{last if last.startswith('assert') else f'print({last})'}")
    assert (result.status, result.stdout) == (Status.ERROR, "")
    assert things.secret not in (result.error or "")


@pytest.mark.bubblewrap
@pytest.mark.parametrize("way", ["overwrite", "unlink", "take away", "mode", "remove its folder"])
def test_the_mounts_alone_are_enough(things: Things, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """As where the kernel has no Landlock."""
    modules = worker_modules()
    changed = modules["src.sandbox.landlock"].replace("return max(int(version), 0)", "return 0")
    assert changed != modules["src.sandbox.landlock"]
    monkeypatch.setattr(
        "src.sandbox.client.worker_modules", lambda: modules | {"src.sandbox.landlock": changed}
    )
    before = things.state()
    with build_sandbox(things.config(jail="bubblewrap")) as sandbox:
        for path in ("'data/table.csv'", "os.path.realpath('data/numbers/one.txt')"):
            attack = f"import os\npath = {path}\n{WAYS_TO_CHANGE[way]}"
            assert sandbox.run(attack).status is Status.ERROR
        assert sandbox.run("open('data/numbers/absolute')").status is Status.ERROR
        assert sandbox.run(LOOK).stdout == SEEN
    assert things.state() == before


def test_a_module_that_hangs_or_crashes_costs_one_program(mounted: WorkerPool) -> None:
    assert mounted.run("import hangs").status is Status.TIMEOUT
    assert mounted.run("import crashes").status is Status.KILLED
    assert mounted.run(LOOK).stdout == SEEN
    assert mounted.stats()["restarts"] == 0


@pytest.mark.parametrize("jail", [in_jail("bubblewrap"), in_jail("sandlock"), "unconfined"])
def test_an_installed_package_comes_with_what_it_requires(jail: str) -> None:
    code = "import networkx, dateutil, yaml\nfrom importlib.metadata import version\n"
    code += "print(networkx.complete_graph(4).size(), version('networkx') > '3')"
    cfg = SandboxConfig(jail=jail, workers=1, warm=[], packages=["networkx", "pandas", "yaml"])
    with build_sandbox(cfg) as sandbox:
        assert sandbox.run(code).stdout == "6 True\n"
        for name in ("pytest", "hydra", "torch"):
            assert "ModuleNotFoundError" in (sandbox.run(f"import {name}").error or "")


def test_without_a_jail_a_careless_program_changes_a_copy_at_most(things: Things) -> None:
    before = things.state()
    with build_sandbox(things.config(jail="unconfined")) as sandbox:
        for path in ("data/table.csv", "data/numbers/one.txt"):
            for way in ("overwrite", "append", "truncate", "mode", "unlink", "rename", "beside"):
                attack = f"import os\npath = {path!r}\n{WAYS_TO_CHANGE[way]}"
                assert sandbox.run(attack).status is Status.ERROR, way
                assert sandbox.run(LOOK).stdout == SEEN
        copies = Path(sandbox.run("import os\nprint(os.path.realpath('data'))").stdout.strip())
        assert copies.is_dir()
    assert things.state() == before
    assert not copies.parent.exists()


@pytest.mark.parametrize("jail", [in_jail("bubblewrap"), in_jail("sandlock"), "unconfined"])
def test_nothing_is_left_behind(things: Things, jail: str) -> None:
    def left() -> set[str]:
        own = f"sandbox-{os.getpid()}-"
        return {name for folder in ("/dev/shm", "/tmp") for name in os.listdir(folder) if own in name}

    before = left()
    with build_sandbox(things.config(jail=jail)) as sandbox:
        assert sandbox.run(LOOK).stdout == SEEN
    assert left() <= before


def test_what_is_gone_is_said_when_a_sandbox_starts(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=r"^sandbox\.files\[0\]=.*/gone: there is no such file"):
        build_sandbox(cold(files=[str(tmp_path / "gone")]))


def test_what_a_program_cannot_read_is_said_when_a_sandbox_starts(
    things: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it looks readable from here, as over a network."""
    monkeypatch.setattr("src.sandbox.pool._START_PAUSES", (0.0,))
    monkeypatch.setattr("src.sandbox.jails.unconfined.mounts.copy", lambda *_: None)
    with pytest.raises(SandboxError, match=r"reading mounted files.*check sandbox.packages, sandbox.files"):
        build_sandbox(things.config(jail="unconfined"))


@pytest.mark.parametrize("setting", ["packages", "files"])
def test_a_service_has_its_own(things: Things, setting: str) -> None:
    given = {setting: [str(things.folder / "own" / "tools.py")]}
    with pytest.raises(SandboxError, match=rf"sandbox\.{setting}=.*: with sandbox\.backend=sandbox_fusion"):
        build_sandbox(cold(backend="sandbox_fusion", **given))


def test_a_node_that_lacks_some_says_so(things: Things) -> None:
    cfg = things.config(jail="unconfined")
    cfg.files = [*(cfg.files or {}).values(), str(things.folder / "of-another-node")]
    with pytest.raises(SandboxError) as error:
        Seat(cfg).start()
    assert f"node {platform.node()}: sandbox.files[3]={things.folder}/of-another-node: there" in str(
        error.value
    )
    assert "must exist on every node" in str(error.value)


def test_a_container_mounts_them_read_only(things: Things) -> None:
    """What Docker is told; the attacks run there with ``--jails docker``."""
    cfg = things.config(jail="docker")
    mounted, faults = find(cfg)
    assert faults == []
    with docker.APIClient(base_url="unix:///nowhere", version="1.41") as client:
        binds = _description(client, cfg, mounted)["host_config"]["Mounts"]
        assert not _description(client, cold(jail="docker"), find(cold())[0])["host_config"].get("Mounts")
    assert {(bind["Type"], bind["ReadOnly"]) for bind in binds} == {("bind", True)}
    assert all(bind["BindOptions"]["NonRecursive"] for bind in binds)
    own = things.folder / "own"
    assert {bind["Target"]: bind["Source"] for bind in binds} == {
        "/mounts/modules/tools.py": str(own / "tools.py"),
        "/mounts/modules/mytools": str(own / "mytools"),
        "/mounts/modules/hangs.py": str(own / "hangs.py"),
        "/mounts/modules/crashes.py": str(own / "crashes.py"),
        "/mounts/files/table.csv": str(own / "table.csv"),
        "/mounts/files/numbers": str(own / "numbers"),
        "/mounts/files/other": str(own / "table.csv"),
    }
