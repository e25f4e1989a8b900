"""Random streams: true to the distribution, one per trajectory, continued wherever sampling goes on."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from src.config import RolloutConfig
from src.rollout.engines import Finish, Generation, Request
from src.rollout.engines.vllm import Progress
from src.rollout.streams import StreamSampler, derive_seed, stream_processors, uniforms
from src.rollout.trajectory import Task
from tests.fakes import BPE, FakeSandbox, problem, rollout_scheduler

LOGITS = torch.tensor([0.0, 2.0, -1.0, float("-inf"), 1.0, -3.0])


def sampled(seeds: list[int], **options: float) -> list[int]:
    settings = {"temperature": 1.0, "top_p": 1.0} | options
    processors = stream_processors(seeds, [0] * len(seeds), 1, device=torch.device("cpu"), **settings)
    scores = LOGITS.repeat(len(seeds), 1)
    chosen: list[int] = processors(torch.zeros(len(seeds), 1), scores).argmax(-1).tolist()
    return chosen


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.3, 0.8)])
def test_rows_follow_the_distribution(temperature: float, top_p: float) -> None:
    """20,000 streams; the expected shares are computed here, nucleus and all."""
    share = (LOGITS / temperature).softmax(-1).double().numpy()
    order = np.argsort(-share)
    before = np.cumsum(share[order]) - share[order]
    share[order[before >= top_p]] = 0.0
    share /= share.sum()
    counts = Counter(
        sampled([derive_seed("row", i) for i in range(20_000)], temperature=temperature, top_p=top_p)
    )
    possible = np.flatnonzero(share)
    assert set(counts) <= set(possible.tolist())
    assert chisquare([counts[i] for i in possible.tolist()], 20_000 * share[possible]).pvalue > 0.01


def test_the_ends_of_the_interval_are_possible_tokens() -> None:
    """0 takes the first token that is possible, the largest number below 1 the last."""
    numbers = torch.tensor([[0.0], [np.nextafter(1.0, 0.0)]], dtype=torch.float64)
    logits = torch.tensor([float("-inf"), 1.0, 0.0, -20.0, float("-inf")])
    chosen = StreamSampler(numbers)(torch.zeros(2, 1), logits.repeat(2, 1)).argmax(-1)
    assert chosen.tolist() == [1, 3]


def test_a_stream_is_uniform_and_may_be_entered_anywhere() -> None:
    whole = uniforms(7, 0, 5000)
    assert kstest(whole, "uniform").pvalue > 0.01
    assert np.array_equal(uniforms(7, 1234, 100), whole[1234:1334])
    assert not np.array_equal(uniforms(8, 0, 5000), whole)


def test_seeds_tell_their_parts_apart_and_fit_an_engine() -> None:
    parts = [(a, b, c) for a in range(10) for b in ("free", "code", "p1", "p11") for c in range(10)]
    seeds = {derive_seed(*one) for one in parts}
    assert len(seeds) == len(parts)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(1, 12) != derive_seed(11, 2)
    assert derive_seed("1") != derive_seed(1)


class Asked:
    """Ends every request at once, or after its program; remembers what was asked."""

    streaming, background = False, False

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._waiting: list[Request] = []

    @property
    def pending(self) -> int:
        return len(self._waiting)

    def start(self, notify: object) -> None: ...

    def stop(self) -> None: ...

    def submit(self, request: Request) -> None:
        self.requests.append(request)
        self._waiting.append(request)

    def poll(self, until: float | None = None) -> list[Generation]:
        waiting, self._waiting = self._waiting, []
        turn = len(self.requests)
        text = "```python\nprint(1)\n```" if turn <= 2 * len(waiting) else "done<|end|>"
        ids = BPE.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [Generation(request.id, list(ids), None, Finish.STOP) for request in waiting]


def test_each_turn_of_a_trajectory_goes_on_with_other_numbers() -> None:
    def seeds(seed: int | None) -> list[int | None]:
        engine = Asked()
        task = Task(problem(), "free", 0, [1, 2], 4, seed)
        rollout_scheduler(engine, FakeSandbox(), BPE, RolloutConfig()).run([task])  # type: ignore[arg-type]
        assert len(engine.requests) == 3
        return [request.seed for request in engine.requests]

    first, again, other = seeds(5), seeds(5), seeds(6)
    assert first == again
    assert len({*first, *other}) == 6
    assert seeds(None) == [None] * 3


def test_each_piece_of_a_request_goes_on_with_other_numbers() -> None:
    """vLLM stops where a segment may end; the next piece is a request of its own there."""
    progress = Progress(Request(0, [1], 50, None, 9))
    seeds = []
    for _ in range(3):
        seeds.append(progress.seed)
        progress.take([4, 5], [0.0, 0.0], frozenset())
    assert len(set(seeds)) == 3
    assert Progress(Request(0, [1], 50, None, 9)).seed == seeds[0]
    assert Progress(Request(0, [1], 50)).seed is None
