"""The folder of a reproduction: its lock, finished commands, and durations."""

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
from experiments.reproduce.plan import EVALUATE, MERGE, REPORT, TRAIN, Command
from src.config import Config, EvaluationConfig
from src.config.schema import ConfigError, build, show
from src.launch.resumption import SANDBOX_MAY_CHANGE, read_config
from src.run import checkpoints, provenance
from src.run.disk import write_json
from src.run.records import CONFIG, SUMMARY

LOCK, DURATIONS, BASE, INPUTS, LOG = "lock", "durations.json", "base.json", "inputs.json", "log.txt"
_WAIT = 10.0  # seconds in which the commands of a killed runner end
# Settings that do not change results.
_MAY_CHANGE = (
    *SANDBOX_MAY_CHANGE,
    *("sandbox.backend", "hardware.", "tracking.", "reward.grade_", "rollout.max_concurrent"),
    *("trainer.resume", "trainer.rank_timeout", "trainer.keep_checkpoints", "evaluate.resume"),
)

# Settings that an evaluation takes from its policy where they are null.
_TAKEN = (
    *("model.prompt_template", "model.examples", "model.examples_seed"),
    *("model.max_positions", "model.rope"),
)


class Folder:
    """A reproduction's folder, locked by this process; a context manager.

    The commands hold the lock, too: until the last command of a killed runner has ended, no other runner
    starts. Runners of different shards share the folder; one of everything has it alone.

    Args:
        path: created if necessary.
        shard: I/N: which part of the commands this process runs; None: all.

    Raises:
        ConfigError: another process uses it.
    """

    def __init__(self, path: Path, shard: str | None = None) -> None:
        self.path, self._shard = path, shard
        path.mkdir(parents=True, exist_ok=True)
        self._locks = [(path / LOCK).open("a")]
        kinds = [fcntl.LOCK_EX]
        if shard is not None:
            self._locks.append((path / self._own(LOCK)).open("a"))
            kinds = [fcntl.LOCK_SH, fcntl.LOCK_EX]
        deadline = time.monotonic() + _WAIT
        while True:
            try:
                for file, kind in zip(self._locks, kinds, strict=True):
                    fcntl.flock(file, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    self.__exit__()
                    raise ConfigError(
                        f"folder={path}: another process is using it; wait for it, end it, or choose "
                        "another folder"
                    ) from None
                time.sleep(0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._locks:
            file.close()

    @property
    def locks(self) -> list[int]:
        """The file descriptors that commands inherit."""
        return [file.fileno() for file in self._locks]

    @property
    def durations(self) -> Path:
        """The file of this process's durations."""
        return self.path / self._own(DURATIONS)

    def _own(self, name: str) -> str:
        """Return the name of a file that each shard has for itself."""
        if self._shard is None:
            return name
        stem, dot, ending = name.partition(".")
        return f"{stem}-{self._shard.replace('/', '-of-')}{dot}{ending}"

    def of(self, command: Command) -> Path:
        """Return the folder of a command; the report has none of its own."""
        return self.path if command.kind == REPORT else self.path / command.name

    def finished(self, command: Command) -> bool:
        """Whether a command need not be run; analyses and the report are always run again."""
        return command.kind in (TRAIN, EVALUATE, MERGE) and (self.of(command) / SUMMARY).is_file()

    def resumption(self, command: Command) -> list[str]:
        """Return the overrides with which a stopped command resumes."""
        folder = self.of(command)
        begun = command.kind == TRAIN and checkpoints.complete(folder / "checkpoints")
        return [f"trainer.resume={text(str(folder))}"] if begun else []

    def check(
        self,
        commands: Mapping[str, Command],
        base: str | None,
        inputs: Mapping[str, str | None] | None = None,
    ) -> None:
        """Raise ConfigError if existing results were made with other settings.

        Args:
            commands: the planned ones.
            base: the base policy; None: there is none.
            inputs: other inputs by the setting that gives them: a folder, a file, a hub id or None.
        """
        faults = [] if base is None else self._base(base)
        faults += self._inputs(inputs or {})
        for command in commands.values():
            file = self.of(command) / CONFIG
            if command.config is None or not file.is_file():
                continue
            faults += _differences(command.config, file)
            faults += [
                f"{file.parent}: its input {self.of(commands[name])} no longer exists; remove it, too"
                for name in command.needs
                if not self.finished(commands[name])
            ]
        if faults:
            raise ConfigError(*faults)

    def _base(self, base: str) -> list[str]:
        """Record the content of the base policy, or return how it has changed."""
        now = {"path": base, "sha256": digest(Path(base).expanduser())}
        file = self.path / BASE
        if not file.is_file():
            write_json(file, now)
            return []
        earlier = json.loads(file.read_text())
        if earlier == now:
            return []
        change = "its files have changed" if earlier["path"] == base else f"it is now {base}"
        return [
            f"suite.base={base}: {self.path} was started with {earlier['path']}, and {change}; restore it, "
            "or choose another folder"
        ]

    def _inputs(self, inputs: Mapping[str, str | None]) -> list[str]:
        """Record the content of the inputs, or return how they differ from those of earlier processes."""
        if not inputs:
            return []
        now = {name: {"path": path, "sha256": digest(Path(path or "").expanduser()) if path else None}
               for name, path in inputs.items()}  # fmt: skip
        stem, _, ending = INPUTS.partition(".")
        faults, own = [], self.path / self._own(INPUTS)
        for file in sorted(self.path.glob(f"{stem}*.{ending}")):
            for name, earlier in json.loads(file.read_text()).items():
                if now.get(name, earlier) != earlier:
                    same = earlier["path"] == now[name]["path"]
                    change = "its files have changed" if same else f"it is now {now[name]['path']}"
                    faults.append(
                        f"{name}={now[name]['path']}: {self.path} was started with {earlier['path']}, and "
                        f"{change}; restore it, or choose another folder"
                    )
        if not faults:
            known = json.loads(own.read_text()) if own.is_file() else {}
            write_json(own, known | now)
        return list(dict.fromkeys(faults))


def _differences(planned: Config | EvaluationConfig, file: Path) -> list[str]:
    """Return the settings of existing results, in ``config.json``, that differ from the planned ones."""
    remedy = f"use that, remove {file.parent}, or choose another folder"
    try:
        # settings newer than the file have their defaults
        recorded = asdict(build(type(planned), read_config(file)))
    except ValueError as error:
        return [f"{file}: cannot be compared with the planned settings ({error}); {remedy}"]
    return [
        f"{name}={show(new)}: {file.parent} was made with {show(old)}; {remedy}"
        for name, (old, new) in provenance.changes(recorded, asdict(planned)).items()
        if not name.startswith(_MAY_CHANGE)
        and new != "auto"  # resolved by the run
        and not (new is None and name in _TAKEN)
        and not (name.startswith("format.") and planned.format["_target_"] == "auto")
    ]


def _sha256(file: Path) -> bytes:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def digest(folder: Path) -> str | None:
    """Return a digest of a policy's files, or of a file; None for a hub id."""
    if folder.is_file():
        return _sha256(folder).hex()
    if not folder.is_dir():
        return None
    found = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".bin")):
        if path.name != SUMMARY:
            found.update(path.name.encode() + b"\0" + _sha256(path))
    return found.hexdigest()


class Durations:
    """Seconds and starts of every command, and seconds of the runner, over all attempts.

    Written continuously, so that killed attempts count.
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
        return {name: float(known["seconds"]) for name, known in self._known["commands"].items()}

    @property
    def attempts(self) -> int:
        """Number of starts of the runner, this one included."""
        return int(self._known["attempts"])

    def started(self, name: str) -> None:
        """Count a start."""
        known = self._known["commands"].setdefault(name, {"seconds": 0.0, "starts": 0})
        known["starts"] += 1

    def add(self, name: str, seconds: float) -> None:
        """Add to the duration of a command."""
        self._known["commands"][name]["seconds"] += seconds

    def write(self, *, now: bool = False) -> None:
        """Write the file, unless it was written recently."""
        if now or time.monotonic() - self._written > self._EVERY:
            self._written = time.monotonic()
            write_json(self._path, self._known | {"runner": self.runner})
