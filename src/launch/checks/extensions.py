"""Checks that the modules of all extensions that a configuration names exist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from src import config as c
from src.config.dotted import fault, is_dotted
from src.config.schema import show
from src.launch.checks.prompting import AUTO

# Terms of src/rewards/terms.py, and their sum.
_TERMS = ("correctness", "executability", "answered", "tool_cost", "overlong", "total")


def faults(cfg: c.Config | c.EvaluationConfig, at: str) -> list[str]:
    """Return the faults of the tools, format, reward terms and other extensions that ``cfg`` names."""
    found = [message for name, value in _named(cfg, at) if (message := fault(name, value))]
    found += [
        f"{at}reward.terms.{name}: this is the name of a built-in term; choose another name"
        for name in cfg.reward.terms
        if name in _TERMS
    ]
    modes = cfg.evaluate.modes if isinstance(cfg, c.EvaluationConfig) else [cfg.rollout.mode]
    if cfg.rollout.tools and modes != ["text"] and not any(cfg.tools.values()):
        found.append(
            f"{at}tools={show(cfg.tools)}: there is no tool to call; choose one, such as tools=python, or "
            "rollout=text"
        )
    return found


def _named(cfg: c.Config | c.EvaluationConfig, at: str) -> Iterator[tuple[str, Any]]:
    for key, tool in cfg.tools.items():
        if tool is not None:
            yield f"{at}tools.{key}._target_", _target(tool)
    if _target(cfg.format) != AUTO:
        yield f"{at}format._target_", _target(cfg.format)
    for key, term in cfg.reward.terms.items():
        yield f"{at}reward.terms.{key}._target_", _target(term)
    if isinstance(cfg, c.Config):
        own = {
            "curriculum.kind": cfg.curriculum.kind,
            "trainer.advantage": cfg.trainer.advantage,
            **{f"alarm.rules[{index}].metric": rule.metric for index, rule in enumerate(cfg.alarm.rules)},
        }
        yield from ((f"{at}{name}", value) for name, value in own.items() if is_dotted(value))


def _target(node: Any) -> Any:
    return node.get("_target_") if isinstance(node, dict) else None
