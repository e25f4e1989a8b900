"""The Docker jail beside the attacks: daemons that fail, the container's settings, and what is left behind.

What is marked ``docker`` needs a daemon and the image of ``make sandbox-image``, and runs with ``--jails
docker``; the rest runs everywhere.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest

from src.config import DockerConfig
from src.sandbox import SandboxError, Status, build_sandbox
from src.sandbox.jails.base import worker_modules
from src.sandbox.jails.docker import LABEL
from src.sandbox.jails.docker_stream import Multiplexed
from src.sandbox.pool import WorkerPool
from tests.sandbox.helpers import cold, eventually

SLEEP = "import time\ntime.sleep(0.7)\nprint('done')"


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a path short enough for the sockets in it."""
    with tempfile.TemporaryDirectory(prefix="d-") as path:
        yield Path(path)


def fails_to_start(**settings: Any) -> str:
    start = time.monotonic()
    with pytest.raises(SandboxError) as error:
        build_sandbox(cold(jail="docker", workers=1, **settings))
    assert time.monotonic() - start < 8
    return str(error.value)


def test_no_daemon_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/none")
    message = fails_to_start()
    assert f"docker: no Docker daemon at {folder}/none (No such file or directory); remedy:" in message


def test_a_dead_daemons_socket_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/dead")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{folder}/dead")
        assert "(Connection refused); remedy: start it" in fails_to_start()


def test_a_closed_socket_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(socket.socket):
        def connect(self, address: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/closed")
    monkeypatch.setattr("src.sandbox.jails.docker.socket.socket", Closed)
    assert "closed to this user; remedy: have root add the user" in fails_to_start()


def test_a_daemon_of_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    assert "only a daemon of this machine is used; remedy: unset it" in fails_to_start()


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense", b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno", None], ids=repr
)
def test_a_daemon_that_does_not_answer_properly_is_said(
    answer: bytes | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None: it accepts and says nothing for ever."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/odd")
    monkeypatch.setattr("src.sandbox.jails.docker._ANSWER_SECONDS", 0.5)
    with socket.socket(socket.AF_UNIX) as odd:
        odd.bind(f"{folder}/odd")
        odd.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection = odd.accept()[0]
                    if answer is None:
                        kept.append(connection)
                        continue
                    with connection:
                        connection.settimeout(0.2)
                        with contextlib.suppress(OSError):
                            connection.recv(1 << 16)
                        connection.sendall(answer)

        kept: list[socket.socket] = []
        thread = threading.Thread(target=serve)
        thread.start()
        assert "does not answer as it should" in fails_to_start()
        odd.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in kept:
            connection.close()


def piece(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


@pytest.fixture
def stream() -> Iterator[tuple[socket.socket, Multiplexed]]:
    """The daemon's end, and ours."""
    theirs, ours = socket.socketpair()
    multiplexed = Multiplexed(SimpleNamespace(_sock=ours, close=ours.close))
    with theirs:
        yield theirs, multiplexed
        multiplexed.close()


@pytest.mark.parametrize("step", [1, 3, 9, 1000])
def test_a_stream_is_taken_apart_wherever_it_is_torn(
    step: int, stream: tuple[socket.socket, Multiplexed]
) -> None:
    daemon, channel = stream
    sent = piece(1, b"abc") + piece(2, b"oh ") + piece(1, b"") + piece(1, b"defg") + piece(2, b"no")
    got = b""
    for start in range(0, len(sent), step):
        daemon.sendall(sent[start : start + step])
        with contextlib.suppress(BlockingIOError):
            while True:
                got += channel.read(2)
    assert (got, channel.words) == (b"abcdefg", b"oh no")
    daemon.close()
    assert channel.read(2) == b""


def test_errors_are_kept_to_a_limit(stream: tuple[socket.socket, Multiplexed]) -> None:
    daemon, channel = stream
    for _ in range(20):
        daemon.sendall(piece(2, b"x" * 1000))
    daemon.sendall(piece(2, b"end") + piece(1, b"y"))
    assert channel.read(1) == b"y"
    assert (len(channel.words), channel.words[-4:]) == (2000, b"xend")


def test_an_unknown_stream_is_an_error(stream: tuple[socket.socket, Multiplexed]) -> None:
    daemon, channel = stream
    daemon.sendall(piece(7, b"x"))
    with pytest.raises(OSError, match="stream 7"):
        channel.read(1)


def test_writing_to_a_full_stream_does_not_block(stream: tuple[socket.socket, Multiplexed]) -> None:
    daemon, channel = stream
    sent = 0
    while count := channel.write(memoryview(bytes(1 << 20))):
        sent += count
    assert len(daemon.recv(1 << 16)) > 0
    assert sent > 0
    channel.end()
    with pytest.raises(OSError):
        channel.write(memoryview(b"x"))


@pytest.fixture
def client() -> Iterator[docker.APIClient]:
    with docker.APIClient(base_url=os.environ.get("DOCKER_HOST"), timeout=60) as client:
        yield client


def containers(client: docker.APIClient, caller: int | None = None) -> list[str]:
    """Ids of our containers, running or not, of this process or of ``caller``."""
    label = f"{LABEL}={caller or os.getpid()}"
    return [found["Id"] for found in client.containers(all=True, filters={"label": label})]


@pytest.fixture
def two() -> Iterator[WorkerPool]:
    with build_sandbox(cold(jail="docker", workers=2, wall_seconds=3)) as sandbox:
        assert isinstance(sandbox, WorkerPool)
        yield sandbox


def container_of(client: docker.APIClient, pool: WorkerPool) -> dict[str, Any]:
    """What the daemon says of the first worker's container."""
    details = [client.inspect_container(name) for name in containers(client)]
    return next(found for found in details if found["State"]["Pid"] == pool.pids()[0])


@pytest.mark.docker
def test_the_container_is_closed_on_every_side(client: docker.APIClient, two: WorkerPool) -> None:
    found = container_of(client, two)
    host, config = found["HostConfig"], found["Config"]
    assert (host["NetworkMode"], list(found["NetworkSettings"]["Networks"])) == ("none", ["none"])
    assert (host["ReadonlyRootfs"], host["Privileged"], host["AutoRemove"]) == (True, False, True)
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None)
    assert host["SecurityOpt"] == ["no-new-privileges:true"]  # seccomp: as nothing is said, Docker's profile
    assert (host["IpcMode"], host["CgroupnsMode"], host["PidMode"]) == ("none", "private", "")
    assert (host["Binds"], host["Devices"] or [], found["Mounts"]) == (None, [], [])
    assert (host["LogConfig"]["Type"], config["User"], config["Hostname"]) == (
        "none",
        "65534:65534",
        "sandbox",
    )
    assert set(host["Tmpfs"]) == {"/tmp", "/dev/mqueue"}
    assert {"size=81m", "nosuid", "nodev", "noexec", "mode=0700"} <= set(host["Tmpfs"]["/tmp"].split(","))
    assert host["Memory"] == host["MemorySwap"] == (256 + 2 * (256 + 512) + 2 * 32 + 81) * 2**20
    assert host["PidsLimit"] == 2048 + 4 * 16
    assert (config["OpenStdin"], config["StdinOnce"], config["Tty"]) == (True, True, False)


