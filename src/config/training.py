"""What is learnt, from what reward, and how it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from src.config.schema import option, seed_option


@dataclass
class StageConfig:
    """From rollout step ``step`` on, at most ``budget`` executions."""

    step: int = option(0, "rollout step", at_least=0)
    budget: int = option(2, "executions", at_least=0)


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
        "staged: from each step on, at most so many executions; the paper's schedule",
    )


@dataclass
class RewardConfig:
    """Reward terms and how answers are graded; a term with a weight of 0 plays no part."""

    correct: float = option(1.0, "of a right answer")
    wrong: float = option(-1.0, "of a wrong answer, or none")
    executability: float = option(0.0, "taken off if any execution failed; ToRL's penalty is 0.5", at_least=0)
    answered: float = option(0.0, "for an answer in a box, right or wrong", at_least=0)
    tool_cost: float = option(0.0, "taken off for each execution of a trajectory that is right", at_least=0)
    overlong: float = option(
        0.0,
        "taken off, rising to this over the last overlong_tokens before rollout.max_tokens",
        at_least=0,
    )
    overlong_tokens: int | None = option(
        None,
        "null: a fifth of rollout.max_tokens, as DAPO's 4,096 of 20,480 (arXiv 2503.14476)",
        at_least=1,
    )
    grade_seconds: float = option(5.0, "a grading that takes longer is killed: not equivalent", above=0)
    grade_workers: int = option(2, "processes that grade", at_least=1)
    terms: dict[str, Any] = option(
        {},
        "further reward terms by name: the dotted path of a function of an Outcome (src/rewards/terms.py) in "
        "_target_, its other arguments beside; with NAME: {_target_: my.module.brevity, weight: 0.1} it is "
        "brevity(outcome, weight=0.1)",
    )
    lenient: bool = option(
        False, "evaluations also count the paper's rule: the last integer of the last line"
    )


@dataclass
class TrainerConfig:
    """The reinforcement learning step; the defaults are the paper's."""

    steps: int = option(300, "rollout steps", at_least=1)
    batch_size: int = option(2048, "trajectories per rollout step: 128 prompts x 16 samples", at_least=1)
    samples_per_prompt: int = option(16, "trajectories of a problem: a group", at_least=2)
    minibatches: int = option(2, "optimizer steps per rollout step", at_least=1)
    micro_batch_size: int = option(32, "trajectories per forward pass, of each process", at_least=1)
    learning_rate: float = option(1e-6, "after warm-up", above=0)
    lr_schedule: str = option("constant", "of the learning rate", choices=("constant", "linear", "cosine"))
    warmup_steps: int = option(0, "optimizer steps over which the learning rate rises", at_least=0)
    weight_decay: float = option(0.0, "of AdamW", at_least=0)
    adam_beta2: float = option(0.999, "of AdamW", above=0, below=1)
    max_grad_norm: float = option(1.0, "larger gradients are scaled down to it", above=0)
    advantage: str = option(
        "reinforce_plus_plus_baseline",
        "how far a trajectory is above others; src/trainer/advantages.py",
        choices=("reinforce_plus_plus_baseline", "grpo", "dr_grpo", "rloo"),
        dotted=True,
    )
    loss_type: str = option(
        "dapo",
        "over what the loss is averaged, as TRL names it; dapo: the policy tokens of the batch",
        choices=("dapo", "grpo", "bnpo", "dr_grpo"),
    )
    clip_low: float = option(0.2, "ratios are clipped below 1 - clip_low", above=0, below=1)
    clip_high: float = option(0.28, "ratios are clipped above 1 + clip_high", above=0)
    dual_clip: float | None = option(
        3.0, "bound of the ratio where the advantage is negative; null: off", above=1
    )
    kl_coef: float = option(
        0.0,
        "times the estimate of each token, times its importance ratio (arXiv 2512.02556)",
        at_least=0,
    )
    entropy_coef: float = option(
        0.0, "bonus: taken off the loss, times the mean entropy of a policy token", at_least=0
    )
    exclude: list[str] = option(
        [],
        "trajectories that ended so are not trained on; they stay in the mean of their group",
        choices=("void", "length", "budget"),
    )
    dynamic_sampling: int = option(
        0, "most rounds a step in which groups of equal rewards are replaced; 0: off", at_least=0
    )
    autocast: str | None = option(
        None,
        "passes are computed in it, weights and optimizer stay as model.dtype; null: in model.dtype",
        choices=("bfloat16", "float16"),
    )
    gradient_checkpointing: bool = option(
        False, "activations are computed again: less memory, a third slower"
    )
    rank_timeout: float = option(3600.0, "seconds that processes wait for each other", above=0)
    importance_sampling: str = option(
        "token_truncate",
        "engines that keep logprobs only: how the loss is weighted by the trainer's over the engine's "
        "probability of each token",
        choices=("token_truncate", "token_mask", "sequence_truncate", "sequence_mask", "none"),
    )
    importance_sampling_max: float = option(3.0, "the ratio of importance_sampling is cut off above", above=1)
    max_infrastructure_failure_rate: float = option(
        0.05,
        "share of a step's trajectories lost to the infrastructure that ends the run",
        at_least=0,
        at_most=1,
    )
    checkpoint_every: int = option(50, "rollout steps; 0: only at the end", at_least=0)
    keep_checkpoints: int = option(2, "newest ones; older ones are deleted", at_least=1)
    resume: str | None = option(None, "a run's folder, whose settings are taken; or one of its checkpoints")
    resume_force: bool = option(False, "resume even with settings that make another run of it")
    seed: int = seed_option(0, "of weights, data order and sampling")


