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

    rank: int = option(0, "of the adapters; 0: off, all weights are trained", at_least=0)
    alpha: float = option(32.0, "the adapters' product is scaled by alpha over rank", above=0)
    dropout: float = option(0.0, "of the adapters' inputs", at_least=0, below=1)
    targets: list[str] = option(["all-linear"], "names of modules that get adapters")


@dataclass
class ModelConfig:
    """Which policy, and how a problem is put to it."""

    path: str = option("experiments/mini_base", "a folder or a hub id")
    revision: str | None = option(None, "branch, tag or commit of the hub; null: the newest")
    dtype: str = option(
        "float32",
        "of the weights; what passes are computed in is trainer.autocast",
        choices=("float32", "bfloat16", "float16"),
    )
    prompt_style: str = option(
        "auto",
        "auto: as the policy was trained, else its chat template, else plain",
        choices=("auto", "mini", "plain", "chat", "chat_without_thinking"),
    )
    force_prompt_style: bool = option(
        False, "use the policy in another prompt style, or format, than it was trained in"
    )
    max_positions: int | None = option(
        None, "in place of max_position_embeddings of its config.json; null: as that says", at_least=1
    )
    rope: dict[str, Any] | None = option(
        None, "put into its rope parameters, such as {rope_type: yarn, factor: 4.0}; null: nothing"
    )
    lora: LoRAConfig = field(default_factory=LoRAConfig)


@dataclass
class FieldsConfig:
    """Names of the fields of a problem file or data set; ``a.b`` is the field ``b`` of the field ``a``."""

    id: str | None = option(None, "null: NAME-ROW")
    text: str = option("problem", "a text, or a list of chat messages: then what its last user message says")
    answer: str = option("answer", "the gold answer, or a text that holds it")
    subject: str | None = option(None, "null: unknown")
    level: str | None = option(None, "null: unknown")
    after: str | None = option(
        None, "a problem inside an instruction begins after the first of this text; null: at once"
    )
    before: str | None = option(None, "and ends before the last of this text; null: at the end")
    answer_pattern: str | None = option(
        None,
        "a regular expression whose one group is the answer in a longer text, at its last match; null: what "
        "is known (#### 4, \\boxed{4}, The answer is 4), where more than an answer stands there",
    )
    max_unreadable: float = option(
        0.01, "share of answers that may be such that nothing equals them", at_least=0, at_most=1
    )


@dataclass
class HubConfig:
    """A data set of the hub."""

    dataset: str | None = option(None, "its id, OWNER/NAME")
    subset: str | None = option(None, "null: the data set's default")
    split: str = option("train", "as the library datasets reads it: train[:500] is a part")
    revision: str | None = option(None, "branch, tag or commit; null: the newest")
    fields: FieldsConfig = field(default_factory=FieldsConfig)


@dataclass
class HeldoutConfig(HubConfig):
    """Held-out problems: a benchmark, a data set of the hub, or a file of these fields (heldout_path)."""

    benchmark: str | None = option(None, "an option of conf/benchmark, or OPTION@FILE to read it from a file")
    split: str = option("test", "as the library datasets reads it")
    long_prompts: str = option(
        "refuse",
        "what becomes of problems whose prompts have more tokens than rollout.max_prompt_tokens",
        choices=("drop", "refuse"),
    )


@dataclass
class CleanConfig:
    """What is taken out of the training problems: repeated ones, and those of benchmarks."""

    enabled: bool = option(False, "whether anything is taken out")
    against: list[str] = option(
        [], "options of conf/benchmark, OPTION@FILE, or files; the held-out problems are always among them"
    )
    ngram: int = option(13, "words; benchmark problems of fewer must be the same text", at_least=1)
    overlap: float = option(
        0.4, "share of a benchmark problem's n-grams in a training problem", above=0, at_most=1
    )


@dataclass
class DataConfig(HubConfig):
    """Training and held-out problems; dataset, subset, split, revision and fields are of training."""

    kind: str = option(
        "mini",
        "mini: generated; file: JSON Lines or Parquet; hub: a data set of the hub",
        choices=("mini", "file", "hub"),
    )
    train_size: int = option(
        4096, "problems; of a file or data set: at most so many of those kept, from the top", at_least=1
    )
    heldout_size: int = option(400, "held-out problems, likewise", at_least=1)
    seed: int = seed_option(0, "of the mini family's problems")
    subjects: list[str] | None = option(None, "mini only; null: all six")
    levels: list[int] | None = option(None, "mini only; null: 1 to 5")
    train_path: str | None = option(None, "the file of kind=file; with kind=hub in place of the data set")
    heldout_path: str | None = option(None, "a file, in place of heldout.benchmark and heldout.dataset")
    heldout: HeldoutConfig = field(default_factory=HeldoutConfig)
    clean: CleanConfig = field(default_factory=CleanConfig)
    long_prompts: str = option(
        "drop",
        "what becomes of training problems whose prompts have more tokens than rollout.max_prompt_tokens",
        choices=("drop", "refuse"),
    )

    @property
    def heldout_name(self) -> str:
        """What the held-out problems are: ``mini``, a benchmark, a file, or a data set."""
        others = self.heldout.benchmark or self.heldout_path or self.heldout.dataset
        return "mini" if self.kind == "mini" else str(others)


@dataclass
class BenchmarkConfig(HubConfig):
    """What a policy is evaluated on."""

    name: str = option("mini", "in tables")
    kind: str = option(
        "mini",
        "mini: generated; file: JSON Lines or Parquet; hub: a data set of the hub",
        choices=("mini", "hub", "file"),
    )
    long_prompts: str = option(
        "refuse",
        "what becomes of problems whose prompts have more tokens than rollout.max_prompt_tokens",
        choices=("drop", "refuse"),
    )
    split: str = option("test", "as the library datasets reads it")
    path: str | None = option(None, "the file of kind=file; a benchmark of the hub is then read from there")
    size: int | None = option(
        None, "at most so many problems, from the top; of mini: how many; null: all", at_least=1
    )
    seed: int = seed_option(0, "of the mini family's problems")
    subjects: list[str] | None = option(None, "mini only; null: all six")
    levels: list[int] | None = option(None, "mini only; null: 1 to 5")
