"""The real model in vLLM says what it says in transformers, with the same logprobs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from src.config.paths import ROOT
from src.policy.loading import load_codec, load_model
from tests.rollout.answers import TIE
from tests.smollm2.model import QUESTIONS, model_config

pytestmark = pytest.mark.vllm

CLOSE = 1e-3  # largest difference of a logprob in float32
Sampled = list[list[tuple[list[int], list[float]]]]


def sampled(dtype: str) -> Sampled:
    command = [sys.executable, "-m", "tests.smollm2.vllm_job", dtype]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert ended.returncode == 0, ended.stderr
    found: Sampled = json.loads(ended.stdout.splitlines()[-1])
    return found


@torch.no_grad()
def differences(
    model: PreTrainedModel, found: Sampled, greedy: Callable[[torch.Tensor, list[int]], None] | None = None
) -> torch.Tensor:
    """Return the differences of the logprobs of all sampled tokens from those of ``model`` for them."""
    tokenizer = load_codec(model_config()).tokenizer
    parts = []
    for temperature, generations in enumerate(found):
        for text, (token_ids, logprobs) in zip(QUESTIONS * 4, generations, strict=True):
            chat = [{"role": "user", "content": text}]
            prompt = list(tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False))
            logits = model(torch.tensor([prompt + token_ids])).logits[0, len(prompt) - 1 : -1].float()
            if temperature == 0 and greedy is not None:
                greedy(logits, token_ids)
            theirs = logits.log_softmax(-1).gather(1, torch.tensor(token_ids)[:, None])[:, 0]
            parts.append(theirs - torch.tensor(logprobs))
    return torch.cat(parts)


def is_greedy(logits: torch.Tensor, token_ids: list[int]) -> None:
    """Check that each token is the most likely one, or as likely."""
    chosen = logits.gather(1, torch.tensor(token_ids)[:, None])[:, 0]
    assert float((logits.max(-1).values - chosen).max()) < TIE


def test_in_float32_engines_agree() -> None:
    found = differences(load_model(model_config()), sampled("float32"), is_greedy)
    print(f"float32: largest difference {found.abs().max():.2e}, mean {found.abs().mean():.2e}, {len(found)}")
    assert float(found.abs().max()) < CLOSE


def test_in_bfloat16_the_difference_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    """Sampled in bfloat16; logprobs of the trainer's weights in float32, and in bfloat16 as with autocast."""
    generations = sampled("bfloat16")
    exact = load_model(model_config())
    found = differences(exact, generations).abs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = differences(exact, generations).abs()
    with capsys.disabled():
        print(
            f"\nbfloat16 engine: mean difference of logprobs from float32 {found.mean():.4f} (largest "
            f"{found.max():.3f}), from autocast {rounded.mean():.4f} (largest {rounded.max():.3f}), "
            f"{len(found)} tokens"
        )
    assert float(found.mean()) < 0.1
    assert float(rounded.mean()) < 0.1
