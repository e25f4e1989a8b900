"""Entry points: Hydra composes the configuration, it is checked, then the program runs.

A configuration error ends the program with one message on stderr and exit code 2, before a run folder is
created and before torch is imported; with ``--multirun``, before the first job starts. An error inside the
program itself keeps its traceback.
"""

from __future__ import annotations

import functools
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import hydra
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from src.config import composition
from src.config.command_line import names
from src.config.paths import CONF
from src.config.schema import ConfigError, key_names, unknown_key, wrong_choice
from src.launch import resumption
from src.launch.checks import load
from src.launch.made_first import make_missing
from src.run import folder_lock
from src.run.allocator import keep_freed_memory
from src.run.interrupts import end, interrupts
from src.run.processes import rank, world_size

C = TypeVar("C")

EXIT_CODE = 2
# Raised by composition; Hydra raises ValueError for ``trainer=5`` and for conflicting flags.
_COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)


def entry(
    config_name: str, schema: type[C], *, parallel: bool = False, alone: bool = False
) -> Callable[[Callable[[C, Path], None]], Callable[[], None]]:
    """Make ``main(cfg, run_dir)`` a program configured by ``conf/<config_name>.yaml``.

    Args:
        config_name: the primary config.
        schema: dataclass of the whole configuration; ``cfg`` is an instance of it.
        parallel: whether several processes may form one run; only rank 0 creates a folder, and its
            ``run_dir`` is used.
        alone: whether the folder is locked by this process (by rank 0), see src/run/folder_lock.py; and
            whether SIGTERM, too, is handled by src/run/interrupts.py.

    The program exits with code 2 on an invalid configuration, also when ``main`` itself raises a
    :class:`~src.config.schema.ConfigError`; when interrupted, with one line and the exit code of
    src/run/interrupts.py.
    """

    def decorate(task: Callable[[C, Path], None]) -> Callable[[], None]:
        job_error: list[BaseException] = []

        @functools.wraps(task)
        def job(config: DictConfig) -> None:
            run_dir = Path(HydraConfig.get().runtime.output_dir)
            try:
                if alone and rank() == 0:
                    folder_lock.take(run_dir)
                settings, overrides = _settings(schema, config, HydraConfig.get())
                task(load(schema, settings, names(overrides)), run_dir)
            except ConfigError as error:
                _stop(error)
            except Exception as error:
                job_error.append(error)
                raise
            finally:
                folder_lock.release(run_dir)

        @functools.wraps(task)
        def main() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra prints the error and exits
            # Torch's idle threads spin for long on cores that sandbox workers and graders need: a factor of
            # ten on a busy machine. Without any spinning, an idle machine was a quarter slower.
            os.environ.setdefault("GOMP_SPINCOUNT", "30000")
            keep_freed_memory()
            CheckBeforeRun.schema, CheckBeforeRun.alone = schema, alone
            composition.register(config_name, schema)
            if alone:
                interrupts.install()
            if world_size() > 1:
                _join_others(config_name, parallel)
            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)()
            except KeyboardInterrupt as error:
                raise end(error) from None
            except _COMPOSITION_ERRORS as error:
                if any(error is raised for raised in job_error):
                    raise
                _stop(explain(error, sys.argv[1:], schema))

        return main

    return decorate


def _join_others(name: str, parallel: bool) -> None:
    """Join the other processes of a run; exit if the program or the command does not allow several."""
    if not parallel:
        _stop(
            ConfigError(
                f"WORLD_SIZE={world_size()}: src.{name} is a single process; start it without a launcher (to "
                "parallelise an evaluation, use evaluate.shard=I/N and python -m src.merge)"
            )
        )
    if {"-m", "--multirun"} & set(sys.argv[1:]):
        _stop(
            ConfigError(
                f"--multirun: this is one of {world_size()} processes of a run; sweep over single-process "
                "runs (hydra/launcher=slurm), or start the launcher once per run"
            )
        )
    if rank() > 0:
        sys.argv += ["hydra.run.dir=.", "hydra.output_subdir=null"]
        sys.argv += ["hydra/job_logging=none", "hydra/hydra_logging=none"]


