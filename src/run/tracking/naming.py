"""What a run is called in W&B: by the overrides of its command, not by its folder's number in a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.types import RunMode

from src.config.command_line import parsed
from src.config.schema import show

_UNNAMED = (
    "hydra",
    "tracking",
    "hardware",
    "estimate",
    "trainer.resume",
    "trainer.resume_force",
    "evaluate.resume",
)
_LONGEST = 120  # characters of a name; W&B takes 128


def overrides() -> list[str]:
    """Return the overrides of the command, in a sweep of the job; none outside a program of Hydra."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def merged(earlier: Sequence[str], given: Sequence[str]) -> list[str]:
    """Return the overrides of a resumed run, each key once: the command may be the same one again."""
    found = {one.key_or_group: one.input_line or "" for one in parsed([*earlier, *given])}
    return list(found.values())


def sweep_name() -> str | None:
    """Return the name of the sweep's folder; None if this is no job of a sweep."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(str(HydraConfig.get().sweep.dir)).name


def arm_name(given: Sequence[str]) -> str:
    """Return the name without seeds, which the runs of an arm share; ``defaults`` if that is nothing."""
    kept = [
        one.input_line or ""
        for one in parsed(given)
        if one.key_or_group.rpartition(".")[2] != "seed" or one.is_delete()
    ]
    return run_name(kept) or "defaults"


def run_name(given: Sequence[str]) -> str | None:
    """Return a name such as ``mini seed=1``; None if the overrides name nothing.

    Keys are shortened to their last part where that is not ambiguous, and paths to their last part. Overrides
    that change no result of the run are left out. Of a name that is too long, the end is kept, since a sweep
    appends what it varies.
    """
    named = [one for one in parsed(given) if not _is_unnamed(one.key_or_group)]
    last = Counter(one.key_or_group.rpartition(".")[2] for one in named)
    words = [_word(one, last) for one in named]
    name = " ".join(words)
    return (name if len(name) <= _LONGEST else f"...{name[3 - _LONGEST :]}") or None


def _is_unnamed(key: str) -> bool:
    return any(key == one or key.startswith((f"{one}.", f"{one}/")) for one in _UNNAMED)


def _word(one: Override, last: Counter[str]) -> str:
    key = one.key_or_group
    if one.is_delete():
        return f"~{key}"
    value = one.value()
    if key == "experiment":
        return "+".join(map(str, value)) if isinstance(value, list) else str(value)
    short = key.rpartition(".")[2]
    text = PurePath(value).name if isinstance(value, str) and "/" in value else show(value)
    return f"{short if last[short] == 1 else key}={text}"
