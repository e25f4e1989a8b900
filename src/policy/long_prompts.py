"""Problems whose prompts are longer than ``rollout.max_prompt_tokens``: counted, left out or refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from src.config import Config, EvaluationConfig
from src.config.schema import ConfigError
from src.policy.prompt_encoder import PromptEncoder
from src.problems import Data, Problem
from src.problems.training import digest
from src.run.console import console
from src.run.processes import Ranks


@dataclass(frozen=True)
class LeftOut:
    """Problems whose prompts have more than ``limit`` tokens: their tokens by id, among ``of``."""

    tokens: dict[str, int]
    of: int
    limit: int

    def json(self) -> dict[str, Any]:
        """Return it for ``data.json`` and ``summary.json``, the longest first."""
        longest = sorted(self.tokens.items(), key=lambda one: -one[1])
        return {
            "count": len(longest),
            "of": self.of,
            "max_prompt_tokens": self.limit,
            "problems": [{"id": name, "tokens": tokens} for name, tokens in longest],
        }

    def __str__(self) -> str:
        name, most = max(self.tokens.items(), key=lambda one: one[1])
        return (
            f"the prompts of {len(self.tokens)} of {self.of} problems have more than "
            f"rollout.max_prompt_tokens={self.limit} tokens; the longest, {name!r}, has {most}"
        )


def measure(problems: Sequence[Problem], modes: Sequence[str], prompts: PromptEncoder, limit: int) -> LeftOut:
    """Measure the prompts of ``problems`` in all ``modes``; what is too long in one of them is left out."""
    lengths = list(prompts.lengths(problems, modes)) if modes else []
    found = {one.id: length for one, length in zip(problems, lengths, strict=bool(modes)) if length > limit}
    return LeftOut(found, len(problems), limit)


def fitting(problems: Sequence[Problem], found: LeftOut) -> list[Problem]:
    """Return those that are not left out, in their order."""
    return [problem for problem in problems if problem.id not in found.tokens]


def fit_data(data: Data, cfg: Config, prompts: PromptEncoder, ranks: Ranks) -> Data:
    """Return the problems of a run whose prompts fit, the same in all processes; says what is left out.

    Raises:
        ConfigError: a setting ``long_prompts`` refuses them, or what is left is too little.
    """
    asked = {"train": (data.train, [cfg.rollout.mode]), "heldout": (data.heldout, cfg.evaluate.modes)}
    # the first process says what the others leave out: a step must mean the same problems to all
    limit = cfg.rollout.max_prompt_tokens
    found = ranks.broadcast(
        {name: measure(*one, prompts, limit) for name, one in asked.items()} if ranks.first else {}
    )
    train, heldout = fitting(data.train, found["train"]), fitting(data.heldout, found["heldout"])
    needed = cfg.trainer.batch_size // cfg.trainer.samples_per_prompt
    _refuse(
        *_faults("data.long_prompts", cfg.data.long_prompts, found["train"], len(train), needed),
        *_faults("data.heldout.long_prompts", cfg.data.heldout.long_prompts, found["heldout"], len(heldout)),
    )
    report = {name: dict(part) for name, part in data.report.items()}
    for name, kept, what in (("train", train, "to train on"), ("heldout", heldout, "held out")):
        report[name]["long_prompts"] = found[name].json()
        if found[name].tokens:
            report[name] |= {"used": len(kept), "digest": digest(kept)}
            _say(f"{len(kept)} problems {what}: {found[name]}; left out, see data.json")
    return replace(data, train=train, heldout=heldout, report=report)


def fit_benchmark(
    problems: Sequence[Problem], cfg: EvaluationConfig, prompts: PromptEncoder
) -> tuple[list[Problem], LeftOut]:
    """Return the problems of a benchmark whose prompts fit in every mode, and what is left out.

    Raises:
        ConfigError: ``benchmark.long_prompts`` refuses them, or none is left.
    """
    found = measure(problems, cfg.evaluate.modes, prompts, cfg.rollout.max_prompt_tokens)
    kept = fitting(problems, found)
    _refuse(*_faults("benchmark.long_prompts", cfg.benchmark.long_prompts, found, len(kept)))
    if found.tokens:
        _say(f"{len(kept)} problems are evaluated: {found}; left out, see summary.json")
    return kept, found


def _faults(setting: str, what: str, found: LeftOut, left: int, needed: int = 1) -> list[str]:
    """Return why a run cannot do without the problems that are too long, or may not."""
    if not found.tokens:
        return []
    most = max(found.tokens.values())
    if what == "refuse":
        return [
            f"{setting}=refuse: {found}; give rollout.max_prompt_tokens={most}, or leave them out by "
            f"{setting}=drop"
        ]
    if left >= needed:
        return []
    of = f"fewer than the {needed} of one rollout step" if needed > 1 else "none"
    smaller = ", or a smaller trainer.batch_size" if left and needed > 1 else ""
    return [f"{setting}=drop: {found}; {left} are left, {of}; give rollout.max_prompt_tokens={most}{smaller}"]


def _refuse(*faults: str) -> None:
    if faults:
        raise ConfigError(*faults)


def _say(line: str) -> None:
    console.print(line, style="bold yellow", markup=False, highlight=False)
