"""Where problems and the policy come from."""

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
