"""Settings of ``python -m src.warm_start``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from src.config.problems import ModelConfig
from src.config.schema import option, seed_option
from src.config.tools import format_option

# Settings that matter only to a policy trained from scratch, whose architecture and training they are.
FROM_SCRATCH = (
    *("vocab_size", "tokenizer_samples", "hidden_size", "layers", "heads", "kv_heads", "head_dim"),
    *("intermediate_size", "steps", "batch_size", "learning_rate", "warmup_steps", "weight_decay"),
    *("max_grad_norm", "feedback_loss_fraction", "heldout_size"),
)


@dataclass
class StartModelConfig(ModelConfig):
    """The model that a warm start begins with; as ``model`` of a training run, all weights are trained."""

    path: str | None = option(  # type: ignore[assignment]  # all other programs need a model
        None, "a folder or a hub id; null (model=mini): a new mini policy is made"
    )


@dataclass
class TuneConfig:
    """Supervised training of a pretrained model on generated trajectories, whose feedback is masked."""

    source: str = option(
        "mini",
        "where trajectories come from: solutions to training problems of a generated family, mini or worded; "
        "or the dotted path of a function like src.warm_start.corpus.written",
        choices=("mini", "worded"),
        dotted=True,
    )
    trajectories: int = option(400, "number of different problems, each with one trajectory", at_least=1)
    heldout: int = option(48, "further ones, for the held-out loss", at_least=1)
    levels: list[int] = option([1, 2, 3], "levels of the problems", at_least=1, at_most=5)
    correct: bool = option(True, "only trajectories whose answer is right, after failing programs or not")
    epochs: int = option(1, "passes over the trajectories", at_least=1)
    batch_tokens: int = option(
        2048, "tokens of a step, padding included; trajectories of similar length are together", at_least=64
    )
    learning_rate: float = option(5e-5, "of AdamW, after warm-up; then a cosine to zero", above=0)
    warmup_steps: int = option(5, "steps over which the learning rate rises", at_least=0)
    weight_decay: float = option(0.0, "of AdamW", at_least=0)
    max_grad_norm: float = option(1.0, "larger gradients are scaled down to it", above=0)
    autocast: str | None = option(
        None,
        "dtype of forward and backward passes; weights and optimizer states keep model.dtype",
        choices=("bfloat16",),  # gradients in float16 would need to be scaled
    )
    head_tokens: int = option(
        512, "learnt tokens whose logits are held at once; no others are computed", at_least=1
    )
    heldout_every: int = option(20, "steps between held-out losses; 0: only before and after", at_least=0)
    checkpoint_every: int = option(
        20, "steps between checkpoints, from which the same command goes on; 0: none", at_least=0
    )


@dataclass
class WarmStartConfig:
    """``python -m src.warm_start``: the supervised start of a policy.

    Without ``model.path`` it makes the mini base policy, and ``model`` and ``tune`` do not apply; with it, it
    trains that model, and the settings of architecture and training do not.
    """

    model: StartModelConfig = field(default_factory=StartModelConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)

    output: str = option("experiments/mini_base", "folder of the policy")
    format: dict[str, Any] = format_option("src.formats.FenceFormat")
    seed: int = seed_option(0, "of weights, solutions and their order")
    threads: int = option(0, "of torch; 0: its default", at_least=0)
    vocab_size: int = option(512, "tokens: 256 bytes, 2 special ones, merges", at_least=300)
    tokenizer_samples: int = option(4000, "solutions that the tokenizer is learned from", at_least=100)
    hidden_size: int = option(128, "of the residual stream", at_least=16)
    layers: int = option(4, "of the network", at_least=1)
    heads: int = option(4, "of attention", at_least=1)
    kv_heads: int = option(2, "heads of keys and values", at_least=1)
    head_dim: int = option(32, "numbers of each head", at_least=8)
    intermediate_size: int = option(384, "of the feed-forward layers", at_least=16)
    steps: int = option(2500, "optimizer steps", at_least=1)
    batch_size: int = option(32, "solutions per step", at_least=1)
    learning_rate: float = option(3e-3, "after warm-up", above=0)
    warmup_steps: int = option(50, "steps over which the learning rate rises", at_least=0)
    weight_decay: float = option(0.05, "of AdamW", at_least=0)
    max_grad_norm: float = option(1.0, "larger gradients are scaled down to it", above=0)
    text_prompt_fraction: float = option(0.3, "share of prompts with mode text", at_least=0, at_most=1)
    code_prompt_fraction: float = option(
        0.35, "share of prompts with mode code; the rest are free", at_least=0, at_most=1
    )
    text_geometry_fraction: float = option(
        0.8, "share of the prompts with mode text that ask for Geometry only", at_least=0, at_most=1
    )
    feedback_loss_fraction: float = option(
        0.25, "share of solutions whose feedback is learnt, too", at_least=0, at_most=1
    )
    heldout_size: int = option(400, "problems on which the result is measured", at_least=1)
