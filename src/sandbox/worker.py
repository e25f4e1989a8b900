"""The worker: a warm interpreter inside the jail that forks one confined child per request.

Runs inside the jail with the standard library and the packages that it warms. Descriptors 0 and 1 carry the
frames only until they are moved out of the children's reach; a child gets /dev/null and pipes.
"""

from __future__ import annotations

import builtins
import gc
import importlib
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from src.sandbox.confine import Confinement, protect_worker
from src.sandbox.program import run
from src.sandbox.protocol import receive, send
from src.sandbox.supervise import CONFINED, ConfinementError, Supervisor, empty

# long enough to be looked at: what does not work here should fail before the first program
_REHEARSAL = "import time; time.sleep(0.05)"


class PackageFinder:
    """Finds the packages that the jail shows, and no other of site-packages."""

    def __init__(self, packages: dict[str, str]) -> None:
        self._packages = packages

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec for a top-level package of ours, None for anything else."""
        folder = self._packages.get(name)
        if folder is None:
            return None
        return importlib.util.spec_from_file_location(
            name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )


def _warm(packages: dict[str, str], statements: list[str]) -> None:
    """Import and exercise what programs use, so that their caches and lazy imports are paid once."""
    sys.meta_path.append(PackageFinder(packages))
    namespace: dict[str, Any] = {}
    for statement in statements:
        exec(statement, namespace)
    site = importlib.import_module("_sitebuiltins")  # absent without the site module
    for name in ("exit", "quit"):
        setattr(builtins, name, site.Quitter(name, "Ctrl-D (i.e. EOF)"))


def _forget_ourselves() -> None:
    """Programs see neither our modules nor an environment."""
    for name in [name for name in sys.modules if name.startswith("src.")]:
        del sys.modules[name]
    os.environ.clear()


def main(settings: dict[str, Any]) -> NoReturn:
    """Warm up, say so, serve until the pool closes its end; called once by the bootstrap."""
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.umask(0o077)
    work = os.path.join(settings["scratch"], "work")
    os.makedirs(work, exist_ok=True)
    os.chdir(work)
    _warm(settings["packages"], settings["warm"])
    protect_worker()
    confinement = Confinement(settings, work)
    supervisor = Supervisor(settings["limits"], work, requests)
    _forget_ourselves()
    gc.collect()
    gc.freeze()
    try:
        _serve(_REHEARSAL, confinement, supervisor)
    except ConfinementError as error:
        confinement.forgo_filter(str(error))
        _serve(_REHEARSAL, confinement, supervisor)
    send(answers, {"ready": True, "missing": confinement.missing})
    while (request := receive(requests)) is not None:
        answer = _serve(request["code"], confinement, supervisor)
        if answer is None:
            break  # the pool went away meanwhile
        send(answers, {"id": request["id"], **answer})
    empty(work)
    try:
        os.rmdir(work)
        os.rmdir(settings["scratch"])
    except OSError:
        pass  # not ours to remove in every jail
    os._exit(0)


def _serve(code: str, confinement: Confinement, supervisor: Supervisor) -> dict[str, Any] | None:
    """Fork, confine, run, supervise; None when the pool closed its end."""
    output, output_end = os.pipe()
    report, report_end = os.pipe()
    worker, started = os.getpid(), time.monotonic()
    child = os.fork()
    if child == 0:
        _become_program(code, confinement, worker, output_end, report_end)
    os.close(output_end)
    os.close(report_end)
    try:
        return supervisor.watch(child, output, report, started)
    finally:
        os.close(output)
        os.close(report)
        supervisor.tidy()


def _become_program(code: str, confinement: Confinement, worker: int, output: int, report: int) -> NoReturn:
    try:
        os.dup2(output, 1)
        os.dup2(0, 2)  # /dev/null
        os.chdir(confinement.work)
        confinement.enter(worker)
        if report != 3:
            os.dup2(report, 3)
        os.closerange(4, 1 << 16)
        os.write(3, CONFINED)
        run(code, 3)
    except BaseException as error:
        os.write(report, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(1)