@pytest.mark.docker
def test_the_kernel_confines_the_worker_as_it_was_told(two: WorkerPool) -> None:
    """Seen from outside; no capability, no privilege, nothing of the daemon's environment."""
    place = Path(f"/proc/{two.pids()[0]}")
    status = dict(line.split(":\t", 1) for line in (place / "status").read_text().splitlines())
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"], status["Uid"]) == ("1", "2", "\t".join(["65534"] * 4))
    names = {line.partition(b"=")[0] for line in (place / "environ").read_bytes().split(b"\0") if line}
    assert not names & {b"PATH", b"HOME", b"HOSTNAME"}
    for mount in (place / "mounts").read_text().splitlines():
        _device, path, kind, options, *_ = mount.split()
        writable = "rw" in options.split(",") and kind in ("tmpfs", "ext4", "overlay", "xfs", "btrfs")
        # the other writable ones are root's, which programs are not
        assert not writable or path in ("/tmp", "/dev", "/sys/fs/cgroup") or path.startswith("/proc/"), mount


@pytest.mark.docker
def test_a_container_killed_under_load_costs_nothing(client: docker.APIClient, two: WorkerPool) -> None:
    futures = [two.submit(SLEEP) for _ in range(6)]
    time.sleep(0.3)
    start = time.monotonic()
    os.kill(two.pids()[0], signal.SIGKILL)
    assert futures[0].result().stdout == futures[1].result().stdout == "done\n"
    assert time.monotonic() - start < 5
    assert [future.result().stdout for future in futures] == ["done\n"] * 6
    assert (two.stats()["restarts"], two.stats()["infrastructure"]) == (1, 0)
    client.kill(container_of(client, two)["Id"])  # an idle one
    futures = [two.submit(SLEEP) for _ in range(2)]
    assert [future.result().stdout for future in futures] == ["done\n"] * 2
    assert (two.stats()["restarts"], two.stats()["infrastructure"]) == (2, 0)


@pytest.mark.docker
def test_close_leaves_nothing_in_docker(client: docker.APIClient) -> None:
    before, threads = containers(client), threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    sandbox = build_sandbox(cold(jail="docker", workers=2))
    assert isinstance(sandbox, WorkerPool)
    workers = sandbox.pids()
    futures = [sandbox.submit("import time\ntime.sleep(4)") for _ in range(4)]
    time.sleep(0.2)
    start = time.monotonic()
    sandbox.close()
    assert time.monotonic() - start < 4
    assert {future.result(timeout=1).status for future in futures} == {Status.INFRASTRUCTURE}
    assert (containers(client), threading.active_count()) == (before, threads)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


