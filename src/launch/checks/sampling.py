"""Checks of sampling settings, which training and evaluation have in different groups, and of rewards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from src import config as c
from src.config.schema import show

# Settings that evaluations do not use -> what to give instead.
_INSTEAD = {
    "rollout.temperature": "give evaluate.temperature",
    "rollout.top_p": "give evaluate.top_p",
    "rollout.mode": "give evaluate.modes, such as evaluate.modes=[text]",
    "rollout.tools": "give evaluate.modes; in the mode text tools are off",
}


def repeats(k: int, temperature: float, at: str) -> list[str]:
    """Return the fault of several trajectories of a problem that would all be the same."""
    if k == 1 or temperature > 0:
        return []
    return [
        f"{at}k={k}: with {at}temperature=0 all trajectories of a problem are the same; set {at}k=1, or a "
        "temperature above 0"
    ]


def reward(cfg: c.RewardConfig, at: str) -> list[str]:
    """Return the faults of reward terms."""
    if cfg.correct > cfg.wrong:
        return []
    return [
        f"{at}correct={cfg.correct:g}: a correct answer must be worth more than a wrong one, and {at}wrong "
        f"is {cfg.wrong:g}; give more"
    ]


def overlong(cfg: c.Config | c.EvaluationConfig, at: str) -> list[str]:
    """Return why the penalty on overlong trajectories is wrong."""
    tokens, limit = cfg.reward.overlong_tokens, cfg.rollout.max_tokens
    if not cfg.reward.overlong or tokens is None or tokens < limit:
        return []
    return [
        f"{at}reward.overlong_tokens={tokens}: with {at}rollout.max_tokens={limit} every trajectory would be "
        f"penalised for its length; give fewer, or null for a fifth of {at}rollout.max_tokens"
    ]


def training(cfg: c.Config, at: str) -> list[str]:
    """Return why trajectories sampled with ``cfg`` cannot be trained on."""
    if cfg.rollout.top_p == 1:
        return []
    return [
        f"{at}rollout.top_p={cfg.rollout.top_p:g}: TRL computes importance ratios from the full "
        f"distribution, which is biased for truncated samples; train with {at}rollout.top_p=1 "
        f"(evaluate.top_p may be less)"
    ]


def evaluation(cfg: c.EvaluationConfig, at: str) -> list[str]:
    """Return the rollout settings that an evaluation would ignore."""
    default, given = asdict(c.RolloutConfig()), asdict(cfg.rollout)
    faults = []
    for name in _INSTEAD:
        key = name.partition(".")[2]
        if given[key] != default[key]:
            faults.append(_ignored(name, given[key], at))
    return faults


def overridden(schema: type, names: Iterable[str]) -> list[str]:
    """Return which settings on the command line, even with default values, would be ignored.

    Args:
        schema: of the program's configuration.
        names: dotted names of the given settings.
    """
    if schema is not c.EvaluationConfig:
        return []
    return [_ignored(name, None, "") for name in dict.fromkeys(names) if name in _INSTEAD]


def _ignored(name: str, value: object, at: str) -> str:
    shown = f"{at}{name}" + ("" if value is None else f"={show(value)}")
    return f"{shown}: only for training, ignored by an evaluation; {_INSTEAD[name]}"
