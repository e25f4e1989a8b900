"""Dynamic sampling (DAPO, arXiv 2503.14476, section 3.2): groups that teach nothing make room for others.

A group whose rewards are all equal has no advantages. For each, another problem is tried, for a bounded
number of rounds; what is left then stays, so that a batch is never empty. Every process takes part in every
round, with nothing to ask if need be: engines and gradients wait for all.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from src.problems import Problem
from src.rollout.collector import Collected
from src.run.processes import Ranks

Asked = Sequence[tuple[Problem, int]]  # problems with sample indices


def teaches(rewards: Sequence[float | None]) -> bool:
    """Whether a group's rewards differ; None (lost to the infrastructure) does not count."""
    return len({reward for reward in rewards if reward is not None}) > 1


def resample_uniform_groups(
    collected: Collected,
    collect: Callable[[Asked], Collected],
    problems: Sequence[Problem],
    samples: int,
    rounds: int,
    draw: str,
    ranks: Ranks,
) -> tuple[Collected, dict[str, float]]:
    """Replace groups that teach nothing by groups of problems that this step has not asked yet.

    Args:
        collected: whole groups, one after another.
        collect: makes further ones.
        problems: to draw from.
        samples: trajectories of a group.
        rounds: most calls of ``collect``.
        draw: seed; a step that is done again draws the same.
        ranks: those who do the same.

    Returns:
        The batch, and its metrics under ``dynamic_sampling/``: the fraction of groups that taught nothing at
        first (``frac_reward_zero_std``), the fraction that was replaced (``frac_replaced``), and ``rounds``.
    """
    trajectories, records = list(collected.trajectories), list(collected.records)
    starts = range(0, len(records), samples)

    def idle() -> list[int]:
        rewards = Collected(trajectories, records).rewards
        return [start for start in starts if not teaches(rewards[start : start + samples])]

    first = idle()
    asked = {record.problem_id for record in records}
    done = 0
    while done < rounds and ranks.any(bool(waiting := idle())):
        asked = set().union(*ranks.gather(asked))
        rest = [problem for problem in problems if problem.id not in asked]
        random.Random(f"{draw}-{done}").shuffle(rest)
        fresh = ranks.shard(rest)[: len(waiting)]
        asked |= {problem.id for problem in fresh}
        more = collect([(problem, sample) for problem in fresh for sample in range(samples)])
        found = [
            start
            for start in range(0, len(more.records), samples)
            if teaches(more.rewards[start : start + samples])
        ]
        for old, new in zip(waiting, found, strict=False):
            trajectories[old : old + samples] = more.trajectories[new : new + samples]
            records[old : old + samples] = more.records[new : new + samples]
        done += 1
    counts = ranks.gather((len(first), len(first) - len(idle()), len(starts)))
    equal, replaced, groups = (sum(column) for column in zip(*counts, strict=True))
    metrics = {
        "frac_reward_zero_std": equal / groups,
        "frac_replaced": replaced / groups,
        "rounds": float(done),
    }
    return Collected(trajectories, records), {
        f"dynamic_sampling/{name}": value for name, value in metrics.items()
    }
