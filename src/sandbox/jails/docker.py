"""Jail: Docker (a warm container per worker). Needs a daemon on this machine and ``make sandbox-image``.

Guaranteed: the worker and its programs see the image's files, read-only, a private /proc, a few devices and
nothing of the host's file system but what sandbox.packages and sandbox.files name, mounted read-only, each
by itself; the only writable place is a private in-memory /tmp of limited size. Own pid, network, ipc, uts,
mount and cgroup namespaces: no interface but loopback, no process of the host in sight. An unprivileged
uid, no capabilities, no new privileges, Docker's seccomp profile, no environment; its cgroup bounds memory
(no swap) and processes, whatever else fails. The worker is pid 1 of the container: whatever is in there
dies with it, it ends when its caller does, and the daemon then removes the container. On top, each program
enters a seccomp filter and, where kernel and profile let it, a Landlock domain (src/sandbox/seccomp.py,
landlock.py).

Not guaranteed: anything against a hole in the kernel, which is shared unless ``sandbox.docker.runtime=runsc``
(gVisor; it could not be tried where this was written); CPU caches, timing and other side channels; a fair
share of the CPU within the limits of an execution. The daemon runs as root, and whoever may use it (the group
docker) is as good as root: the jail confines programs, not the user who starts it. The profile of Docker
20.10.24 lets Landlock's system calls through; where another refuses them (the pool then warns that it runs
without Landlock), programs can read all of the image, what /proc and /sys show to everyone, and the machine's
name servers in /etc/resolv.conf, and ``state: session`` does not start. A caller that is killed while it
creates a container can leave one that was never started: ``docker container prune --filter
label=cir.sandbox`` removes those.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import secrets
import select
import signal
import socket
import tarfile
import threading
import time
from typing import Any

import docker  # type: ignore[import-untyped]
from docker.errors import APIError, DockerException, ImageNotFound, NotFound  # type: ignore[import-untyped]
from docker.types import Mount  # type: ignore[import-untyped]

from src.config import SandboxConfig
from src.config.mounts import Mounts
from src.sandbox import mounts
from src.sandbox.api import SandboxError
from src.sandbox.jails.base import DEVICES, ENVIRONMENT, Jail, Launched, interpreter, writable_mb
from src.sandbox.jails.docker_stream import Multiplexed

LABEL = "cir.sandbox"  # on every container, with the caller's process id
_log = logging.getLogger(__name__)
_DEFAULT_SOCKET = "/var/run/docker.sock"
_USER = 65534  # nobody's, on most systems
_ANSWER_SECONDS = 5.0  # for a daemon to say that it is there
_START_SECONDS = 20.0  # for each other call; it may be busy with other containers
_END_SECONDS = 10.0
_LAYOUT = "/sandbox/layout.json"  # made by docker_layout.py
_REMEDY = "remedy: make sandbox-image"
# of one container, beside what programs may use
_WARM_MB = 256  # a warm interpreter with room to spare; each program may in the end have copied all of it
_WAITING_MB = 32  # a child that waits for its program
_THREADS = 2048  # more than a program can start before the worker looks and kills it: forks must not fail


class Docker(Jail):
    """See the module's header."""

    name = "docker"

    def unavailable(self) -> str | None:
        """A daemon must answer, have the image, and know the runtime."""
        image, runtime = self._cfg.docker.image, self._cfg.docker.runtime
        try:
            with _connect() as client:
                client.inspect_image(image)
                known = client.info()["Runtimes"]
        except SandboxError as error:
            return str(error)
        except ImageNotFound:
            return f"the daemon has no image {image}; {_REMEDY}"
        except (DockerException, OSError) as error:
            return f"the daemon does not answer as it should: {_told(error)}"
        if (
            runtime is not None and runtime not in known and "." not in runtime
        ):  # io.containerd.NAME.v1 is not listed
            return (
                f"the daemon knows no runtime {runtime} (but {', '.join(sorted(known))}); remedy: install it "
                "and name it in the daemon's configuration, or leave sandbox.docker.runtime out"
            )
        return None

    def launch(self, limits: dict[str, Any]) -> Launched:
        """Start a worker in a container of its own."""
        client = _connect()
        try:
            return _Container(client, self._cfg, self.mounts)
        except (DockerException, OSError) as error:
            raise SandboxError(f"the container does not start: {_told(error)}") from error


