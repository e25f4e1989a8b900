"""The folder of a reproduction: whose it is, what in it is finished, and how long everything took."""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from experiments.reproduce.names import text
from experiments.reproduce.plan import EVALUATE, REPORT, TRAIN, Command
from src.config import Config, EvaluationConfig
from src.config.schema import ConfigError, build, show
from src.launch.resumption import SANDBOX_MAY_CHANGE, read_config
from src.run import checkpoints, provenance
from src.run.records import CONFIG, SUMMARY, write_json

LOCK, DURATIONS, BASE, LOG = "lock", "durations.json", "base.json", "log.txt"
_WAIT = 10.0  # seconds in which what a killed runner had started has ended
# What does not change a result, or only whether it is made anew.
_MAY_CHANGE = (
    *SANDBOX_MAY_CHANGE,
    *("sandbox.backend", "hardware.", "tracking.", "reward.grade_", "rollout.max_concurrent"),
    *("trainer.resume", "trainer.rank_timeout", "trainer.keep_checkpoints", "evaluate.resume"),
)


class Folder:
    """A reproduction's folder, of this process alone; a context manager.

    The lock is held by the commands, too: until the last of a killed runner has ended, no other begins.

    Args:
        path: made if there is none.

    Raises:
        ConfigError: another process works in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._lock = (path / LOCK).open("a")
        deadline = time.monotonic() + _WAIT
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    self._lock.close()
                    raise ConfigError(
                        f"folder={path}: another process reproduces there; wait for it, end it, or choose "
                        "another folder"
                    ) from None
                time.sleep(0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    @property
    def lock(self) -> int:
        """The file descriptor that commands inherit."""
        return self._lock.fileno()

    def of(self, command: Command) -> Path:
        """Where a command works; the report beside everything else."""
        return self.path if command.kind == REPORT else self.path / command.name

    def finished(self, command: Command) -> bool:
        """Whether a command need not be run; analyses and the report are always made again."""
        return command.kind in (TRAIN, EVALUATE) and (self.of(command) / SUMMARY).is_file()

    def resumption(self, command: Command) -> list[str]:
        """Return the overrides with which a command goes on where it was stopped."""
        folder = self.of(command)
        begun = command.kind == TRAIN and checkpoints.complete(folder / "checkpoints")
        return [f"trainer.resume={text(str(folder))}"] if begun else []

    def check(self, commands: Mapping[str, Command], base: str) -> None:
        """Raises ConfigError if something here was made otherwise than is asked for now."""
        faults = self._base(base)
        for command in commands.values():
            file = self.of(command) / CONFIG
            if command.config is None or not file.is_file():
                continue
            faults += _differences(command.config, file)
            faults += [
                f"{file.parent}: was made of what {self.of(commands[name])} no longer holds; remove it, too"
                for name in command.needs
                if not self.finished(commands[name])
            ]
        if faults:
            raise ConfigError(*faults)

    def _base(self, base: str) -> list[str]:
        """Note the content of the base policy, or return how it has changed."""
        now = {"path": base, "sha256": digest(Path(base).expanduser())}
        file = self.path / BASE
        if not file.is_file():
            write_json(file, now)
            return []
        earlier = json.loads(file.read_text())
        if earlier == now:
            return []
        what = "its files are others now" if earlier["path"] == base else f"it is {base} now"
        return [
            f"suite.base={base}: {self.path} was begun with {earlier['path']}, and {what}; put that back, or "
            "choose another folder"
        ]


def _differences(asked: Config | EvaluationConfig, file: Path) -> list[str]:
    """Return how what was made, as the ``config.json`` beside it says, differs from what is asked for."""
    remedy = f"ask for that, remove {file.parent}, or choose another folder"
    try:
        # what the project has got since counts as its default
        recorded = asdict(build(type(asked), read_config(file)))
    except ValueError as error:
        return [f"{file}: cannot be compared with what is asked for now ({error}); {remedy}"]
    return [
        f"{name}={show(new)}: {file.parent} was made with {show(old)}; {remedy}"
        for name, (old, new) in provenance.changes(recorded, asdict(asked)).items()
        if not name.startswith(_MAY_CHANGE)
        and new != "auto"  # a run settles it
        and not (name.startswith("format.") and asked.format["_target_"] == "auto")
    ]


def digest(folder: Path) -> str | None:
    """Return a digest of a policy's files; None for one of the hub."""
    if not folder.is_dir():
        return None
    found = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".bin")):
        if path.name != SUMMARY:
            found.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


class Durations:
    """Seconds and starts of every command, and seconds of the runner, over all attempts.

    Written as they pass, so that a killed attempt counts.
    """

    _EVERY = 1.0  # seconds

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = {"runner": 0.0, "attempts": 0, "commands": {}}
        if path.is_file():
            self._known = json.loads(path.read_text())
        self.earlier = float(self._known["runner"])
        self._known["attempts"] += 1
        self._began = self._written = time.monotonic()

    @property
    def runner(self) -> float:
        """Seconds of this and all earlier attempts."""
        return self.earlier + time.monotonic() - self._began

    @property
    def commands(self) -> dict[str, float]:
        """Seconds by command."""
        return {name: float(one["seconds"]) for name, one in self._known["commands"].items()}

    @property
    def attempts(self) -> int:
        """How often the runner was started, this time included."""
        return int(self._known["attempts"])

    def started(self, name: str) -> None:
        """Count a start."""
        one = self._known["commands"].setdefault(name, {"seconds": 0.0, "starts": 0})
        one["starts"] += 1

    def add(self, name: str, seconds: float) -> None:
        """Add to what a command has taken."""
        self._known["commands"][name]["seconds"] += seconds

    def write(self, *, now: bool = False) -> None:
        """Write, if the last time is long ago."""
        if now or time.monotonic() - self._written > self._EVERY:
            self._written = time.monotonic()
            write_json(self._path, self._known | {"runner": self.runner})
