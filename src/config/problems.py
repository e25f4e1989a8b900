"""Where problems and the policy come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from src.config.schema import option, seed_option

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
class LoRAConfig:
    """Low-rank adapters (arXiv 2106.09685) instead of whole weights."""

    rank: int = option(0, at_least=0)  # 0: off, all weights are trained
    alpha: float = option(32.0, above=0)
    dropout: float = option(0.0, at_least=0, below=1)
    targets: list[str] = field(default_factory=lambda: ["all-linear"])  # names of modules


@dataclass
class ModelConfig:
    """Which policy, and how a problem is put to it."""

    path: str = "experiments/mini_base"  # a folder or a hub id
    revision: str | None = None
    dtype: str = option("float32", choices=("float32", "bfloat16", "float16"))  # of the weights
    # auto: as it was trained (src/launch/checks/model_files.py), else its chat template, else plain
    prompt_style: str = option("auto", choices=("auto", "mini", "plain", "chat", "chat_without_thinking"))
    force_prompt_style: bool = False  # ask it otherwise than it was trained to be
    # put in place of max_position_embeddings, and into the rope parameters, of its config.json
    max_positions: int | None = option(None, at_least=1)
    rope: dict[str, Any] | None = None
    lora: LoRAConfig = field(default_factory=LoRAConfig)


@dataclass
class FieldsConfig:
    """Names of the fields of a problem file or data set; ``a.b`` is the field ``b`` of the field ``a``."""

    id: str | None = None  # None: NAME-ROW
    text: str = "problem"  # a text, or a list of chat messages: then what its last user message says
    answer: str = "answer"
    subject: str | None = None
    level: str | None = None
    # a problem that stands inside an instruction begins after the first and ends before the last of these
    after: str | None = None
    before: str | None = None
    # a regular expression whose one group is the answer in a longer text, at its last match; null: what is
    # known (#### 4, \\boxed{4}, The answer is 4), where more than an answer stands there
    answer_pattern: str | None = None
    max_unreadable: float = option(0.01, at_least=0, at_most=1)  # share of answers that cannot be graded


@dataclass
class HubConfig:
    """A data set of the hub."""

    dataset: str | None = None  # its id
    subset: str | None = None
    split: str = "train"  # as the library datasets reads it: train[:500] is a part
    revision: str | None = None  # branch, tag or commit
    fields: FieldsConfig = field(default_factory=FieldsConfig)


@dataclass
class HeldoutConfig(HubConfig):
    """Held-out problems: a benchmark, a data set of the hub, or a file of these fields (heldout_path)."""

    benchmark: str | None = None  # an option of conf/benchmark, or OPTION@FILE to read it from a file
    split: str = "test"
    long_prompts: str = option("refuse", choices=("drop", "refuse"))


@dataclass
class CleanConfig:
    """What is taken out of the training problems: repeated ones, and those of benchmarks."""

    enabled: bool = False
    # options of conf/benchmark, OPTION@FILE, or files; the held-out problems are always among them
    against: list[str] = field(default_factory=list)
    ngram: int = option(13, at_least=1)  # words; benchmark problems of fewer must be the same text
    overlap: float = option(0.4, above=0, at_most=1)  # share of a benchmark problem's n-grams found


@dataclass
class DataConfig(HubConfig):
    """Training and held-out problems; dataset, subset, split, revision and fields are of training."""

    kind: str = option("mini", choices=("mini", "file", "hub"))
    train_size: int = option(4096, at_least=1)  # of a file or data set: at most so many of those kept
    heldout_size: int = option(400, at_least=1)
    seed: int = seed_option(0)
    subjects: list[str] | None = None  # mini only: None is all
    levels: list[int] | None = None
    train_path: str | None = None  # JSON Lines or Parquet; with kind=hub in place of the data set
    heldout_path: str | None = None
    heldout: HeldoutConfig = field(default_factory=HeldoutConfig)
    clean: CleanConfig = field(default_factory=CleanConfig)
    # problems whose prompts have more tokens than rollout.max_prompt_tokens
    long_prompts: str = option("drop", choices=("drop", "refuse"))

    @property
    def heldout_name(self) -> str:
        """What the held-out problems are: ``mini``, a benchmark, a file, or a data set."""
        others = self.heldout.benchmark or self.heldout_path or self.heldout.dataset
        return "mini" if self.kind == "mini" else str(others)


@dataclass
class BenchmarkConfig(HubConfig):
    """What a policy is evaluated on."""

    name: str = "mini"
    kind: str = option("mini", choices=("mini", "hub", "file"))
    long_prompts: str = option("refuse", choices=("drop", "refuse"))
    split: str = "test"
    path: str | None = None  # JSON Lines or Parquet; a benchmark of the hub is then read from there
    size: int | None = option(None, at_least=1)  # at most so many problems, from the top; of mini: how many
    seed: int = seed_option(0)  # mini only, as are subjects and levels
    subjects: list[str] | None = None
    levels: list[int] | None = None
