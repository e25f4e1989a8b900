"""Settings of a warm start from a pretrained model; the others are in src/warm_start/config.py."""

from __future__ import annotations

from dataclasses import dataclass

from src.config.problems import ModelConfig
from src.config.schema import option


@dataclass
class StartModelConfig(ModelConfig):
    """The model that a warm start begins with; as ``model`` of a training run, all weights are trained."""

    path: str | None = option(  # type: ignore[assignment]
        None, "a folder or a hub id; null (model=mini): a new mini policy is made"
    )


@dataclass
class TuneConfig:
    """Supervised training of a pretrained model on generated trajectories, whose feedback is masked."""

    source: str = option(
        "mini",
        "where trajectories come from: mini, solutions to training problems of the mini family; or the "
        "dotted path of a function like src.warm_start.corpus.written",
        choices=("mini",),
        dotted=True,
    )
    trajectories: int = option(400, "number of different problems, each with one trajectory", at_least=1)
    heldout: int = option(48, "further ones, for the held-out loss", at_least=1)
    levels: list[int] = option([1, 2, 3], "levels of the mini family", at_least=1, at_most=5)
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
        choices=("bfloat16", "float16"),
    )
    head_tokens: int = option(
        512, "learnt tokens whose logits are held at once; no others are computed", at_least=1
    )
    heldout_every: int = option(20, "steps between held-out losses; 0: only before and after", at_least=0)
    checkpoint_every: int = option(
        20, "steps between checkpoints, from which the same command goes on; 0: none", at_least=0
    )
