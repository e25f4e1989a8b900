"""How trajectories are made."""

from __future__ import annotations

from dataclasses import dataclass, field

from src.config.schema import option


@dataclass
class VLLMConfig:
    """vLLM in this process; for ``engine.kind=vllm``."""

    max_sequences: int = option(256, at_least=1)  # that are sampled at once
    gpu_memory: float = option(0.4, above=0, at_most=1)  # share of a GPU's memory, weights included
    cpu_memory_gb: int = option(1, at_least=1)  # for keys and values, where there is no GPU
    eager: bool = False  # no compilation: starts sooner, samples more slowly
    sleep: bool = False  # give the memory back between rollouts; needs a GPU
    tensor_parallel_size: int = option(1, at_least=1)  # evaluation only


@dataclass
class VLLMServerConfig:
    """A vLLM server; for ``engine.kind=vllm_server``."""

    url: str = "http://localhost:8000"
    connections: int = option(1024, at_least=1)  # requests under way at once, of each process
    start_seconds: float = option(240.0, above=0)  # it must answer by then
    group_port: int = option(51216, at_least=1, at_most=65535)  # of the weight transfer


@dataclass
class EngineConfig:
    """What samples tokens."""

    # auto: vllm where it is installed and there is a GPU, else transformers
    kind: str = option("transformers", choices=("auto", "transformers", "vllm", "vllm_server"))
    batch_size: int = option(256, at_least=1)  # transformers: sequences generated at once
    leave: float = option(0.0, at_least=0, below=1)  # transformers: share of a batch left for the next poll
    vllm: VLLMConfig = field(default_factory=VLLMConfig)
    server: VLLMServerConfig = field(default_factory=VLLMServerConfig)


@dataclass
class RolloutConfig:
    """One trajectory: sampling, tools and limits."""

    mode: str = option("free", choices=("free", "text", "code"))  # how training problems are posed
    tools: bool = True
    max_tokens: int = option(256, at_least=1)  # completion tokens, feedback included
    max_prompt_tokens: int = option(1024, at_least=1)
    temperature: float = option(1.0, above=0)
    top_p: float = option(1.0, above=0, at_most=1)
    boundary: str = option("exact", choices=("exact", "post_hoc", "stop_string"))  # boundary_rule.py
    mask: str = option("exact", choices=("exact", "none"))  # none: feedback is trained on too
    over_budget: str = option("continue", choices=("continue", "stop", "notice"))
    feedback_chars: int = option(400, at_least=16)
    errors: str = option("message", choices=("message", "bare"))  # what is read of a failed execution
    max_live: int = option(4096, at_least=1)  # trajectories on their way at once
    max_seconds: float | None = option(None, above=0)  # then what is live ends as length