class _Container(Launched):
    """A running container. Raises DockerException, OSError or SandboxError, and then leaves nothing."""

    def __init__(self, client: docker.APIClient, cfg: SandboxConfig, mounted: Mounts) -> None:
        self._client, self._lock, self._closed = client, threading.Lock(), False
        self._name = f"cir-sandbox-{os.getpid()}-{secrets.token_hex(6)}"
        self._stream: Multiplexed | None = None
        self._process: int | None = None
        try:
            client.create_container(name=self._name, **_description(client, cfg, mounted))
            self.settings = _settings(client, self._name, mounted)
            ways = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            self.channel = self._stream = Multiplexed(client.attach_socket(self._name, ways))
            client.start(self._name)
            found = client.inspect_container(self._name)
            self.pid = int(found["State"]["Pid"])
            self._process = _open_process(self.pid, found["Id"])
        except BaseException:
            self.close()
            raise

    def interrupt(self) -> None:
        """See Launched.interrupt."""
        with self._lock:
            if not self._closed:
                self._end()

    def _end(self) -> None:
        """End the stream, with it the worker, which reads from it; and, where we may, kill that at once."""
        if self._stream is not None:
            self._stream.end()
        if self._process is not None:
            with contextlib.suppress(OSError):  # gone, or not ours to kill: the daemon does it
                signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def close(self) -> None:
        """See Launched.close."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._end()
        try:
            self._remove()
        except (DockerException, OSError) as error:
            self._mourn(error)
        finally:
            if self._stream is not None:
                self._stream.close()
            if self._process is not None:
                os.close(self._process)
            self._client.close()

    def _remove(self) -> None:
        """Have the daemon kill and remove the container. Raises DockerException or OSError."""
        self._client.timeout = _END_SECONDS
        deadline = time.monotonic() + _END_SECONDS
        while True:
            try:
                self._client.remove_container(self._name, v=True, force=True)
                return
            except NotFound:
                return
            except APIError as error:
                if error.status_code != 409 or time.monotonic() > deadline:  # being removed, since it ended
                    raise
            time.sleep(0.01)

    def _mourn(self, error: Exception) -> None:
        """The daemon is gone: wait for the process that was killed, and say what may be left."""
        if self._process is not None:
            poll = select.poll()
            poll.register(self._process, select.POLLIN)
            if poll.poll(2000):
                return  # nothing runs; the daemon forgets the container when it is back
        _log.warning("docker: container %s may be left behind: %s", self._name, _told(error))

    def last_words(self) -> str:
        """See Launched.last_words."""
        return self._stream.words.decode(errors="replace").strip() if self._stream is not None else ""


def _description(client: docker.APIClient, cfg: SandboxConfig, mounted: Mounts) -> dict[str, Any]:
    """Arguments of create_container.

    The memory limit is a backstop, so that it counts all that may be used at worst: the worker; each program
    alive at a time (the one that runs, one on its way out, and with ``state: session`` all those that live
    on) with ``memory_mb`` and its copy of the worker's pages; the children that wait; and /tmp.
    """
    programs = 2 + cfg.sessions * (cfg.state == "session")
    writable = writable_mb(cfg)
    memory = _WARM_MB + programs * (_WARM_MB + cfg.memory_mb) + cfg.waiting * _WAITING_MB + writable
    owned = f"mode=0700,uid={_USER},gid={_USER}"
    host = client.create_host_config(
        auto_remove=True,
        cap_drop=["ALL"],
        cgroupns="private",
        ipc_mode="none",  # a namespace of its own, without /dev/shm
        log_config={"Type": "none"},
        mem_limit=memory * 2**20,
        memswap_limit=memory * 2**20,
        mounts=[_mount(path, place) for path, place in mounts.places(mounted, mounts.ROOT)],
        network_mode="none",
        oom_score_adj=500,  # when memory is short, it goes before the caller
        pids_limit=_THREADS + (programs + cfg.waiting) * cfg.processes,
        read_only=True,
        runtime=cfg.docker.runtime,
        security_opt=["no-new-privileges:true"],
        # Docker's own /dev/mqueue is writable
        tmpfs={"/tmp": f"{owned},size={writable}m,nosuid,nodev,noexec", "/dev/mqueue": "ro,size=4k"},
    )
    # env -i, because the image has an environment too
    environment = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
    return {
        "image": cfg.docker.image,
        "entrypoint": ["/usr/bin/env", "-i", *environment, *interpreter("/sandbox/python3")],
        "command": [],
        "user": f"{_USER}:{_USER}",
        "hostname": "sandbox",
        "working_dir": "/tmp",
        "labels": {LABEL: str(os.getpid())},
        "stdin_open": True,  # with this SDK also StdinOnce: the end of our stream is the end of its stdin
        "host_config": host,
        "use_config_proxy": False,
    }


def _mount(path: str, place: str) -> Mount:
    """``path`` of the host, read-only; without what is mounted in it, which older daemons leave writable."""
    mount = Mount(place, path, type="bind", read_only=True)
    mount["BindOptions"] = {"NonRecursive": True}
    return mount


def _settings(client: docker.APIClient, container: str, mounted: Mounts) -> dict[str, Any]:
    """The jail's part of the worker's settings, from the image's layout. Raises SandboxError."""
    try:
        archive = b"".join(client.get_archive(container, _LAYOUT)[0])
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            file = tar.extractfile(os.path.basename(_LAYOUT))
            assert file is not None
            layout = json.load(file)
    except NotFound as error:
        raise SandboxError(f"the image has no {_LAYOUT}: it is not one of ours; {_REMEDY}") from error
    return {
        "packages": layout["packages"],
        "mounts": mounts.folders(mounted, mounts.ROOT),
        "scratch": "/tmp",
        "private": True,
        "readable": [*layout["readable"], mounts.ROOT, *DEVICES],
        "listable": layout["listable"],
        "landlock": "optional",
        "own_process_count": False,  # the uid is shared by all containers
        "strict": True,
    }


