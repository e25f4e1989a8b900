"""Chooses and builds the engine; vLLM is imported only if it is used."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel

from src.config import EngineConfig, RolloutConfig
from src.config.schema import ConfigError
from src.policy.codec import TokenCodec
from src.rollout.engines.base import Engine
from src.rollout.engines.transformers import TransformersEngine
from src.rollout.engines.vllm import Power, VLLMEngine
from src.run.processes import Ranks

if TYPE_CHECKING:
    from vllm import LLM

    from src.rollout.engines.vllm_server import VLLMServerEngine


def choose_engine(cfg: EngineConfig) -> str:
    """Return the kind of engine that ``cfg`` selects on this machine.

    ``auto`` selects vLLM if it is installed and a GPU is available. On a CPU it selects transformers, which
    samples the mini policy faster (experiments/performance) and needs no second copy of the weights.
    """
    if cfg.kind != "auto":
        return cfg.kind
    return "vllm" if find_spec("vllm") is not None and torch.cuda.is_available() else "transformers"


def refuse_training(kind: str, cfg: EngineConfig) -> None:
    """Raise ConfigError if this machine cannot train with an engine of that kind."""
    if torch.cuda.is_available():
        return
    if kind == "vllm" and cfg.vllm.sleep:
        raise ConfigError(
            "engine.vllm.sleep=true: vLLM's sleep mode frees GPU memory, and this machine has no GPU; "
            "set it to false"
        )
    if kind == "vllm_server":
        raise ConfigError(
            "engine.kind=vllm_server: TRL sends new weights to the server by NCCL, which needs a GPU in this "
            "process too; train with engine=vllm or engine=transformers, and evaluate with the server"
        )


class Engines:
    """Builds engines for one policy; a context manager that closes them.

    Args:
        kind: see :func:`choose_engine`.
        cfg: settings of the engine.
        rollout: settings of the rollout.
        codec: bytes and text of token ids.
        model: the policy, for transformers.
        llm: the policy, for vllm.
        power: wakes ``llm`` for a rollout; None: it is always awake.
        in_step: the processes over which the weights of ``model`` are sharded; None: they are not.
    """

    def __init__(
        self,
        kind: str,
        cfg: EngineConfig,
        rollout: RolloutConfig,
        codec: TokenCodec,
        *,
        model: PreTrainedModel | None = None,
        llm: LLM | None = None,
        power: Power | None = None,
        in_step: Ranks | None = None,
    ) -> None:
        self._kind, self._cfg, self._rollout, self._codec = kind, cfg, rollout, codec
        self._model, self._llm, self._power, self._in_step = model, llm, power, in_step
        self._servers: list[VLLMServerEngine] = []

    def make(self, temperature: float, top_p: float) -> Engine:
        """Return an engine that samples with this temperature and top_p."""
        follow = self._rollout.max_seconds is not None  # aborted requests then keep their tokens
        if self._kind == "transformers":
            assert self._model is not None
            return TransformersEngine(
                self._model,
                self._codec,
                temperature=temperature,
                top_p=top_p,
                batch_size=self._cfg.batch_size,
                min_active_fraction=self._cfg.min_active_fraction,
                in_step=self._in_step,
            )
        if self._kind == "vllm":
            assert self._llm is not None
            return VLLMEngine(
                self._llm, self._codec, temperature=temperature, top_p=top_p, follow=follow, power=self._power
            )
        from src.rollout.engines.vllm_server import VLLMServerEngine

        server = self._cfg.server
        engine = VLLMServerEngine(
            server.url,
            self._codec,
            temperature=temperature,
            top_p=top_p,
            connections=server.connections,
            start_seconds=server.start_seconds,
            follow=follow,
            longest=self._rollout.max_prompt_tokens + self._rollout.max_tokens,
        )
        self._servers.append(engine)
        return engine

    def close(self) -> None:
        """Close the engines that run in the background."""
        for engine in self._servers:
            engine.close()

    def __enter__(self) -> Engines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
