"""Computes the reward of a finished trajectory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from src.config import RewardConfig
from src.config.dotted import load
from src.rewards.terms import OPTIONAL, TERMS, Outcome


@dataclass(frozen=True)
class Reward:
    """A trajectory's reward.

    ``correct`` is the result of grading, never inferred from the reward (docs/design.md, invariant
    Correctness).

    Attributes:
        correct: whether the answer is correct.
        terms: value of each reward term, weight included, by name.
        total: their sum, which is optimised.
    """

    correct: bool
    terms: Mapping[str, float]
    total: float


OwnTerms = Mapping[str, Callable[[Outcome], float]]


def own_terms(cfg: RewardConfig) -> OwnTerms:
    """Return the functions that ``cfg.terms`` names, with their arguments bound.

    Raises:
        ConfigError: a function does not exist.
    """
    found = {}
    for name, term in cfg.terms.items():
        arguments = {key: value for key, value in term.items() if key != "_target_"}
        function = load(f"reward.terms.{name}._target_", str(term.get("_target_")))
        found[name] = partial(function, **arguments)
    return MappingProxyType(found)


def compose(outcome: Outcome, cfg: RewardConfig, own: OwnTerms = MappingProxyType({})) -> Reward:
    """Return the reward of ``outcome``: the terms with a non-zero weight (src/rewards/terms.py) and their
    sum.

    Args:
        outcome: of a trajectory.
        cfg: weights.
        own: additional terms (:func:`own_terms`).
    """
    weightless = {name for name in OPTIONAL if getattr(cfg, name) == 0}
    terms = {name: term(outcome, cfg) for name, term in TERMS.items() if name not in weightless}
    terms |= {name: float(term(outcome)) for name, term in own.items()}
    return Reward(correct=outcome.correct, terms=terms, total=sum(terms.values()))