def _open_process(pid: int, container: str) -> int | None:
    """A descriptor of the container's process, for killing it without the daemon.

    None where ``pid`` means another process here, as it does when the daemon lives in another pid namespace.
    """
    try:
        process = os.pidfd_open(pid)
    except (OSError, ValueError):
        return None
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cgroup") as file:
        if container in file.read():
            return process
    os.close(process)
    return None


def _connect() -> docker.APIClient:
    """A client of the daemon, whose calls end in time. Raises SandboxError, with the remedy."""
    address = os.environ.get("DOCKER_HOST") or f"unix://{_DEFAULT_SOCKET}"
    path = address.removeprefix("unix://")
    if path == address:
        raise SandboxError(
            f"DOCKER_HOST is {address}, but only a daemon of this machine is used; remedy: unset it, or let "
            "it name the daemon's socket, unix:///..."
        )
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_ANSWER_SECONDS)
            probe.connect(path)
    except PermissionError as error:
        raise SandboxError(
            f"the daemon's socket {path} is closed to this user; remedy: have root add the user to its group "
            "(docker; its members are as good as root)"
        ) from error
    except OSError as error:
        raise SandboxError(
            f"no Docker daemon at {path} ({error.strerror or error}); remedy: start it (systemctl start "
            "docker), or let DOCKER_HOST name its socket, unix:///..."
        ) from error
    try:
        client = docker.APIClient(base_url=address, timeout=_ANSWER_SECONDS)
        client.timeout = _START_SECONDS
        return client
    except (DockerException, OSError) as error:
        raise SandboxError(f"the daemon at {path} does not answer as it should: {_told(error)}") from error


def _told(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error).strip()
