"""Settings of engines and rollouts."""

from __future__ import annotations

from dataclasses import dataclass, field

from src.config.schema import option


@dataclass
class VLLMConfig:
    """vLLM in this process; for ``engine.kind=vllm``."""

    max_num_seqs: int = option(256, "maximum number of sequences sampled at once", at_least=1)
    gpu_memory_utilization: float = option(
        0.4, "fraction of a GPU's memory, weights included", above=0, at_most=1
    )
    cpu_memory_gb: int = option(1, "size of the KV cache without a GPU", at_least=1)
    eager: bool = option(False, "no compilation: starts faster, samples more slowly")
    sleep: bool = option(False, "release GPU memory between rollouts; needs a GPU")
    tensor_parallel_size: int = option(1, "GPUs that share one model; evaluation only", at_least=1)


@dataclass
class VLLMServerConfig:
    """A vLLM server; for ``engine.kind=vllm_server``."""

    url: str = option("http://localhost:8000", "address of the server")
    connections: int = option(1024, "concurrent requests of each process", at_least=1)
    start_seconds: float = option(240.0, "time limit for the server's first answer", above=0)
    group_port: int = option(51216, "port of the weight transfer", at_least=1, at_most=65535)


@dataclass
class EngineConfig:
    """The inference engine."""

    kind: str = option(
        "transformers",
        "transformers: the trainer's own model, one batch at a time; vllm: in this process; auto: vllm "
        "where it is installed and there is a GPU, else transformers",
        choices=("auto", "transformers", "vllm", "vllm_server"),
    )
    batch_size: int = option(256, "transformers: sequences per batch", at_least=1)
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

    mode: str = option(
        "free",
        "prompt mode of training problems: text (without code), code (with code), free (either)",
        choices=("free", "text", "code"),
    )
    tools: bool = option(True, "whether programs are executed")
    max_tokens: int = option(256, "maximum tokens of a completion, feedback included", at_least=1)
    max_prompt_tokens: int = option(1024, "maximum tokens of a prompt", at_least=1)
    temperature: float = option(1.0, "sampling temperature in training", above=0)
    top_p: float = option(1.0, "nucleus sampling in training; must be 1", above=0, at_most=1)
    boundary: str = option(
        "exact",
        "where a policy segment ends: exact: at the end of a call; post_hoc: cut there after sampling "
        "further, as in the released code; stop_string: where the policy itself opens an output block, as in "
        "ToRL; late and early: inexact, after what the policy wrote past the call, or before its last token",
        choices=("exact", "post_hoc", "stop_string", "late", "early"),
    )
    mask: str = option(
        "exact", "exact: only sampled tokens are trained on; none: feedback, too", choices=("exact", "none")
    )
    over_budget: str = option(
        "continue",
        "what follows a call beyond the budget: continue: the policy continues without a result, as in the "
        "paper; stop: the trajectory ends; notice: the result is a notice",
        choices=("continue", "stop", "notice"),
    )
    feedback_chars: int = option(400, "maximum characters of an output that the policy reads", at_least=16)
    errors: str = option(
        "message",
        'feedback after a failed execution: message: the error message; bare: only "error"',
        choices=("message", "bare"),
    )
    max_concurrent: int = option(4096, "maximum number of concurrent trajectories", at_least=1)
    max_seconds: float | None = option(
        None,
        "time limit of a rollout; trajectories still running end with stop reason length; null: none",
        above=0,
    )
