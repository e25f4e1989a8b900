"""The real model: what it says, its tokenizer on real mathematics, and transformers as an engine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from src.config import EvaluationConfig
from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.formats import FenceFormat
from src.policy.codec import TokenCodec
from src.policy.loading import load_codec, load_model
from src.policy.prompt_encoder import PromptEncoder
from src.policy.settle import settle
from src.problems import Problem
from src.rollout.engines import Finish, Request
from src.rollout.engines.transformers import TransformersEngine
from src.tools import PythonTool
from tests.smollm2.model import QUESTIONS, model_config

pytestmark = pytest.mark.long

ANSWERS = (  # greedy, float32, at most 60 tokens
    "The capital of France is Paris.",
    "To add 7 and 5, you simply add them together: 7 + 5 = 12.",
    "```python\ndef sum_of_numbers_from_1_to_100():\n    return sum(range(1, 11))\n\n"
    "print(sum_of_numbers_from_1_to_100())\n```\n\nThis program uses the",
)
WHO = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
SYSTEM = f"<|im_start|>system\n{WHO}<|im_end|>\n"
BENCHMARKS = Path(os.environ.get("CIR_BENCHMARKS", ROOT.parent / "shared" / "data" / "benchmarks"))


@pytest.fixture(scope="module")
def codec() -> TokenCodec:
    return load_codec(model_config())


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return load_model(model_config())


def prompts(codec: TokenCodec) -> list[list[int]]:
    chats = [[{"role": "user", "content": text}] for text in QUESTIONS]
    return [
        list(codec.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False))
        for chat in chats
    ]


def test_what_it_says(model: PreTrainedModel, codec: TokenCodec) -> None:
    engine = TransformersEngine(model, codec, temperature=0.0, top_p=1.0, batch_size=8)
    engine.start(lambda: None)
    for number, ids in enumerate(prompts(codec)):
        engine.submit(Request(number, ids, 60))
    said = sorted(engine.poll(), key=lambda one: one.id)
    assert tuple(codec.text(one.token_ids) for one in said) == ANSWERS
    assert [one.finish for one in said] == [Finish.STOP, Finish.STOP, Finish.LENGTH]


def test_its_chat_template_adds_its_own_system_turn(codec: TokenCodec) -> None:
    (ids, *_) = prompts(codec)
    user = f"<|im_start|>user\n{QUESTIONS[0]}<|im_end|>\n<|im_start|>assistant\n"
    assert b"".join(map(codec.bytes_of, ids)).decode() == SYSTEM + user


def test_our_prompts_replace_that_turn(codec: TokenCodec) -> None:
    form = FenceFormat().prepare([PythonTool(None)], codec.tokenizer, "chat")
    (ids,) = PromptEncoder(codec.tokenizer, "chat", form).ids([Problem("1", "1+1?", "2", "", 1, "")], "free")
    text = b"".join(map(codec.bytes_of, ids)).decode()
    assert text.count("<|im_start|>system") == 1
    assert "SmolLM" not in text


def test_its_settings_are_settled(codec: TokenCodec) -> None:
    cfg, found = settle(EvaluationConfig(model=model_config("auto")))
    assert (cfg.model.prompt_style, cfg.model.dtype) == ("chat", "float32")
    assert found.eos_ids == {codec.tokenizer.convert_tokens_to_ids("<|im_end|>")}


def test_its_weights_are_whole_and_tied(model: PreTrainedModel, codec: TokenCodec) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert model.dtype == torch.float32
    assert len(codec) == model.config.vocab_size == 49_152
    assert model.generation_config.eos_token_id == codec.tokenizer.eos_token_id == 2


def test_mathematics_survives_its_tokenizer(codec: TokenCodec) -> None:
    """All of MATH-500 where that file is at hand (CIR_BENCHMARKS), else what its problems are made of."""
    file = BENCHMARKS / "MATH_OAI.jsonl"
    texts = [r"Let $f(x) = \frac{1}{x^2+1}$.\n\nFind $f(-12.5)$; 90\u00b0, \u2264 7\u2032", "\ta  =    1\r\n"]
    if file.is_file():
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        texts += [row[name] for row in rows for name in ("problem", "solution", "answer")]
        assert len(rows) == 500
    for text in texts:
        ids = codec.encode(text)
        assert codec.text(ids) == text
        assert ids == codec.tokenizer(text)["input_ids"]


def test_a_name_that_is_no_model_is_refused(tmp_path: Path) -> None:
    cfg = model_config()
    cfg.prompt_style = "mini"
    with pytest.raises(ConfigError, match="not of the mini family"):
        settle(EvaluationConfig(model=cfg))
