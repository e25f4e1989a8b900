"""Many prompts at once are what each is alone."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoTokenizer

from src.config.paths import ROOT
from src.policy import prompt_encoder
from src.policy.prompt_encoder import PromptEncoder
from src.problems.prompt_text import MODES, build_prompt
from tests import chat_model
from tests.fakes import a_format

FORM = a_format()


def alone(tokenizer: Any, style: str, mode: str) -> list[list[int]]:
    asked = [build_prompt(one, mode, style, FORM.instructions(mode)) for one in chat_model.PROBLEMS]
    if style in ("mini", "plain"):
        return [tokenizer(one)["input_ids"] for one in asked]
    return [
        tokenizer.apply_chat_template(one, add_generation_prompt=True, return_dict=False) for one in asked
    ]


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Any]:
    mini = AutoTokenizer.from_pretrained(ROOT / "experiments" / "mini_base")
    chat = chat_model.tokenizer()
    return {"mini": mini, "plain": chat, "chat": chat, "chat_without_thinking": chat}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("style", ["mini", "plain", "chat", "chat_without_thinking"])
def test_ids(tokenizers: dict[str, Any], style: str, mode: str) -> None:
    tokenizer = tokenizers[style]
    ids = PromptEncoder(tokenizer, style, FORM).ids(chat_model.PROBLEMS, mode)
    assert ids == alone(tokenizer, style, mode)
    assert len({len(one) for one in ids}) > 3, "nothing is padded"


def test_lengths_are_those_of_the_longest_mode_part_by_part(
    tokenizers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_encoder, "_AT_ONCE", 7)  # the last part is a shorter one
    of_modes = [alone(tokenizers["chat"], "chat", mode) for mode in MODES]
    expected = [max(map(len, ids)) for ids in zip(*of_modes, strict=True)]
    prompts = PromptEncoder(tokenizers["chat"], "chat", FORM)
    assert list(prompts.lengths(chat_model.PROBLEMS, MODES)) == expected
    assert expected != [len(ids) for ids in of_modes[0]]
