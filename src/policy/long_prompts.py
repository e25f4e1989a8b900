"""Drops, truncates or refuses problems whose prompts are longer than ``rollout.max_prompt_tokens``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from src.config import Config
from src.config.schema import ConfigError
from src.policy.prompt_encoder import PromptEncoder
from src.problems import Data, Problem
from src.problems.training import digest
from src.run.console import console
from src.run.processes import Ranks

_DONE = {"drop": "dropped", "truncate_left": "only their last tokens are kept"}


@dataclass(frozen=True)
class TooLong:
    """Problems whose prompts have more than ``limit`` tokens: prompt tokens by id; ``of`` is the total."""

    tokens: dict[str, int]
    of: int
    limit: int

    def json(self, choice: str) -> dict[str, Any]:
        """Return the entry for ``data.json`` and ``summary.json``, longest prompts first.

        ``choice``: ``drop`` or ``truncate_left``, what was done with them.
        """
        longest = sorted(self.tokens.items(), key=lambda item: -item[1])
        return {
            "count": len(longest),
            "of": self.of,
            "max_prompt_tokens": self.limit,
            "choice": choice,
            "problems": [{"id": name, "tokens": tokens} for name, tokens in longest],
        }

    def __str__(self) -> str:
        name, most = max(self.tokens.items(), key=lambda item: item[1])
        return (
            f"the prompts of {len(self.tokens)} of {self.of} problems have more than "
            f"rollout.max_prompt_tokens={self.limit} tokens; the longest, {name!r}, has {most}"
        )


def measure(problems: Sequence[Problem], modes: Sequence[str], prompts: PromptEncoder, limit: int) -> TooLong:
    """Return the problems whose prompt exceeds ``limit`` tokens in at least one of ``modes``."""
    lengths = list(prompts.lengths(problems, modes)) if modes else []
    pairs = zip(problems, lengths, strict=bool(modes))
    found = {problem.id: length for problem, length in pairs if length > limit}
    return TooLong(found, len(problems), limit)


def fitting(problems: Sequence[Problem], found: TooLong, choice: str) -> list[Problem]:
    """Return the problems in their order, those that are too long dropped or marked to be truncated."""
    if choice == "truncate_left":
        return [
            replace(problem, max_prompt_tokens=found.limit) if problem.id in found.tokens else problem
            for problem in problems
        ]
    return [problem for problem in problems if problem.id not in found.tokens]


def fit_data(data: Data, cfg: Config, prompts: PromptEncoder, ranks: Ranks) -> Data:
    """Return the data with every prompt within the limit, the same in all processes.

    Raises:
        ConfigError: there are such problems and ``long_prompts`` is "refuse", or too few problems remain.
    """
    sets = {"train": (data.train, [cfg.rollout.mode]), "heldout": (data.heldout, cfg.evaluate.modes)}
    # the first process decides, since a step must have the same problems in all processes
    limit = cfg.rollout.max_prompt_tokens
    found = ranks.broadcast(
        {name: measure(*part, prompts, limit) for name, part in sets.items()} if ranks.first else {}
    )
    choices = {"train": cfg.data.long_prompts, "heldout": cfg.data.heldout.long_prompts}
    train, heldout = (fitting(sets[name][0], found[name], choice) for name, choice in choices.items())
    needed = cfg.trainer.batch_size // cfg.trainer.samples_per_prompt
    _refuse(
        *_faults("data.long_prompts", cfg.data.long_prompts, found["train"], len(train), needed),
        *_faults("data.heldout.long_prompts", cfg.data.heldout.long_prompts, found["heldout"], len(heldout)),
    )
    report = {name: dict(part) for name, part in data.report.items()}
    for name, kept, purpose in (("train", train, "to train on"), ("heldout", heldout, "held out")):
        report[name]["long_prompts"] = found[name].json(choices[name])
        if found[name].tokens:
            report[name] |= {"used": len(kept), "digest": digest(kept)}
            _say(f"{len(kept)} problems {purpose}: {found[name]}; {_DONE[choices[name]]}, see data.json")
    return replace(data, train=train, heldout=heldout, report=report)


def fit_benchmark(
    problems: Sequence[Problem],
    choice: str,
    modes: Sequence[str],
    prompts: PromptEncoder,
    limit: int,
    setting: str = "benchmark.long_prompts",
) -> tuple[list[Problem], TooLong]:
    """Return the problems of a benchmark with every prompt within the limit, and those that were longer.

    Args:
        problems: of the benchmark.
        choice: the value of ``setting``: drop, truncate_left or refuse.
        modes: in which they are asked.
        prompts: encodes them.
        limit: ``rollout.max_prompt_tokens``.
        setting: named in messages.

    Raises:
        ConfigError: there are such problems and ``choice`` is "refuse", or none remains.
    """
    found = measure(problems, modes, prompts, limit)
    kept = fitting(problems, found, choice)
    _refuse(*_faults(setting, choice, found, len(kept)))
    if found.tokens:
        _say(f"{len(kept)} problems are evaluated: {found}; {_DONE[choice]}, see summary.json")
    return kept, found


def _faults(setting: str, choice: str, found: TooLong, remaining: int, needed: int = 1) -> list[str]:
    """Return an error if the problems that are too long must not or cannot be dropped."""
    if not found.tokens:
        return []
    most = max(found.tokens.values())
    if choice == "refuse":
        return [
            f"{setting}=refuse: {found}; set rollout.max_prompt_tokens={most}, or {setting}=drop, or "
            f"{setting}=truncate_left to keep the last tokens"
        ]
    if remaining >= needed:
        return []
    few = f"{remaining} problems remain, fewer than the {needed} of one rollout step"
    count = few if needed > 1 else "no problem remains"
    smaller = ", or a smaller trainer.batch_size" if remaining and needed > 1 else ""
    return [f"{setting}=drop: {found}; {count}; set rollout.max_prompt_tokens={most}{smaller}"]


def _refuse(*faults: str) -> None:
    if faults:
        raise ConfigError(*faults)


def _say(line: str) -> None:
    console.print(line, style="bold yellow", markup=False, highlight=False)
