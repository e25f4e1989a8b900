"""Settings of curriculum, reward, trainer and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from src.config.schema import option, seed_option


@dataclass
class StageConfig:
    """A stage: from rollout step ``step`` on, at most ``budget`` executions."""

    step: int = option(0, "rollout step", at_least=0)
    budget: int = option(2, "maximum executions", at_least=0)


@dataclass
class CurriculumConfig:
    """Interaction budget, the executions of a trajectory, as a function of the rollout step."""

    kind: str = option(
        "staged", "how the budget rises", choices=("fixed", "staged", "linear", "adaptive"), dotted=True
    )
    budget: int = option(4, "fixed: the budget; linear and adaptive: the final budget", at_least=0)
    start: int = option(2, "linear and adaptive: the initial budget", at_least=0)
    until: int = option(200, "linear: the final budget is reached at this step", at_least=1)
    window: int = option(20, "adaptive: rollout steps that are averaged", at_least=2)
    min_exhausted_rate: float = option(
        0.2,
        "adaptive: rises where at least this fraction of trajectories exhausts the budget",
        at_least=0,
        at_most=1,
    )
    max_reward_drift: float = option(
        0.05, "adaptive: and the mean reward changes by at most this within the window", at_least=0
    )
    stages: list[StageConfig] = option(
        [StageConfig(0, 2), StageConfig(100, 3), StageConfig(200, 4)],
        "staged: the budget from each step on; by default the paper's schedule",
    )


@dataclass
class RewardConfig:
    """Reward terms and answer grading; a term with a weight of 0 is off."""

    correct: float = option(1.0, "reward of a correct answer")
    wrong: float = option(-1.0, "reward of a wrong answer, or of no answer")
    executability: float = option(0.0, "penalty if any execution failed; ToRL's is 0.5", at_least=0)
    answered: float = option(0.0, "reward for a boxed answer, correct or not", at_least=0)
    tool_cost: float = option(0.0, "penalty per execution of a correct trajectory", at_least=0)
    overlong: float = option(
        0.0,
        "penalty for length, rising linearly to this over the last overlong_tokens before rollout.max_tokens",
        at_least=0,
    )
    overlong_tokens: int | None = option(
        None,
        "null: a fifth of rollout.max_tokens, as in DAPO (4,096 of 20,480; arXiv 2503.14476)",
        at_least=1,
    )
    grader: str = option(
        "exact",
        "comparison with the gold answer; exact: equivalence, without approximations and guesses "
        "(src/rewards/equivalence.py); math_verify: the verdict of math-verify itself, as in the paper's "
        "released training",
        choices=("exact", "math_verify"),
    )
    grade_seconds: float = option(
        5.0,
        "time limit of grading; an answer that takes longer counts as wrong, and is tried again when it "
        "occurs again, at most three times",
        above=0,
    )
    grade_workers: int = option(2, "number of grading processes", at_least=1)
    terms: dict[str, Any] = option(
        {},
        "additional reward terms by name: a function of an Outcome (src/rewards/terms.py) in _target_, its "
        "other arguments as further keys; NAME: {_target_: my.module.brevity, weight: 0.1} calls "
        "brevity(outcome, weight=0.1)",
    )
    lenient: bool = option(
        True,
        "also report the lenient accuracy: the last number or formula of the text may be the answer, boxed "
        "or not; it changes no reward (the paper's released evaluation accepts the last integer)",
    )


@dataclass
class TrainerConfig:
    """The RL algorithm; the defaults are the paper's but for those in docs/departures.md."""

    steps: int = option(300, "rollout steps", at_least=1)
    batch_size: int = option(
        2048, "trajectories per rollout step, over all processes: 128 prompts x 16 samples", at_least=1
    )
    samples_per_prompt: int = option(16, "group size: trajectories per problem", at_least=2)
    minibatches: int = option(2, "optimizer steps per rollout step", at_least=1)
    micro_batch_size: int = option(32, "trajectories per forward pass and process", at_least=1)
    learning_rate: float = option(1e-6, "learning rate after warm-up", above=0)
    lr_schedule: str = option("constant", "learning rate schedule", choices=("constant", "linear", "cosine"))
    warmup_steps: int = option(0, "optimizer steps of linear warm-up", at_least=0)
    weight_decay: float = option(0.0, "weight decay of AdamW", at_least=0)
    adam_beta2: float = option(0.999, "beta2 of AdamW", above=0, below=1)
    max_grad_norm: float = option(1.0, "gradient clipping threshold", above=0)
    advantage: str = option(
        "reinforce_plus_plus_baseline",
        "advantage estimator; src/trainer/advantages.py",
        choices=("reinforce_plus_plus_baseline", "grpo", "dr_grpo", "rloo"),
        dotted=True,
    )
    whiten_over: str = option(
        "policy",
        "tokens over which reinforce_plus_plus_baseline whitens: policy: those that the policy sampled; "
        "response: feedback, too, as in the paper's released code, where a trajectory with more of it weighs "
        "more",
        choices=("policy", "response"),
    )
    loss_type: str = option(
        "dapo",
        "loss aggregation, as TRL names it; dapo: mean over the policy tokens of the batch",
        choices=("dapo", "grpo", "bnpo", "dr_grpo"),
    )
    clip_low: float = option(
        0.2, "lower clip range: ratios are clipped to at least 1 - clip_low", above=0, below=1
    )
    clip_high: float = option(0.28, "upper clip range: ratios are clipped to at most 1 + clip_high", above=0)
    dual_clip: float | None = option(3.0, "bound of the ratio for negative advantages; null: off", above=1)
    kl_coef: float = option(
        0.0,
        "coefficient of the KL penalty, whose per-token estimate is importance-weighted (arXiv 2512.02556)",
        at_least=0,
    )
    entropy_coef: float = option(
        0.0, "coefficient of the entropy bonus, the mean entropy per policy token", at_least=0
    )
    exclude: list[str] = option(
        [],
        "stop reasons of trajectories that are masked in the loss; they still count in their group's mean",
        choices=("void", "length", "budget"),
    )
    dynamic_sampling: int = option(
        0, "maximum rounds per step of replacing groups whose rewards are all equal; 0: off", at_least=0
    )
    share_prompts: bool = option(
        False, "compute the prompt of a group once in each micro-batch, not for each of its trajectories"
    )
    skip_zero_advantage: bool = option(
        False,
        "compute nothing where the advantage is 0: same gradient, but entropy and clip ratios of the others",
    )
    autocast: str | None = option(
        None,
        "dtype of forward and backward passes, while weights and optimizer states keep model.dtype; null: "
        "model.dtype",
        choices=("bfloat16", "float16"),
    )
    gradient_checkpointing: bool = option(
        False, "recompute activations in the backward pass: less memory, a third slower"
    )
    rank_timeout: float = option(
        3600.0, "seconds after which a process stops waiting for the others", above=0
    )
    importance_sampling: str = option(
        "token_truncate",
        "correction of the mismatch between engine and trainer, for engines that return logprobs: weights "
        "the loss by the ratio of the trainer's to the engine's probabilities",
        choices=("token_truncate", "token_mask", "sequence_truncate", "sequence_mask", "none"),
    )
    importance_sampling_max: float = option(3.0, "upper bound of the ratio of importance_sampling", above=1)
    max_infrastructure_failure_rate: float = option(
        0.05,
        "the run stops above this fraction of trajectories lost to the infrastructure in a step",
        at_least=0,
        at_most=1,
    )
    checkpoint_every: int = option(50, "rollout steps between checkpoints; 0: only at the end", at_least=0)
    keep_checkpoints: int = option(2, "number of newest checkpoints to keep", at_least=1)
    resume: str | None = option(
        None, "the folder of a run, or one of its checkpoints, to resume with the run's settings"
    )
    resume_force: bool = option(
        False, "resume even with settings that change samples, gradients or evaluation"
    )
    seed: int = seed_option(0, "seed of weights, data order and sampling")


