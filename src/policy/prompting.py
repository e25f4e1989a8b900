"""How a policy is prompted, settled before it is loaded: style and format of its prompts, and their lengths.

Only its tokenizer and its config.json are needed for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from transformers.utils import cached_file

from src.config import Config, EvaluationConfig, ModelConfig
from src.config.schema import ConfigError
from src.formats.base import Format
from src.launch.checks import prompting
from src.launch.checks.model_files import NOTES, Notes, has_mini_tokens, read_notes
from src.launch.checks.policy import base_of
from src.policy.codec import TokenCodec
from src.policy.loading import load_codec
from src.policy.positions import refuse_too_long
from src.policy.prompts import prompt_ids, prompt_lengths
from src.problems import Data, Problem
from src.problems.training import digest
from src.run.console import console
from src.run.processes import Ranks

C = TypeVar("C", Config, EvaluationConfig)


def settle(cfg: C) -> tuple[C, TokenCodec]:
    """Return ``cfg`` with what its model leaves open as it is known of the policy, and the policy's codec.

    Raises:
        ConfigError: the policy was trained to be asked otherwise, or has too few positions.
    """
    resume = cfg.trainer.resume if isinstance(cfg, Config) else None
    codec = load_codec(cfg.model)
    known = _notes(cfg.model, resume)
    tokenizer = codec.tokenizer
    mini = tokenizer.chat_template is None and has_mini_tokens(
        tokenizer.pad_token, tokenizer.eos_token, tokenizer.pad_token_id, tokenizer.eos_token_id
    )
    asking = prompting.known_asking(known, resume, mini=mini, template=tokenizer.chat_template is not None)
    faults = prompting.faults(cfg.model, asking, "model.") + prompting.format_faults(cfg, known, "")
    if faults:
        raise ConfigError(*faults)
    model = prompting.extended(replace(cfg.model, prompt_style=prompting.style(cfg.model, asking)), known)
    refuse_too_long(model, cfg.rollout)
    return replace(cfg, model=model, format=prompting.format_of(cfg.format, known)), codec


def _notes(cfg: ModelConfig, resume: str | None) -> Notes:
    """Return what is known of the policy; of one of the hub its notes are downloaded, if it has any."""
    known = prompting.notes(cfg, resume)
    if resume is not None or known.prompt_style is not None:
        return known
    base = base_of(cfg.path)
    path, revision = (cfg.path, cfg.revision) if base is None else (base.path, base.revision)
    file = cached_file(
        path,
        NOTES,
        revision=revision,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return known if file is None else prompting.completed(known, read_notes(path, Path(file)))


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


def measure(
    problems: Sequence[Problem],
    modes: Sequence[str],
    cfg: Config | EvaluationConfig,
    tokenizer: Any,
    form: Format,
) -> LeftOut:
    """Measure the prompts of ``problems`` in all ``modes``; what is too long in one of them is left out."""
    limit = cfg.rollout.max_prompt_tokens
    lengths = list(prompt_lengths(tokenizer, problems, modes, cfg.model.prompt_style, form)) if modes else []
    found = {one.id: length for one, length in zip(problems, lengths, strict=bool(modes)) if length > limit}
    return LeftOut(found, len(problems), limit)


def fitting(problems: Sequence[Problem], found: LeftOut) -> list[Problem]:
    """Return those that are not left out, in their order."""
    return [problem for problem in problems if problem.id not in found.tokens]


def fit_data(data: Data, cfg: Config, tokenizer: Any, form: Format, ranks: Ranks) -> Data:
    """Return the problems of a run whose prompts fit, the same in all processes; says what is left out.

    Raises:
        ConfigError: a setting ``long_prompts`` refuses them, or what is left is too little.
    """
    asked = {"train": (data.train, [cfg.rollout.mode]), "heldout": (data.heldout, cfg.evaluate.modes)}
    # the first process says what the others leave out: a step must mean the same problems to all
    found = ranks.broadcast(
        {name: measure(*one, cfg, tokenizer, form) for name, one in asked.items()} if ranks.first else {}
    )
    train, heldout = fitting(data.train, found["train"]), fitting(data.heldout, found["heldout"])
    prompts = cfg.trainer.batch_size // cfg.trainer.samples_per_prompt
    _refuse(
        *_faults("data.long_prompts", cfg.data.long_prompts, found["train"], len(train), prompts),
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
    problems: Sequence[Problem], cfg: EvaluationConfig, tokenizer: Any, form: Format
) -> tuple[list[Problem], LeftOut]:
    """Return the problems of a benchmark whose prompts fit in every mode, and what is left out.

    Raises:
        ConfigError: ``benchmark.long_prompts`` refuses them, or none is left.
    """
    found = measure(problems, cfg.evaluate.modes, cfg, tokenizer, form)
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


def first_prompt(
    codec: TokenCodec, problem: Problem, modes: Sequence[str], cfg: ModelConfig, form: Format
) -> dict[str, Any] | None:
    """Print a problem's prompt in the first mode as the policy reads it, control tokens too; return it."""
    if not modes:
        return None
    mode = modes[0]
    (ids,) = prompt_ids(codec.tokenizer, [problem], mode, cfg.prompt_style, form)
    text = b"".join(map(codec.bytes_of, ids)).decode("utf-8", errors="replace")
    console.print(
        f"first prompt (model.prompt_style={cfg.prompt_style}, mode {mode}, {len(ids)} tokens):",
        highlight=False,
    )
    console.print(text, style="dim", markup=False, highlight=False)
    return {
        "prompt_style": cfg.prompt_style,
        "mode": mode,
        "problem_id": problem.id,
        "tokens": len(ids),
        "text": text,
    }
