"""A folder to run commands in, and small programs that start the way ``src.train`` does."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from src.config.paths import ROOT

# Python imports this module by itself; at exit it notes what else was imported.
RECORDER = """
import atexit, os, sys
atexit.register(lambda: open(os.environ["MODULES"], "w").write("\\n".join(sys.modules)))
"""
# Stands where src/train.py stands, without what that imports inside its main function.
PROGRAM = """
from pathlib import Path

from hydra.errors import HydraException

from src.config import Config
from src.launch.entry import entry
from src.config.schema import ConfigError


@entry("train", Config, parallel=True)
def main(cfg: Config, run_dir: Path) -> None:
    print("job", cfg.trainer.seed, type(cfg).__name__, run_dir.is_dir(), run_dir)
    if cfg.trainer.seed == 7:
        raise HydraException("in the job")
    if cfg.trainer.seed == 8:
        raise ConfigError("model.dtype=float16: this processor lacks it; take float32")


if __name__ == "__main__":
    main()
"""
# As src.train again: it says what it got; its seed says what it does then.
ALONE = """
import json, os, subprocess, sys, time
from dataclasses import asdict
from pathlib import Path

from src.config import Config
from src.launch.entry import entry
from src.run.interrupts import Interrupt, interrupts


@entry("train", Config, parallel=True, alone=True)
def main(cfg: Config, run_dir: Path) -> None:
    print(json.dumps({"run_dir": str(run_dir), **asdict(cfg)}), flush=True)
    if cfg.trainer.seed == 8:  # children that outlive it
        subprocess.Popen(["sleep", "30"], close_fds=False, stdout=subprocess.DEVNULL, start_new_session=True)
        if os.fork() == 0:
            os.setsid()
            time.sleep(30)
            os._exit(0)
    if cfg.trainer.seed in (8, 9):
        print("staying", flush=True)
        time.sleep(30)
    if cfg.trainer.seed == 10:
        with interrupts.deferred():
            print("training", flush=True)
            end = time.monotonic() + 30
            while time.monotonic() < end and not (interrupts.asked and cfg.trainer.kl_coef):
                time.sleep(0.05)
        if interrupts.asked:
            raise Interrupt(interrupts.asked, "stopped after a step")


if __name__ == "__main__":
    main()
"""
SECONDS = 5.0


@dataclass
class Ended:
    code: int
    out: str
    error: str
    seconds: float  # of CPU: those of a clock depend on what else the machine does
    modules: set[str]


class Shop:
    """A folder to run commands in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "sitecustomize.py").write_text(RECORDER)
        (folder / "program.py").write_text(PROGRAM)
        (folder / "alone.py").write_text(ALONE)
        self.write("model/config.json", "{}")

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *arguments: str, program: str = "src.train", **environment: str) -> Ended:
        record = self.folder / "modules.txt"
        record.unlink(missing_ok=True)
        before = _cpu_seconds()
        process = self.start(*arguments, program=program, **environment)
        out, error = process.communicate(timeout=60)
        seconds = _cpu_seconds() - before
        return Ended(process.returncode, out, error, seconds, set(record.read_text().split("\n")))

    def start(self, *arguments: str, program: str = "src.train", **environment: str) -> subprocess.Popen[str]:
        paths = f"{self.folder}{os.pathsep}{ROOT}"
        record = str(self.folder / "modules.txt")
        return subprocess.Popen(
            [sys.executable, "-m", program, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": paths, "MODULES": record, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _cpu_seconds() -> float:
    """CPU seconds of the processes that have been waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def one_message(ended: Ended, seconds: float = SECONDS) -> str:
    """Return the only line that a refused command prints, after checking how it ended."""
    assert (ended.code, ended.out) == (2, ""), ended.error
    assert ended.error.count("\n") == 1
    assert not {"torch", "trl", "transformers"} & ended.modules
    assert "hydra" in ended.modules, "the recorder works"
    assert ended.seconds < seconds
    return ended.error
