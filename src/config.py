"""Typed view of the composed configuration: every key of ``conf/`` is a field here.

A field's type, and through :func:`~src.schema.option` the values that it may take, are checked by
:mod:`src.checks` before anything expensive. This module imports neither torch nor TRL.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from src.schema import option, seed_option

SUBJECTS = (
    "Algebra",
    "Number Theory",
    "Counting & Probability",
    "Prealgebra",
    "Intermediate Algebra",
    "Geometry",
)
LEVELS = (1, 2, 3, 4, 5)


@dataclass
class ModelConfig:
    """Which policy, and how a problem is put to it."""

    path: str = "experiments/mini_base"  # a folder or a hub id
    revision: str | None = None
    dtype: str = option("float32", choices=("float32", "bfloat16", "float16"))
    prompt_style: str = option("mini", choices=("mini", "plain", "chat"))


@dataclass
class FieldsConfig:
    """Names of the fields of a problem file."""

    id: str | None = None  # None: FILE_STEM-ROW
    text: str = "problem"
    answer: str = "answer"
    subject: str | None = None
    level: str | None = None


@dataclass
class DataConfig:
    """Training and held-out problems."""

    kind: str = option("mini", choices=("mini", "file"))
    train_size: int = option(4096, at_least=1)
    heldout_size: int = option(400, at_least=1)
    seed: int = seed_option(0)
    subjects: list[str] | None = None  # mini only: None is all
    levels: list[int] | None = None
    train_path: str | None = None  # file only: JSON Lines or Parquet
    heldout_path: str | None = None
    fields: FieldsConfig = field(default_factory=FieldsConfig)


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
    boundary: str = option("fence", choices=("fence", "post_hoc", "stop_string"))  # src/rollout/stopping.py
    mask: str = option("exact", choices=("exact", "none"))  # none: feedback is trained on too
    over_budget: str = option("continue", choices=("continue", "stop", "notice"))
    feedback_chars: int = option(400, at_least=16)
    max_live: int = option(4096, at_least=1)  # trajectories on their way at once
    max_seconds: float | None = option(None, above=0)  # then what is live ends as length


@dataclass
class DockerConfig:
    """The container of a worker; for ``sandbox.jail=docker``."""

    image: str = "cir-sandbox"  # made by make sandbox-image
    runtime: str | None = None  # None: the daemon's default; runsc: gVisor


@dataclass
class RayConfig:
    """Workers as actors of a Ray cluster; for ``sandbox.backend=ray``."""

    address: str = "auto"  # auto: the cluster that this machine belongs to; local: one of its own
    cpus_per_worker: float = option(1.0, above=0)  # a share of one, or a whole number


@dataclass
class SandboxFusionConfig:
    """A SandboxFusion service; for ``sandbox.backend=sandbox_fusion``."""

    url: str | None = None  # say, http://localhost:8080; its /run_code is called
    retries: int = option(3, at_least=0)  # of one request, when the service is busy or out of reach
    pause_seconds: float = option(0.5, above=0)  # before the first of them; doubles, with jitter


@dataclass
class SandboxConfig:
    """Where model-written code runs, and its limits per execution."""

    backend: str = option("local", choices=("local", "ray", "sandbox_fusion"))
    jail: str = option("auto", choices=("auto", "bubblewrap", "sandlock", "docker", "unconfined"))
    workers: int = option(0, at_least=0)  # 0: one per core
    state: str = option("fresh", choices=("fresh", "replay", "session"))
    # sets of src/sandbox/warm_up.py
    warm: list[str] = option(["numpy", "sympy"], choices=("numpy", "sympy", "scipy"))
    waiting: int = option(2, at_least=0)  # children forked ahead, per worker
    sessions: int = option(64, at_least=1)  # state=session: the most that live at once, per worker
    wall_seconds: float = option(5.0, above=0)
    cpu_seconds: float = option(5.0, above=0)
    trajectory_seconds: float = option(60.0, above=0)  # state other than fresh: of all its programs
    memory_mb: int = option(512, at_least=64)
    processes: int = option(16, at_least=1)
    file_mb: float = option(1.0, above=0)
    output_kb: int = option(64, at_least=1)
    queue: int = option(100_000, at_least=1)  # programs that may wait; then submit does
    deadline_seconds: float = option(600.0, above=0)  # of one execution, with its time in the queue
    start_seconds: float = option(60.0, above=0)  # a worker that is not ready by then has failed
    docker: DockerConfig = field(default_factory=DockerConfig)
    ray: RayConfig = field(default_factory=RayConfig)
    sandbox_fusion: SandboxFusionConfig = field(default_factory=SandboxFusionConfig)


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
class BenchmarkConfig:
    """What a policy is evaluated on."""

    name: str = "mini"
    kind: str = option("mini", choices=("mini", "hub", "file"))
    dataset: str | None = None  # hub only: its id
    subset: str | None = None
    split: str = "test"
    revision: str | None = None  # branch, tag or commit
    path: str | None = None  # JSON Lines or Parquet; a benchmark of the hub is then read from there
    fields: FieldsConfig = field(default_factory=FieldsConfig)
    size: int | None = option(None, at_least=1)  # at most so many problems, from the top; of mini: how many
    seed: int = seed_option(0)  # mini only, as are subjects and levels
    subjects: list[str] | None = None
    levels: list[int] | None = None


@dataclass
class RewardConfig:
    """Reward terms and how answers are graded."""

    correct: float = 1.0
    wrong: float = -1.0
    executability: float = option(0.0, at_least=0)  # taken off if any execution failed
    answered: float = option(0.0, at_least=0)  # for an answer in a box
    tool_cost: float = option(0.0, at_least=0)  # taken off for each execution of a right trajectory
    overlong: float = option(0.0, at_least=0)  # taken off, at most, in the last overlong_tokens
    overlong_tokens: int = option(512, at_least=1)
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
    )  # src/advantages.py
    # dapo: the mean over policy tokens
    loss_type: str = option("dapo", choices=("dapo", "grpo", "bnpo", "dr_grpo"))
    clip_low: float = option(0.2, above=0, below=1)
    clip_high: float = option(0.28, above=0)
    dual_clip: float | None = option(3.0, above=1)
    kl: float = option(0.0, at_least=0)
    # engines that keep logprobs only: trainer's over engine's probability of each token, cut off above
    importance_sampling: str = option(
        "token_truncate",
        choices=("token_truncate", "token_mask", "sequence_truncate", "sequence_mask", "none"),
    )
    importance_max: float = option(3.0, above=1)
    max_infrastructure: float = option(0.05, at_least=0, at_most=1)  # share of a step's trajectories
    checkpoint_every: int = option(50, at_least=0)  # rollout steps; 0: only at the end
    keep_checkpoints: int = option(2, at_least=1)
    resume: str | None = None
    seed: int = seed_option(0)


@dataclass
class EvaluateConfig:
    """How a policy is evaluated."""

    modes: list[str] = option(["free", "code", "text"], choices=("free", "text", "code"))
    k: int = option(1, at_least=1)  # trajectories per problem
    temperature: float = option(1.0, at_least=0)  # 0: greedy
    top_p: float = option(1.0, above=0, at_most=1)
    budget: int = option(4, at_least=0)
    seed: int = seed_option(1234)
    shard: str | None = None  # I/N: every N-th problem from the I-th on, 0 <= I < N
    resume: bool = False  # go on with the evaluation in the run's folder, if there is one


@dataclass
class TrackingConfig:
    """Weights & Biases."""

    mode: str = option("offline", choices=("offline", "online", "none"))
    project: str = "code-integrated-reasoning"
    entity: str | None = None
    name: str | None = None
    tags: list[str] = field(default_factory=list)
    samples: int = option(8, at_least=0)  # sample trajectories per step in the W&B table


@dataclass
class Config:
    """A whole run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class EvaluationConfig:
    """``python -m src.evaluate``."""

    model: ModelConfig = field(default_factory=ModelConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)


@dataclass
class ExecuteConfig:
    """``python -m src.sandbox``."""

    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