CALLER = """
import time
from src.sandbox import build_sandbox
from tests.sandbox.helpers import cold
sandbox = build_sandbox(cold(jail="docker", workers=2))
futures = [sandbox.submit("while True: pass") for _ in range(4)]
time.sleep(0.2)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.docker
def test_a_killed_caller_leaves_no_container(client: docker.APIClient) -> None:
    with subprocess.Popen([sys.executable, "-c", CALLER], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == "ready\n"
        assert len(containers(client, caller.pid)) == 2
        caller.kill()
    assert eventually(lambda: containers(client, caller.pid) == [])


@pytest.mark.docker
def test_a_missing_image_is_said() -> None:
    message = fails_to_start(docker=DockerConfig(image="cir-nothing-like-it"))
    assert message == "docker: the daemon has no image cir-nothing-like-it; remedy: make sandbox-image"


@pytest.mark.docker
def test_an_image_that_is_not_ours_is_said(client: docker.APIClient) -> None:
    tag, before = f"cir-test-empty-{os.getpid()}", containers(client)
    with tempfile.TemporaryFile() as empty:
        empty.write(bytes(10240))  # an empty tar file
        empty.seek(0)
        client.import_image_from_data(empty.read(), repository=tag)
    try:
        assert "is not one of ours; remedy: make sandbox-image" in fails_to_start(
            docker=DockerConfig(image=tag)
        )
        assert containers(client) == before
    finally:
        client.remove_image(tag)


@pytest.mark.docker
def test_an_unknown_runtime_is_said() -> None:
    message = fails_to_start(docker=DockerConfig(runtime="nothing"))
    assert "the daemon knows no runtime nothing (but " in message
    assert "runc" in message


@pytest.mark.docker
def test_without_landlock_the_container_alone_keeps_programs_apart(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where Docker's profile refuses it: nothing is written but into /tmp, and that is emptied."""
    modules = worker_modules()
    changed = modules["src.sandbox.landlock"].replace("return max(int(version), 0)", "return 0")
    assert changed != modules["src.sandbox.landlock"]
    monkeypatch.setattr(
        "src.sandbox.client.worker_modules", lambda: modules | {"src.sandbox.landlock": changed}
    )
    with build_sandbox(cold(jail="docker", workers=1)) as sandbox:
        assert "sandbox=docker runs without Landlock" in caplog.text
        for folder in (
            "/",
            "/dev",
            "/dev/shm",
            "/dev/mqueue",
            "/etc",
            "/packages",
            "/sandbox",
            "/sys",
            "/run",
        ):
            assert sandbox.run(f"open({folder!r} + '/new', 'w')").status is Status.ERROR, folder
        assert sandbox.run("open('/tmp/left', 'w').write('x')").status is Status.OK
        assert "left" not in sandbox.run("import os\nprint(os.listdir('/tmp'))").stdout


class Daemon:
    """A Docker daemon of the test's own, which it may kill. Needs root."""

    def __init__(self, folder: Path) -> None:
        self.host, self._folder = f"unix://{folder}/s", folder

    def start(self) -> None:
        command = ["dockerd", "--iptables=false", "--bridge=none", f"--host={self.host}"]
        command += [f"--data-root={self._folder}/data", f"--exec-root={self._folder}/x"]
        command += [f"--pidfile={self._folder}/pid"]
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        assert eventually(self._answers, 30), (self._folder / "log").read_text()[-2000:]

    def _answers(self) -> bool:
        try:
            with docker.APIClient(base_url=self.host) as client:
                return bool(client.ping())
        except (docker.errors.DockerException, OSError):
            return False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """With the mounts that a killed daemon leaves."""
        self._process.terminate()
        self._process.wait(60)
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for path in reversed([path for path in mounts if path.startswith(f"{self._folder}/")]):
            subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    own = Daemon(folder)
    own.start()
    try:
        yield own
    finally:
        own.stop()


@pytest.mark.docker
def test_a_killed_daemon_is_infrastructure_until_it_is_back(
    client: docker.APIClient, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    with docker.APIClient(base_url=daemon.host, timeout=300) as own:
        own.load_image(client.get_image("cir-sandbox"))
        monkeypatch.setenv("DOCKER_HOST", daemon.host)
        with build_sandbox(cold(jail="docker", workers=2)) as sandbox:
            assert isinstance(sandbox, WorkerPool)
            workers = sandbox.pids()
            futures = [sandbox.submit("import time\ntime.sleep(4)") for _ in range(40)]
            time.sleep(0.3)
            start = time.monotonic()
            daemon.kill()
            results = [future.result(timeout=30) for future in futures]
            assert time.monotonic() - start < 5
            assert {result.status for result in results} == {Status.INFRASTRUCTURE}
            assert all("no Docker daemon at" in (result.error or "") for result in results)
            assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
            assert "no Docker daemon at" in fails_to_start()
            daemon.start()
            assert eventually(lambda: sandbox.run("print(1)").status is Status.OK, 20)
        assert eventually(lambda: containers(own) == [])


@pytest.mark.docker
def test_the_image_says_what_it_holds(client: docker.APIClient) -> None:
    name = client.create_container("cir-sandbox", ["true"])["Id"]
    try:
        archive = b"".join(client.get_archive(name, "/sandbox/layout.json")[0])
    finally:
        client.remove_container(name)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        layout = json.load(tar.extractfile("layout.json"))
    assert {"numpy", "sympy", "mpmath"} <= set(layout["packages"])
    assert not any(path.endswith("-packages") for path in layout["readable"])
