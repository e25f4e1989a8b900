"""What is learnt, from what reward, and how it is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field

from src.config.schema import option, seed_option


@dataclass
class StageConfig:
    """From rollout step ``step`` on, at most ``budget`` executions."""

    step: int = option(0, at_least=0)
    budget: int = option(2, at_least=0)


@dataclass
class CurriculumConfig:
    """Interaction budget as a function of the rollout step."""

    kind: str = option("staged", choices=("fixed", "staged", "linear", "adaptive"))
    budget: int = option(4, at_least=0)  # fixed; the last one of linear and adaptive
    start: int = option(2, at_least=0)  # linear and adaptive: the first budget
    until: int = option(200, at_least=1)  # linear: from this step on it is the last one
    window: int = option(20, at_least=2)  # adaptive: steps that it looks at
    pressure: float = option(0.2, at_least=0, at_most=1)  # adaptive: share that used the whole budget
    settled: float = option(0.05, at_least=0)  # adaptive: largest change of the mean reward within a window
    stages: list[StageConfig] = field(
        default_factory=lambda: [StageConfig(0, 2), StageConfig(100, 3), StageConfig(200, 4)]
    )  # staged


@dataclass
class RewardConfig:
    """Reward terms and how answers are graded."""

    correct: float = 1.0
    wrong: float = -1.0
    executability: float = option(0.0, at_least=0)  # taken off if any execution failed
    answered: float = option(0.0, at_least=0)  # for an answer in a box
    tool_cost: float = option(0.0, at_least=0)  # taken off for each execution of a right trajectory
    overlong: float = option(0.0, at_least=0)  # taken off, at most, in the last overlong_tokens
    overlong_tokens: int | None = option(None, at_least=1)  # None: a fifth of rollout.max_tokens
    grade_seconds: float = option(5.0, above=0)  # a grading that takes longer is killed: not equivalent
    grade_workers: int = option(2, at_least=1)
    lenient: bool = False  # evaluations also count the paper's last-integer rule


@dataclass
class TrainerConfig:
    """The reinforcement learning step (paper: REINFORCE++-baseline, clip-higher, no KL)."""

    steps: int = option(300, at_least=1)  # rollout steps
    batch_size: int = option(2048, at_least=1)  # trajectories per rollout step
    samples_per_prompt: int = option(16, at_least=2)
    minibatches: int = option(2, at_least=1)  # optimizer steps per rollout step
    micro_batch_size: int = option(32, at_least=1)  # trajectories per forward pass
    learning_rate: float = option(1e-6, above=0)
    lr_schedule: str = option("constant", choices=("constant", "linear", "cosine"))
    warmup_steps: int = option(0, at_least=0)  # optimizer steps
    weight_decay: float = option(0.0, at_least=0)
    adam_beta2: float = option(0.999, above=0, below=1)
    max_grad_norm: float = option(1.0, above=0)
    advantage: str = option(
        "reinforce_plus_plus_baseline", choices=("reinforce_plus_plus_baseline", "grpo", "dr_grpo", "rloo")
    )  # src/trainer/advantages.py
    # dapo: the mean over policy tokens
    loss_type: str = option("dapo", choices=("dapo", "grpo", "bnpo", "dr_grpo"))
    clip_low: float = option(0.2, above=0, below=1)
    clip_high: float = option(0.28, above=0)
    dual_clip: float | None = option(3.0, above=1)
    kl: float = option(0.0, at_least=0)
    entropy: float = option(0.0, at_least=0)  # bonus: taken off the loss, times the mean entropy
    # trajectories that ended so are not trained on; they stay in the mean of their group
    exclude: list[str] = option([], choices=("void", "length", "budget"))
    dynamic_sampling: int = option(0, at_least=0)  # most rounds that replace groups of equal rewards
    autocast: str | None = option(None, choices=("bfloat16", "float16"))  # what passes are computed in
    gradient_checkpointing: bool = False  # activations are computed again: less memory, a third slower
    rank_timeout: float = option(3600.0, above=0)  # seconds that processes wait for each other
    # engines that keep logprobs only: trainer's over engine's probability of each token, cut off above
    importance_sampling: str = option(
        "token_truncate",
        choices=("token_truncate", "token_mask", "sequence_truncate", "sequence_mask", "none"),
    )
    importance_max: float = option(3.0, above=1)
    max_infrastructure: float = option(0.05, at_least=0, at_most=1)  # share of a step's trajectories
    checkpoint_every: int = option(50, at_least=0)  # rollout steps; 0: only at the end
    keep_checkpoints: int = option(2, at_least=1)
    resume: str | None = None  # a run's folder, or one of its checkpoints; see src/launch/resumption.py
    resume_force: bool = False  # even with other settings than the run has
    seed: int = seed_option(0)


@dataclass
class EvaluateConfig:
    """How a policy is evaluated."""

    phases: list[str] = option(["before", "after"], choices=("before", "after"))  # of a training run
    modes: list[str] = option(["free", "code", "text"], choices=("free", "text", "code"))
    k: int = option(1, at_least=1)  # trajectories per problem
    temperature: float = option(1.0, at_least=0)  # 0: greedy
    top_p: float = option(1.0, above=0, at_most=1)
    budget: int = option(4, at_least=0)
    seed: int = seed_option(1234)
    shard: str | None = None  # I/N: every N-th problem from the I-th on, 0 <= I < N
    resume: bool = False  # go on with the evaluation in the run's folder, if there is one


@dataclass
class RuleConfig:
    """When a metric means trouble; give one of ``above`` and ``below``."""

    name: str = "???"
    metric: str = "???"  # as in metrics.jsonl
    above: float | None = None
    below: float | None = None
    steps: int = option(1, at_least=1)  # in a row
    action: str = option("warn", choices=("warn", "stop"))
    says: str = ""


@dataclass
class AlarmConfig:
    """What is said, or stops the run, while it trains."""

    rules: list[RuleConfig] = field(default_factory=list)


@dataclass
class TrackingConfig:
    """Weights & Biases."""

    mode: str = option("offline", choices=("offline", "online", "none"))
    init_timeout: float = option(30.0, above=0)  # seconds until a run that should be online goes offline
    project: str = "code-integrated-reasoning"
    entity: str | None = None
    name: str | None = None
    tags: list[str] = field(default_factory=list)
    samples: int = option(8, at_least=0)  # sample trajectories per step in the W&B table
