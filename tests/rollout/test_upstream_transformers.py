"""What we rely on in transformers' generation and caches: one fact a test; see tests/test_upstream.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    GenerationConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from tests import tiny
from tests.fakes import BPE
from tests.upstream import used_by

ENGINE, CACHE = "src/rollout/engines/transformers.py", "src/rollout/engines/cache.py"


@used_by(ENGINE)
def test_stopping_criteria_see_every_token_and_stop_rows() -> None:
    seen: list[torch.Tensor] = []

    class Stop(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
            seen.append(input_ids)
            return torch.tensor([input_ids.shape[1] >= 4, input_ids.shape[1] >= 6])

    ends = {"max_new_tokens": 50, "pad_token_id": 7, "eos_token_id": [8]}
    model = tiny.model()
    torch.manual_seed(1)
    ids = model.generate(
        input_ids=torch.tensor([[1, 2], [3, 4]]),
        attention_mask=torch.ones(2, 2, dtype=torch.long),
        generation_config=GenerationConfig(do_sample=True, top_k=0, **ends),
        stopping_criteria=StoppingCriteriaList([Stop()]),
    )
    assert [tuple(one.shape) for one in seen] == [(2, 3), (2, 4), (2, 5), (2, 6)]
    assert torch.equal(seen[-1], ids)
    assert ids[0, 4:].tolist() == [7, 7], "a row that has stopped gets padding"


@used_by(ENGINE)
def test_gaps_in_the_settings_are_filled_from_those_of_the_model() -> None:
    """So that a model's own repetition penalty, say, changes what is sampled unless it is named."""
    model = tiny.model()
    model.generation_config.update(repetition_penalty=1.5, top_k=3)
    config, _ = model._prepare_generation_config(GenerationConfig(do_sample=True, top_k=0))
    assert (config.repetition_penalty, config.top_k) == (1.5, 0)


@used_by(CACHE)
def test_a_cache_makes_layers_of_the_class_it_is_given() -> None:
    class Layer(DynamicLayer):
        pass

    cache = Cache(layer_class_to_replicate=Layer)
    keys = torch.ones(1, 1, 3, 4)
    cache.update(keys, keys, 1)
    assert [type(layer) for layer in cache.layers] == [Layer, Layer]
    assert (cache.layers[1].is_initialized, cache.layers[1].get_seq_length()) == (True, 3)
    assert (cache.layers[0].is_initialized, cache.layers[0].get_seq_length()) == (False, 0)


@used_by(CACHE)
def test_a_cache_made_for_a_model_shows_its_kinds_of_layers() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 16}
    windows = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    model = Qwen3ForCausalLM(Qwen3Config(vocab_size=len(BPE), intermediate_size=64, **sizes, **windows))
    assert [type(layer) for layer in DynamicCache(config=model.config).layers] == [
        DynamicLayer,
        DynamicSlidingWindowLayer,
    ]


@used_by("src/policy/loading.py")
def test_a_folder_without_generation_settings_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"generation_config\.json"):
        GenerationConfig.from_pretrained(str(tmp_path))
