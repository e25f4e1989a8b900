"""What we rely on in vLLM beyond what it promises: one fact a test; see tests/test_upstream.py."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import torch

from src.config import Config, ModelConfig
from src.policy.loading import load_codec, load_model
from src.rollout.engines import Request
from src.rollout.engines.colocated import llm_settings, load_llm
from src.rollout.engines.vllm import Progress, sampled_logprobs
from src.rollout.engines.vllm_server import VLLMServerEngine
from src.rollout.engines.vllm_variables import set_vllm_variables
from tests.upstream import used_by

pytestmark = pytest.mark.vllm

ENGINE, COLOCATED = "src/rollout/engines/vllm.py", "src/rollout/engines/colocated.py"
SERVER, ENVIRONMENT = "src/rollout/engines/vllm_server.py", "src/rollout/engines/vllm_variables.py"

CODEC = load_codec(ModelConfig())
PROMPT = CODEC.encode("Problem: 12 + 30 = ? Think, then write \\boxed{42}. Once more, then: 12 + 30 = ?")
STALE, TRUE = 1e-3, 1e-4  # as in test_engine_vllm.py


def config() -> Config:
    cfg = Config()
    cfg.engine.vllm.eager = True
    cfg.rollout.max_tokens = 160
    return cfg


@pytest.fixture(scope="module")
def llm() -> Any:
    cfg = config()
    set_vllm_variables(cfg.engine)
    return load_llm(cfg.engine, cfg.model, cfg.rollout, seed=0)


@pytest.fixture
def engine(llm: Any) -> Iterator[Any]:
    llm.reset_prefix_cache()
    yield llm.llm_engine
    assert not llm.llm_engine.has_unfinished_requests()


def add(engine: Any, name: str, prompt: list[int] = PROMPT, **options: Any) -> None:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    settings = {"temperature": 0.0, "logprobs": 0, "max_tokens": 12, "detokenize": False}
    settings |= {"output_kind": RequestOutputKind.FINAL_ONLY} | options
    engine.add_request(name, {"type": "token", "prompt_token_ids": prompt}, SamplingParams(**settings))


def run(engine: Any) -> list[Any]:
    """All outputs, until nothing is under way."""
    outputs = []
    while engine.has_unfinished_requests():
        outputs += engine.step()
    return outputs


class TestEngine:
    @used_by(ENGINE)
    def test_a_request_comes_back_once_under_its_name_with_the_logprob_of_each_token(
        self, engine: Any
    ) -> None:
        add(engine, "a", ignore_eos=True, temperature=2.0)
        add(engine, "b", max_tokens=3, ignore_eos=True)
        outputs = {output.request_id: output for output in run(engine)}
        assert {name: len(output.outputs) for name, output in outputs.items()} == {"a": 1, "b": 1}
        for name, length in (("a", 12), ("b", 3)):
            (piece,) = outputs[name].outputs
            assert outputs[name].finished
            assert len(piece.token_ids) == length
            assert [list(position) for position in piece.logprobs] == [[token] for token in piece.token_ids]
            assert all(value <= 0 for value in sampled_logprobs(piece.logprobs, piece.token_ids))

    @used_by(ENGINE)
    def test_a_step_without_requests_returns_nothing(self, engine: Any) -> None:
        assert engine.step() == []

    @used_by(ENGINE)
    def test_deltas_are_one_token_each_and_add_up(self, engine: Any) -> None:
        from vllm.sampling_params import RequestOutputKind

        add(engine, "whole", ignore_eos=True)
        (whole,) = run(engine)
        add(engine, "a", ignore_eos=True, output_kind=RequestOutputKind.DELTA)
        outputs = run(engine)
        assert [output.finished for output in outputs] == [False] * 11 + [True]
        assert [list(output.outputs[0].token_ids) for output in outputs] == [
            [token] for token in whole.outputs[0].token_ids
        ]

    @used_by(ENGINE)
    def test_a_stop_token_is_sampled_and_belongs_to_the_output(self, engine: Any) -> None:
        add(engine, "whole", ignore_eos=True)
        (whole,) = run(engine)
        tokens = list(whole.outputs[0].token_ids)
        add(engine, "a", stop_token_ids=[tokens[4]], ignore_eos=True)
        (output,) = run(engine)
        assert list(output.outputs[0].token_ids) == tokens[: tokens.index(tokens[4]) + 1]

    @used_by(ENGINE)
    def test_a_stop_string_keeps_the_whole_token_that_completes_it(self, engine: Any) -> None:
        add(engine, "whole", ignore_eos=True, max_tokens=40)
        (whole,) = run(engine)
        tokens = list(whole.outputs[0].token_ids)
        at = next(i for i, token in enumerate(tokens) if i and len(CODEC.bytes_of(token)) > 1)
        string = (CODEC.bytes_of(tokens[at - 1])[-1:] + CODEC.bytes_of(tokens[at])[:1]).decode()
        add(
            engine, "a", stop=[string], include_stop_str_in_output=True,
            detokenize=True, ignore_eos=True, max_tokens=40,
        )  # fmt: skip
        (output,) = run(engine)
        ids = list(output.outputs[0].token_ids)
        assert ids == tokens[: len(ids)]
        assert string in CODEC.text(ids)
        assert string not in CODEC.text(ids[:-1])
        assert len(output.outputs[0].logprobs) == len(ids)

    @used_by(ENGINE)
    def test_aborted_requests_are_gone_and_their_names_free(self, engine: Any) -> None:
        add(engine, "a", ignore_eos=True)
        add(engine, "b", ignore_eos=True)
        engine.step()
        engine.abort_request(["a", "b"])
        assert not engine.has_unfinished_requests()
        assert engine.step() == []
        add(engine, "a", max_tokens=2, ignore_eos=True)
        assert [output.request_id for output in run(engine)] == ["a"]

    @used_by(ENGINE)
    def test_what_does_not_fit_is_refused_at_once(self, engine: Any) -> None:
        from vllm.exceptions import VLLMValidationError

        with pytest.raises(VLLMValidationError, match=r"2000.*longer than the maximum"):
            add(engine, "a", [5] * 2000)

    @used_by(ENGINE, COLOCATED)
    def test_a_continuation_finds_its_context_in_the_cache_until_that_is_reset(
        self, llm: Any, engine: Any
    ) -> None:
        block = llm.llm_engine.vllm_config.cache_config.block_size
        add(engine, "a", PROMPT * 8, ignore_eos=True, max_tokens=40)
        (first,) = run(engine)
        context = [*PROMPT * 8, *first.outputs[0].token_ids]
        found = []
        for name in ("b", "c"):
            add(engine, name, context, max_tokens=1)
            found.append(run(engine)[0].num_cached_tokens)
            llm.reset_prefix_cache()
        assert found == [(len(context) - 1) // block * block, 0]
        assert found[0] > 0


class TestWeights:
    @used_by(COLOCATED)
    def test_what_an_llm_is_told_exists(self) -> None:
        from vllm import LLM
        from vllm.engine.arg_utils import EngineArgs

        cfg = config()
        told = set(llm_settings(cfg.engine, cfg.model, cfg.rollout))
        told |= {"tensor_parallel_size", "gpu_memory_utilization", "seed", "hf_overrides"}
        assert told <= {field.name for field in fields(EngineArgs)}
        assert "level" in inspect.signature(LLM.sleep).parameters
        assert "tags" in inspect.signature(LLM.wake_up).parameters

    @used_by(COLOCATED)
    def test_trl_takes_vllms_llm_by_a_name_of_its_module(self) -> None:
        from trl.generation import vllm_generation
        from vllm import LLM

        assert vllm_generation.LLM is LLM

    @used_by(COLOCATED)
    @pytest.mark.skipif(torch.cuda.is_available(), reason="of the CPU build")
    def test_on_a_cpu_a_tied_head_is_stale_after_reloading_until_it_is_packed_again(
        self, llm: Any, engine: Any
    ) -> None:
        """And TRL's own way fails: when it works, or the head is fresh, src/.../colocated.py can go."""
        from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

        model = load_model(ModelConfig())
        before = {name: parameter.clone() for name, parameter in model.named_parameters()}
        runner = engine.model_executor.driver_worker.model_runner
        inner = runner.get_model()

        def difference(name: str) -> float:
            """Between the logprobs of vLLM and of the model."""
            llm.reset_prefix_cache()
            add(engine, name, ignore_eos=True, max_tokens=40)
            (output,) = run(engine)
            ids = list(output.outputs[0].token_ids)
            with torch.no_grad():
                logits = model(torch.tensor([PROMPT + ids])).logits[0, len(PROMPT) - 1 : -1]
            true = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
            return (
                (true - torch.tensor(sampled_logprobs(output.outputs[0].logprobs, ids))).abs().mean().item()
            )

        assert difference("before") < TRUE
        with torch.no_grad():
            torch.manual_seed(0)
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter) * parameter.square().mean().sqrt())
        with pytest.raises(AttributeError, match="weight_loader"):
            inner.load_weights(model.named_parameters())
        try:
            runner.reload_weights(weights_iterator=model.named_parameters())
            assert difference("stale") > STALE
            dispatch_cpu_unquantized_gemm(inner.lm_head, remove_weight=False)
            assert difference("fresh") < TRUE
        finally:
            runner.reload_weights(weights_iterator=before.items())
            dispatch_cpu_unquantized_gemm(inner.lm_head, remove_weight=False)

    @used_by(ENVIRONMENT)
    def test_the_environment_names_what_vllm_reads(self) -> None:
        from vllm import envs

        names = ["VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_CPU_KVCACHE_SPACE", "VLLM_CPU_OMP_THREADS_BIND"]
        assert set(names) <= set(envs.environment_variables)


