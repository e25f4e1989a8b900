"""Checks of how trajectories are sampled, which training and evaluation say in two places, and rewarded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from src import config as c
from src.config.schema import show

# What an evaluation says elsewhere, and where.
_INSTEAD = {
    "rollout.temperature": "give evaluate.temperature",
    "rollout.top_p": "give evaluate.top_p",
    "rollout.mode": "give evaluate.modes, such as evaluate.modes=[text]",
    "rollout.tools": "give evaluate.modes; in the mode text tools are off",
}


def reward(cfg: c.RewardConfig, at: str) -> list[str]:
    """Return the faults of reward terms."""
    if cfg.correct > cfg.wrong:
        return []
    return [
        f"{at}correct={cfg.correct:g}: a right answer must be worth more than a wrong one, and {at}wrong is "
        f"{cfg.wrong:g}; give more"
    ]


def overlong(cfg: c.Config | c.EvaluationConfig, at: str) -> list[str]:
    """Return why the penalty on overlong trajectories cannot be meant."""
    tokens, limit = cfg.reward.overlong_tokens, cfg.rollout.max_tokens
    if not cfg.reward.overlong or tokens is None or tokens < limit:
        return []
    return [
        f"{at}reward.overlong_tokens={tokens}: with {at}rollout.max_tokens={limit} every trajectory would be "
        f"punished for its length; give fewer, or null for a fifth of {at}rollout.max_tokens"
    ]


def training(cfg: c.Config, at: str) -> list[str]:
    """Return why trajectories that are sampled so cannot be trained on."""
    if cfg.rollout.top_p == 1:
        return []
    return [
        f"{at}rollout.top_p={cfg.rollout.top_p:g}: TRL's importance ratio is of the whole distribution, and "
        f"biased for samples of a part of it; train with {at}rollout.top_p=1 (evaluate.top_p may be less)"
    ]


def evaluation(cfg: c.EvaluationConfig, at: str) -> list[str]:
    """Return what is set for rollouts that an evaluation would not heed."""
    default, given = asdict(c.RolloutConfig()), asdict(cfg.rollout)
    faults = []
    for name in _INSTEAD:
        key = name.partition(".")[2]
        if given[key] != default[key]:
            faults.append(_unheeded(name, given[key], at))
    return faults


def overridden(schema: type, names: Iterable[str]) -> list[str]:
    """Return which of the values that a command line gives, be they the defaults, would not be heeded.

    Args:
        schema: of the program's configuration.
        names: dotted names of what is given.
    """
    if schema is not c.EvaluationConfig:
        return []
    return [_unheeded(name, None, "") for name in dict.fromkeys(names) if name in _INSTEAD]


def _unheeded(name: str, value: object, at: str) -> str:
    shown = f"{at}{name}" + ("" if value is None else f"={show(value)}")
    return f"{shown}: is of training, an evaluation does not heed it; {_INSTEAD[name]}"
