"""Dynamic sampling (DAPO, arXiv 2503.14476, section 3.2): replaces groups without a learning signal.

A group whose rewards are all equal has zero advantages. Each such group is replaced by one of another
problem, for a bounded number of rounds; the groups that remain are kept, so that a batch is never empty.
Every process takes part in every round, if need be without problems, since engines and gradients wait for
all processes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from src.problems import Problem
from src.rollout.collector import Collected
from src.run.processes import Ranks

Samples = Sequence[tuple[Problem, int]]  # problems with sample indices


def teaches(rewards: Sequence[float | None]) -> bool:
    """Whether a group's rewards differ; None (an infrastructure failure) does not count."""
    return len({reward for reward in rewards if reward is not None}) > 1


def resample_uniform_groups(
    collected: Collected,
    collect: Callable[[Samples], Collected],
    problems: Sequence[Problem],
    samples: int,
    rounds: int,
    draw: str,
    ranks: Ranks,
) -> tuple[Collected, dict[str, float]]:
    """Replace groups with equal rewards by groups of problems that this step has not used yet.

    Args:
        collected: complete, contiguous groups.
        collect: samples further groups.
        problems: the training problems to draw from.
        samples: trajectories per group.
        rounds: most calls of ``collect``.
        draw: seed of the draw; a repeated step draws the same problems.
        ranks: the processes of the run; collective.

    Returns:
        The batch, and its metrics under ``dynamic_sampling/``: the fraction of groups with equal rewards
        at first (``frac_reward_zero_std``), the fraction replaced (``frac_replaced``), and ``rounds``.
    """
    trajectories, records = list(collected.trajectories), list(collected.records)
    starts = range(0, len(records), samples)

    def idle() -> list[int]:
        rewards = Collected(trajectories, records).rewards
        return [start for start in starts if not teaches(rewards[start : start + samples])]

    first = idle()
    used = {record.problem_id for record in records}
    done = 0
    while done < rounds and ranks.any(bool(waiting := idle())):
        used = set().union(*ranks.gather(used))
        rest = [problem for problem in problems if problem.id not in used]
        random.Random(f"{draw}-{done}").shuffle(rest)
        fresh = ranks.shard(rest)[: len(waiting)]
        used |= {problem.id for problem in fresh}
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