@dataclass
class EvaluateConfig:
    """How a policy is evaluated."""

    phases: list[str] = option(
        ["before", "after"],
        "of src.train; [after] where the base policy is evaluated once for several runs",
        choices=("before", "after"),
    )
    modes: list[str] = option(
        ["free", "code", "text"], "how problems are posed", choices=("free", "text", "code")
    )
    k: int = option(1, "trajectories per problem", at_least=1)
    temperature: float = option(1.0, "of sampling; 0: greedy", at_least=0)
    top_p: float = option(1.0, "of sampling", above=0, at_most=1)
    budget: int = option(4, "executions per trajectory", at_least=0)
    seed: int = seed_option(1234, "of sampling")
    shard: str | None = option(
        None, "I/N: every N-th problem from the I-th on, 0 <= I < N; null: all problems"
    )
    resume: bool = option(
        False,
        "go on with the evaluation in the run's folder, if there is one: hydra.run.dir=FOLDER",
    )


@dataclass
class RuleConfig:
    """When a metric means trouble; give one of ``above`` and ``below``."""

    name: str = option("???", "of the rule")
    metric: str = option("???", "as in metrics.jsonl, or the dotted path of a function of all metrics")
    above: float | None = option(None, "trouble above this")
    below: float | None = option(None, "trouble below this")
    steps: int = option(1, "in a row", at_least=1)
    action: str = option("warn", "stop ends the run", choices=("warn", "stop"))
    message: str = option("", "what is printed with it")


@dataclass
class AlarmConfig:
    """What is said, or stops the run, while it trains."""

    rules: list[RuleConfig] = option([], "when which metric means trouble")


@dataclass
class TrackingConfig:
    """Weights & Biases; console, records and summary.json are written in any case."""

    mode: str = option(
        "offline",
        "offline: the run is written beside the records, for wandb sync; online: over the network",
        choices=("offline", "online", "none"),
    )
    init_timeout: float = option(
        30.0,
        "seconds in which mode=online must reach W&B; else the run goes on offline, and says so",
        above=0,
    )
    project: str = option("code-integrated-reasoning", "of W&B")
    entity: str | None = option(None, "account or team; null: the account's default")
    name: str | None = option(None, "of the run; null: W&B makes one up")
    tags: list[str] = option([], "of the run")
    samples: int = option(8, "trajectories per step in the table", at_least=0)