@dataclass
class PeriodicBenchmarkConfig:
    """A benchmark that a training run evaluates its policy on.

    null: the value of the benchmark's option in conf/benchmark, otherwise that of evaluate.
    """

    benchmark: str = option(
        "???", "an option of conf/benchmark, OPTION@FILE to read it from a file, or a file"
    )
    size: int | None = option(None, "number of problems, the first that many", at_least=1)
    modes: list[str] | None = option(None, "prompt modes", choices=("free", "text", "code"))
    k: int | None = option(None, "trajectories per problem", at_least=1)
    temperature: float | None = option(None, "sampling temperature; 0: greedy", at_least=0)
    top_p: float | None = option(None, "nucleus sampling", above=0, at_most=1)
    budget: int | None = option(None, "maximum executions per trajectory", at_least=0)
    long_prompts: str | None = option(
        None,
        "what to do with problems whose prompts have more than rollout.max_prompt_tokens tokens",
        choices=("drop", "truncate_left", "refuse"),
    )


@dataclass
class EvaluateConfig:
    """Evaluation of a policy."""

    phases: list[str] = option(
        ["before", "after"],
        "of src.train; [after] if the base policy is evaluated once for several runs",
        choices=("before", "after"),
    )
    every: int = option(
        0,
        "of src.train: rollout steps between evaluations during training, each with a checkpoint; 0: none",
        at_least=0,
    )
    benchmarks: list[PeriodicBenchmarkConfig] = option(
        [],
        "of src.train: evaluated, too, whenever the held-out problems are; token limits are those of rollout",
    )
    modes: list[str] = option(["free", "code", "text"], "prompt modes", choices=("free", "text", "code"))
    k: int = option(1, "trajectories per problem", at_least=1)
    temperature: float = option(1.0, "sampling temperature; 0: greedy", at_least=0)
    top_p: float = option(1.0, "nucleus sampling", above=0, at_most=1)
    budget: int = option(4, "maximum executions per trajectory", at_least=0)
    seed: int = seed_option(1234, "sampling seed")
    max_infrastructure_failure_rate: float = option(
        0.05,
        "an evaluation that lost more than this fraction of its trajectories to the sandbox is refused",
        at_least=0,
        at_most=1,
    )
    shard: str | None = option(
        None, "I/N: every N-th problem, starting with the I-th, 0 <= I < N; null: all problems"
    )
    resume: bool = option(
        False,
        "continue the evaluation in the run's folder, if there is one: hydra.run.dir=FOLDER",
    )
