"""Which engine samples, and how it is made; vLLM is imported only where it is used."""

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
    """Return the kind of engine that ``cfg`` means here.

    ``auto`` is vLLM where it is installed and there is a GPU. On a CPU it is transformers: the mini policy
    is sampled faster by it (experiments/performance), and the weights are not held twice.
    """
    if cfg.kind != "auto":
        return cfg.kind
    return "vllm" if find_spec("vllm") is not None and torch.cuda.is_available() else "transformers"


def refuse_training(kind: str, cfg: EngineConfig) -> None:
    """Raise ConfigError if no policy can be trained here through an engine of that kind."""
    if torch.cuda.is_available():
        return
    if kind == "vllm" and cfg.vllm.sleep:
        raise ConfigError(
            "engine.vllm.sleep=true: vLLM's sleep gives back the memory of a GPU, and there is none here; "
            "set it to false"
        )
    if kind == "vllm_server":
        raise ConfigError(
            "engine.kind=vllm_server: TRL hands new weights to a server by NCCL, which needs a GPU in this "
            "process too; train with engine=vllm or engine=transformers, and evaluate with the server"
        )


class Engines:
    """Makes engines of one policy; a context manager that closes them.

    Args:
        kind: see :func:`choose_engine`.
        cfg: settings of the engine.
        rollout: settings of the rollout.
        codec: bytes and text of token ids.
        model: the policy, for transformers.
        llm: the policy, for vllm.
        power: wakes ``llm`` for a rollout; None: it is always awake.
        in_step: the processes among which the weights of ``model`` are shared out, if they are.
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
        """Return an engine that samples so."""
        follow = self._rollout.max_seconds is not None  # what is cut off in time keeps its tokens
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
        """End what runs beside this thread."""
        for engine in self._servers:
            engine.close()

    def __enter__(self) -> Engines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
