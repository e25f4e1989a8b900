"""What the warm start teaches: masks, formats, and no held-out problem."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch

from src.config import DataConfig, WarmStartConfig
from src.formats.base import RawCall
from src.problems import load_problems
from src.problems.mini.solutions import TextSegment
from src.problems.prompt_text import MODES
from src.rollout.boundary import Boundary
from src.rollout.observation import message, observation
from src.sandbox import ExecutionResult, Status
from src.warm_start.corpus import CHUNK, batches, encode, rendered, solutions
from tests.fakes import BPE, a_format

FENCE = a_format()
FENCE, TOKENIZER = a_format(), BPE.tokenizer
CFG = WarmStartConfig(batch_size=4)


@pytest.mark.parametrize(
    ("said", "result"),
    [
        ("42", ExecutionResult(Status.OK, "42\n", None, 0.0)),
        ("NameError: x", ExecutionResult(Status.ERROR, "", "NameError: x", 0.0)),
    ],
)
def test_what_the_interpreter_said_is_put_as_a_rollout_puts_it(said: str, result: ExecutionResult) -> None:
    policy, sandbox = rendered([TextSegment("policy", "x"), TextSegment("tool", said)], FENCE)
    assert policy.text == "x"
    boundary = Boundary(1, b"", RawCall("python", ""), after_newline=False)
    expected = observation(message(result, 400, FENCE), boundary, FENCE)
    assert sandbox.text == "".join(piece.text for piece in expected)


def test_only_what_the_policy_wrote_and_the_end_count() -> None:
    """prompt 0 0 ... | policy 1 1 ... | sandbox 0 0 ... | policy 1 1 ... end 1."""
    parts = ["Problem: ?\n\n", "```python\nprint(1)\n```", "\n```output\n1\n```\n", "It is 1."]
    authors = ["prompt", "policy", "tool", "policy"]
    segments = [TextSegment(author, text) for author, text in zip(authors[1:], parts[1:], strict=True)]
    example = encode(parts[0], segments, TOKENIZER)
    expected_ids, expected_mask = [], []
    for author, text in zip(authors, parts, strict=True):
        ids = TOKENIZER.encode(text, add_special_tokens=False)
        expected_ids += ids
        expected_mask += [int(author == "policy")] * len(ids)
    assert example.ids == [*expected_ids, TOKENIZER.eos_token_id]
    assert example.mask == [*expected_mask, 1]
    learnt = encode(parts[0], segments, TOKENIZER, feedback=True)
    prompt = len(TOKENIZER.encode(parts[0]))
    assert (learnt.ids, learnt.mask) == (example.ids, [0] * prompt + [1] * (len(example.ids) - prompt))


def test_feedback_is_learnt_in_a_share_of_the_solutions_with_code() -> None:
    texts = [
        (TOKENIZER.decode(row[row != TOKENIZER.pad_token_id]), TOKENIZER.decode(label[label != -100]))
        for batch in islice(batches(replace(CFG, feedback_loss_fraction=0.4), FENCE, TOKENIZER), 3 * CHUNK)
        for row, label in zip(batch.ids, batch.labels, strict=True)
    ]
    learnt = ["```output" in label for text, label in texts if "```output" in text]
    assert sum(learnt) / len(learnt) == pytest.approx(0.4, abs=0.1)


def test_batches_label_policy_tokens_only() -> None:
    counts = []
    for batch in islice(batches(replace(CFG, feedback_loss_fraction=0.0), FENCE, TOKENIZER), CHUNK):
        ids, attention, labels = batch.ids, batch.attention, batch.labels
        assert ids.shape == attention.shape == labels.shape
        assert len(ids) == CFG.batch_size
        counted = labels != -100
        counts.append(int(counted.sum()))
        usual_tokens = batch.usual_tokens
        assert torch.equal(labels[counted], ids[counted])
        assert bool((attention[counted] == 1).all())
        for row, label in zip(ids, labels, strict=True):
            end = (row == TOKENIZER.eos_token_id).nonzero()[0].item()  # fakes.BPE pads with its end token
            assert label[end] == TOKENIZER.eos_token_id
            assert bool((label[end + 1 :] == -100).all())
            text = TOKENIZER.decode(row[label != -100])
            assert "Problem:" not in text
            assert "```output" not in text
    assert sum(counts) / CHUNK == pytest.approx(usual_tokens)


def test_the_stream_depends_on_purpose_and_seed_only() -> None:
    first = list(islice(solutions(CFG, FENCE, "train"), 20))
    assert first == list(islice(solutions(WarmStartConfig(steps=7), FENCE, "train"), 20))
    assert first != list(islice(solutions(CFG, FENCE, "tokenizer"), 20))
    assert first != list(islice(solutions(WarmStartConfig(seed=1), FENCE, "train"), 20))


def test_no_heldout_problem_is_taught() -> None:
    heldout = {problem.text for problem in load_problems(DataConfig(), "heldout")}
    taught = {prompt for prompt, _ in islice(solutions(CFG, FENCE, "train"), 3000)}
    assert not {f"Problem: {text}\nMode: {mode}\n\n" for text in heldout for mode in MODES} & taught


def test_modes_are_mixed_as_set() -> None:
    cfg = WarmStartConfig(text_prompt_fraction=0.25, code_prompt_fraction=0.25)
    prompts = [prompt for prompt, _ in islice(solutions(cfg, FENCE, "train"), 1200)]
    shares = [
        sum(f"Mode: {mode}\n" in prompt for prompt in prompts) / 1200 for mode in ("free", "text", "code")
    ]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.05)