class CheckBeforeRun(Callback):
    """Hydra callback (conf/hydra/callbacks/check.yaml): checks every job before any folder is created.

    A model that a job needs and can make is made before its check.
    """

    schema: type = object
    alone = False

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the only job and set its folder: a resumed run continues in its own."""
        own = self._check(config)
        resumed = None if OmegaConf.select(own, "estimate") else resumption.resumed(own)
        if resumed is not None:
            with read_write(config), open_dict(config):
                config.merge_with(own)  # recorded by Hydra in the folder
                if _is_default(config.hydra.run):
                    config.hydra.run.dir = str(resumed)
        if self.alone and rank() == 0:
            run_dir = Path(str(OmegaConf.select(config, "hydra.run.dir")))
            try:
                folder_lock.take(run_dir)
            except ConfigError as error:
                _stop(error)
            with read_write(config), open_dict(config):
                config.hydra.output_subdir = _unused(run_dir, config.hydra.output_subdir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check each job of a grid sweep; other sweepers choose values while they run."""
        if not str(config.hydra.sweeper._target_).endswith(BasicSweeper.__name__):
            return
        loader = GlobalHydra.instance().config_loader()
        overrides = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
        task: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
        overrides += task
        try:
            parsed = OverridesParser.create(config_loader=loader).parse_overrides(overrides)
            (jobs,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
        except _COMPOSITION_ERRORS as error:
            _stop(explain(error, overrides, self.schema))
        for number, job in enumerate(jobs):
            place = f"job #{number} ({' '.join(job)}): "
            try:
                composed = loader.load_sweep_config(config, job)
            except _COMPOSITION_ERRORS as error:
                _stop(explain(error, job, self.schema), place)
            self._check(composed, place)

    def _check(self, config: DictConfig, place: str = "") -> DictConfig:
        """Return the settings of the program; exit if they are invalid."""
        own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        try:
            own, overrides = _settings(self.schema, own, config.hydra)
            make_missing(own)
            # references to values of the running job are checked when it runs
            if "${hydra:" not in str(OmegaConf.to_container(own, resolve=False)):
                load(self.schema, own, names(overrides))
        except ConfigError as error:
            _stop(error, place)
        return own


def _settings(schema: type, config: DictConfig, hydra: DictConfig) -> tuple[DictConfig, list[str]]:
    """Return the settings of a program, possibly those of the run that it resumes, and the overrides."""
    overrides: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    return resumption.configuration(schema, config, overrides), overrides


def _is_default(run: DictConfig) -> bool:
    """Whether the run's folder is the default."""
    default = OmegaConf.load(CONF / "hydra" / "output" / "runs.yaml")
    given: Any = OmegaConf.to_container(run, resolve=False)
    return bool(given == OmegaConf.to_container(default, resolve=False)["run"])  # type: ignore[index, call-overload]


def _unused(run_dir: Path, name: str | None) -> str | None:
    """Return a folder for Hydra's files that no earlier process in this run folder has used."""
    if name is None:
        return None
    later = (f"{name}-{number}" for number in itertools.count(2))
    return next(path for path in itertools.chain([name], later) if not (run_dir / path).exists())


def composed(config_name: str, overrides: list[str], schema: type[C]) -> C:
    """Return the configuration of the program ``config_name`` with ``overrides``.

    Raises:
        ConfigError: the program would refuse it.
    """
    try:
        config = composition.compose(config_name, schema, overrides)
    except _COMPOSITION_ERRORS as error:
        raise explain(error, overrides, schema) from None
    return load(schema, config, names(overrides))


def explain(error: Exception, arguments: list[str], schema: type) -> ConfigError:
    """Return the configuration error for a composition that Hydra refused with ``error``.

    Args:
        error: raised by Hydra.
        arguments: the command line, in which the invalid override is searched, to suggest the intended key;
            without one, Hydra's message is kept.
        schema: the keys that exist.
    """
    if isinstance(error, OverrideParseException):
        return ConfigError(f"{error.override}: cannot be parsed as KEY=VALUE ({_words(error.message)})")
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return ConfigError(wrong_choice(group or "--config-name", option, error.options or _options(group)))
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return ConfigError(
            f"{os.path.relpath(mark.name)}, line {mark.line + 1}: not valid YAML: {error.problem}"
        )
    overrides = [text for text in arguments if "=" in text and not text.startswith("-")]
    for override in OverridesParser.create().parse_overrides(overrides):
        fault = _fault(override, schema)
        if fault:
            return ConfigError(fault)
    cause = _words(str(error.__cause__ or ""))
    return ConfigError(". ".join(filter(None, (_words(str(error)), cause))))


def _fault(override: Override, schema: type) -> str:
    """Return why ``override`` cannot be applied, or an empty string."""
    name = override.key_or_group
    if name.startswith(("hydra.", "hydra/")) or override.is_sweep_override():
        return ""
    value = override.value()
    if (CONF / name).is_dir():
        return "" if isinstance(value, str | list) else wrong_choice(name, value, _options(name))
    return "" if name in key_names(schema) else unknown_key(schema, name, value)


def _options(group: str) -> list[str]:
    """Return the options of a config group; without a group, the primary configs."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _words(text: str) -> str:
    """Return ``text`` on one line, without OmegaConf's notes on its internal nodes."""
    lines = [line.strip() for line in text.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type=")))


def _stop(error: ConfigError, place: str = "") -> NoReturn:
    """Print one message per machine and exit."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"{place}{error}", file=sys.stderr)
    raise SystemExit(EXIT_CODE) from None
