"""Sampling through ``generate``: the same tokens as one sequence at a time, limits, watches, leftovers."""

from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig

from src.rollout.engines import Finish, Generation, Request
from src.rollout.engines.transformers import TransformersEngine
from tests import tiny
from tests.fakes import BPE

MODEL = tiny.model()
PROMPTS = [BPE.encode(text) for text in ("a", "Problem: 12", "x" * 40, "```python\n", "1 + 1")]


def engine(**options: float) -> TransformersEngine:
    settings = {"temperature": 0.0, "top_p": 1.0, "batch_size": 8, "min_active_fraction": 0.0} | options
    return TransformersEngine(MODEL, BPE, **settings)  # type: ignore[arg-type]


def drain(engine: TransformersEngine) -> dict[int, Generation]:
    found: dict[int, Generation] = {}
    while engine.pending:
        found |= {generation.id: generation for generation in engine.poll()}
    return found


@torch.no_grad()
def alone(prompt: list[int], length: int) -> list[int]:
    """Greedy continuation without cache, padding or batch."""
    ids = list(prompt)
    for _ in range(length):
        ids.append(int(MODEL(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in BPE.eos_ids:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("min_active_fraction", [0.0, 0.5])
@pytest.mark.parametrize("batch_size", [8, 2])
def test_greedy_tokens_are_those_of_each_sequence_alone(min_active_fraction: float, batch_size: int) -> None:
    sampler = engine(min_active_fraction=min_active_fraction, batch_size=batch_size)
    limits = [3, 12, 7, 12, 1]
    for index, (prompt, limit) in enumerate(zip(PROMPTS, limits, strict=True)):
        sampler.submit(Request(index, prompt, limit))
    found = drain(sampler)
    for index, (prompt, limit) in enumerate(zip(PROMPTS, limits, strict=True)):
        assert found[index].token_ids == alone(prompt, limit)
        assert found[index].logprobs is None


def test_the_models_own_settings_do_not_change_what_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of instruct models penalise repetitions, which the loss knows nothing of."""
    own = GenerationConfig(repetition_penalty=5.0, min_p=0.9, no_repeat_ngram_size=1)
    monkeypatch.setattr(MODEL, "generation_config", own)
    sampler = engine()
    sampler.submit(Request(0, PROMPTS[0], 12))
    expected = alone(PROMPTS[0], 12)
    assert len(set(expected)) < len(expected), "there is something to penalise"
    assert drain(sampler)[0].token_ids == expected
    assert MODEL.generation_config is own


@pytest.mark.parametrize("min_active_fraction", [0.0, 0.5])
def test_a_watch_sees_every_token_once_and_stops_its_row_alone(min_active_fraction: float) -> None:
    seen: list[int] = []

    def watch(token: int) -> bool:
        seen.append(token)
        return len(seen) == 5

    sampler = engine(min_active_fraction=min_active_fraction)
    sampler.submit(Request(0, PROMPTS[0], 9, watch))
    sampler.submit(Request(1, PROMPTS[1], 9))
    found = drain(sampler)
    assert found[0].token_ids == seen == alone(PROMPTS[0], 5)
    assert found[0].finish is Finish.STOP
    assert (len(found[1].token_ids), found[1].finish) == (9, Finish.LENGTH)


def test_the_end_of_text_is_sampled_and_ends_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    first = alone(PROMPTS[0], 1)[0]
    monkeypatch.setattr(BPE, "eos_ids", frozenset({first}))
    sampler = engine()
    sampler.submit(Request(0, PROMPTS[0], 9))
    assert drain(sampler)[0] == Generation(0, [first], None, Finish.STOP)


def test_sampling_follows_the_seed_and_training_mode_is_restored() -> None:
    MODEL.train()
    texts = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        sampler = engine(temperature=1.0)
        sampler.submit(Request(0, PROMPTS[0], 9))
        texts.append(drain(sampler)[0].token_ids)
    assert texts[0] == texts[1] != texts[2]
    assert MODEL.training


def test_samples_do_not_depend_on_the_order_in_which_requests_arrive() -> None:
    """Programs end in any order; a resumed run must repeat what the killed one did."""
    prompts = [BPE.encode(text) for text in ("aa", "bb", "cc", "dd")]
    found = []
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        torch.manual_seed(3)
        sampler = engine(temperature=1.0, batch_size=3, min_active_fraction=0.4)
        for index in order:
            sampler.submit(Request(index, prompts[index], 9))
        found.append(drain(sampler))
    assert found[0] == found[1]


def test_a_seeded_request_draws_the_same_whatever_is_beside_it() -> None:
    """Batch, order, leftovers, torch's own seed and the other requests change nothing."""

    def drawn(order: list[int], seed: int, **options: float) -> dict[int, list[int]]:
        torch.manual_seed(seed)
        sampler = engine(temperature=1.0, **options)
        for index in order:
            sampler.submit(Request(index, PROMPTS[index], 12, None, 100 + index))
        return {index: generation.token_ids for index, generation in drain(sampler).items()}

    whole = drawn([0, 1, 2, 3, 4], 0)
    assert len({tuple(ids) for ids in whole.values()}) == 5
    assert drawn([3, 1, 4, 0, 2], 1, batch_size=2) == whole
    assert drawn([0, 1, 2, 3, 4], 2, min_active_fraction=0.6) == whole
    for index in range(5):
        assert drawn([index], 3) == {index: whole[index]}


def test_a_seed_is_for_all_requests_or_for_none() -> None:
    sampler = engine(temperature=1.0)
    sampler.submit(Request(0, PROMPTS[0], 5, None, 1))
    sampler.submit(Request(1, PROMPTS[1], 5))
    with pytest.raises(ValueError, match="with and without a seed"):
        sampler.poll()


def test_seeded_sampling_leaves_torchs_random_state_alone() -> None:
    state = torch.get_rng_state()
    sampler = engine(temperature=0.9, top_p=0.9)
    sampler.submit(Request(0, PROMPTS[0], 9, None, 1))
    drain(sampler)
    assert torch.equal(torch.get_rng_state(), state)


def test_stop_forgets() -> None:
    sampler = engine()
    sampler.submit(Request(0, PROMPTS[0], 9))
    sampler.stop()
    assert sampler.pending == 0