class TestServer:
    @used_by(SERVER)
    def test_what_is_asked_and_read_exists(self) -> None:
        from vllm.entrypoints.openai.completion import protocol
        from vllm.entrypoints.serve.engine.protocol import ModelCard

        client = VLLMServerEngine("http://localhost", CODEC, temperature=1.0, top_p=1.0)
        asked = client._body(Progress(Request(0, PROMPT, 5)))
        assert set(asked) <= set(protocol.CompletionRequest.model_fields)
        assert {"token_ids", "logprobs"} <= set(protocol.CompletionResponseChoice.model_fields)
        assert {"token_ids", "logprobs"} <= set(protocol.CompletionResponseStreamChoice.model_fields)
        assert "token_logprobs" in protocol.CompletionLogProbs.model_fields
        assert "max_model_len" in ModelCard.model_fields

    @used_by(SERVER)
    def test_gaps_in_the_settings_are_filled_from_those_of_the_model(self) -> None:
        from vllm.entrypoints.openai.completion.protocol import CompletionRequest

        request = CompletionRequest(model="m", prompt=[1], temperature=1.0, top_p=1.0)
        params = request.to_sampling_params(5, {"top_k": 20, "repetition_penalty": 1.1, "top_p": 0.8})
        assert (params.top_k, params.repetition_penalty, params.top_p) == (20, 1.1, 1.0)
