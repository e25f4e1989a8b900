"""The tokenizer of the mini policy, and the shipped base policy."""

from __future__ import annotations

import json
from functools import cache
from itertools import islice
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from src.config import WarmStartConfig
from src.policy.codec import TokenCodec
from src.run import renamed
from src.warm_start.corpus import solutions
from src.warm_start.policy import END, PAD, build_model, build_tokenizer
from tests.fakes import a_format

FENCE = "```"
BASE = Path(__file__).resolve().parents[2] / "experiments" / "mini_base"
SMALL = WarmStartConfig(
    tokenizer_samples=300, hidden_size=32, layers=2, heads=2, head_dim=16, intermediate_size=64
)


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer(SMALL, a_format())


def shipped_config() -> WarmStartConfig:
    settings = json.loads((BASE / "summary.json").read_text())["settings"]
    return WarmStartConfig(
        **{name: settings[name] for name in WarmStartConfig.__dataclass_fields__ if name in settings}
    )


def test_a_fence_is_one_token_and_part_of_no_other() -> None:
    pieces = [token for token in tokenizer().get_vocab() if FENCE in token]
    assert pieces == [FENCE]
    assert len(tokenizer().encode(FENCE)) == 1
    for text in ("x\n```\n", "````", "```python\nprint(1)\n```", "``` ```"):
        assert tokenizer().convert_ids_to_tokens(tokenizer().encode(text)).count(FENCE) == text.count(FENCE)


def test_digits_stand_alone() -> None:
    assert not [
        token for token in tokenizer().get_vocab() if len(token) > 1 and any(c.isdigit() for c in token)
    ]
    assert len(tokenizer().encode("2048")) == 4


def test_signs_stand_alone() -> None:
    """A sign that is copied is the same token in the problem, in code and in output."""
    (sign,) = tokenizer().encode(" - ")
    for text in ("2x - 3", "x^{2} - 5x", "2*x - y", "} - \\sqrt{5}"):
        assert sign in tokenizer().encode(text)
    (minus,) = tokenizer().encode("-")
    for text in ("(-3", "x = -12", ", -7", "\\boxed{-4}"):
        assert minus in tokenizer().encode(text)


def test_no_token_spans_two_lines() -> None:
    """Else the line that a fence must begin could start inside a token."""
    for token in tokenizer().get_vocab():
        assert "\u010a" not in token.rstrip("\u010a"), token


@given(st.text())
def test_any_text_survives(text: str) -> None:
    assert tokenizer().decode(tokenizer().encode(text)) == text


def test_the_size_is_as_set_and_the_special_tokens_are_there() -> None:
    assert len(tokenizer()) == SMALL.vocab_size
    assert tokenizer().pad_token == PAD
    assert tokenizer().eos_token == END
    assert tokenizer().encode(f"{END}") == [tokenizer().eos_token_id]


def test_the_architecture_is_as_set() -> None:
    model = build_model(SMALL, tokenizer())
    assert model.config.model_type == "qwen3"
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert model.config.eos_token_id == tokenizer().eos_token_id


def test_the_shipped_base_policy_is_whole_and_small() -> None:
    weights = BASE / "model.safetensors"
    assert weights.stat().st_size <= 4_000_000
    model = AutoModelForCausalLM.from_pretrained(BASE)
    codec = TokenCodec(AutoTokenizer.from_pretrained(BASE))
    assert model.config.model_type == "qwen3"
    assert model.config.vocab_size == len(codec.tokenizer)
    assert model.generation_config.eos_token_id == codec.tokenizer.eos_token_id
    assert 500_000 < sum(parameter.numel() for parameter in model.parameters()) < 2_000_000


def test_the_shipped_tokenizer_comes_from_the_family_as_it_is() -> None:
    """If templates change, the base policy has to be made again."""
    shipped = AutoTokenizer.from_pretrained(BASE)
    assert build_tokenizer(shipped_config(), a_format()).get_vocab() == shipped.get_vocab()


def test_solutions_fit_the_main_jobs_token_limit() -> None:
    shipped = AutoTokenizer.from_pretrained(BASE)
    lengths = [
        sum(len(shipped.encode(segment.text)) for segment in segments)
        for _, segments in islice(solutions(shipped_config(), a_format(), "train"), 500)
    ]
    assert max(lengths) < 256
    assert sum(lengths) / len(lengths) < 90


def test_the_shipped_base_is_a_beginner() -> None:
    """The measured table: free 35-55 %, code 60-85 %, text at most 25 % but half of Geometry."""
    base = json.loads((BASE / "summary.json").read_text())["base"]
    assert base["free"]["n"] >= 400
    assert 0.35 <= base["free"]["accuracy"] <= 0.55
    assert 0.60 <= base["code"]["accuracy"] <= 0.85
    assert base["text"]["accuracy"] <= 0.25
    assert base["text"]["by_subject"]["Geometry"]["accuracy"] >= 0.5
    for mode in ("free", "code"):
        metrics = renamed.metrics(base[mode]["metrics"])
        assert 0.15 <= metrics["execution_failure_rate"] <= 0.30
        assert 0.10 <= metrics["accuracy_after_failure"] <= 0.70
