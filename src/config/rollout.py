"""How trajectories are made."""

from __future__ import annotations

from dataclasses import dataclass, field

from src.config.schema import option


@dataclass
class VLLMConfig:
    """vLLM in this process; for ``engine.kind=vllm``."""

    max_num_seqs: int = option(256, "sequences that are sampled at once", at_least=1)
    gpu_memory_utilization: float = option(
        0.4, "share of a GPU's memory, weights included", above=0, at_most=1
    )
    cpu_memory_gb: int = option(1, "for keys and values, where there is no GPU", at_least=1)
    eager: bool = option(False, "no compilation: starts sooner, samples more slowly")
    sleep: bool = option(False, "give the memory back between rollouts; needs a GPU")
    tensor_parallel_size: int = option(1, "GPUs that share one model; evaluation only", at_least=1)


@dataclass
class VLLMServerConfig:
    """A vLLM server; for ``engine.kind=vllm_server``."""

    url: str = option("http://localhost:8000", "address of the server")
    connections: int = option(1024, "requests under way at once, of each process", at_least=1)
    start_seconds: float = option(240.0, "the server must answer by then", above=0)
    group_port: int = option(51216, "of the weight transfer", at_least=1, at_most=65535)


@dataclass
class EngineConfig:
    """What samples tokens."""

    kind: str = option(
        "transformers",
        "transformers: the trainer's own model, one batch at a time; vllm: in this process; auto: vllm "
        "where it is installed and there is a GPU, else transformers",
        choices=("auto", "transformers", "vllm", "vllm_server"),
    )
    batch_size: int = option(256, "transformers: sequences generated at once", at_least=1)
    min_active_fraction: float = option(
        0.0,
        "transformers: a batch ends once at most this fraction of its sequences is still generating; these "
        "continue in the next batch",
        at_least=0,
        below=1,
    )
    vllm: VLLMConfig = field(default_factory=VLLMConfig)
    server: VLLMServerConfig = field(default_factory=VLLMServerConfig)


@dataclass
class RolloutConfig:
    """One trajectory: sampling, tools and limits."""

    mode: str = option("free", "how training problems are posed", choices=("free", "text", "code"))
    tools: bool = option(True, "whether programs are executed")
    max_tokens: int = option(256, "tokens of a completion, feedback included", at_least=1)
    max_prompt_tokens: int = option(1024, "tokens of a prompt", at_least=1)
    temperature: float = option(1.0, "of sampling in training", above=0)
    top_p: float = option(1.0, "of sampling in training, which takes 1 only", above=0, at_most=1)
    boundary: str = option(
        "exact",
        "where a segment ends: exact: at the end of a call; post_hoc: cut there afterwards, as in the paper; "
        "stop_string: at the result that the policy itself opens, as in ToRL",
        choices=("exact", "post_hoc", "stop_string"),
    )
    mask: str = option("exact", "none: feedback is trained on too", choices=("exact", "none"))
    over_budget: str = option(
        "continue",
        "what follows a program beyond the budget: continue: the policy writes on, as in the paper; stop: "
        "the trajectory ends; notice: the policy is told",
        choices=("continue", "stop", "notice"),
    )
    feedback_chars: int = option(400, "characters of the output that the policy reads", at_least=16)
    errors: str = option(
        "message",
        'what the policy reads of a failed execution: its message, or "error" alone',
        choices=("message", "bare"),
    )
    max_concurrent: int = option(4096, "trajectories on their way at once", at_least=1)
    max_seconds: float | None = option(
        None, "a rollout that takes longer ends: what is live ends as length; null: no limit", above=0
    )
