"""Settings of problems and of the policy."""

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
GENERATED = ("mini", "worded")  # families of problems
WORDED_SPLITS = ("heldout", "heldout_phrasings", "heldout_templates")  # numbers, phrasings, templates are new


@dataclass
class LoRAConfig:
    """Low-rank adapters (arXiv 2106.09685) instead of full weights."""

    rank: int = option(0, "rank of the adapters; 0: off, all weights are trained", at_least=0)
    alpha: float = option(32.0, "the product of the adapter matrices is scaled by alpha / rank", above=0)
    dropout: float = option(0.0, "dropout of the adapters' inputs", at_least=0, below=1)
    targets: list[str] = option(["all-linear"], "names of the modules that get adapters")


@dataclass
class ModelConfig:
    """The policy and its prompts."""

    path: str = option("experiments/mini_base", "a folder or a hub id")
    revision: str | None = option(None, "branch, tag or commit on the hub; null: the default branch")
    dtype: str = option(
        "float32",
        "dtype of the weights; the dtype of forward and backward passes is trainer.autocast. auto, for "
        "evaluation: the one in which the policy was sampled in its training, else that of its config.json",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    prompt_style: str = option(
        "auto",
        "auto: the style that the policy was trained with, else its chat template, else plain text",
        choices=("auto", "mini", "plain", "chat", "chat_without_thinking"),
    )
    force_prompt_style: bool = option(
        False, "use the policy with a prompt style or format other than the one it was trained with"
    )
    prompt_template: dict[str, Any] | None = option(
        None,
        "own prompts, by mode: a text with {problem}, which is the whole prompt or, in the chat styles, the "
        "user's turn; or {system: ..., user: ...}; null: those that the policy was trained with, else ours",
    )
    examples: int | None = option(
        None,
        "worked examples before each problem, with a call and its result: training problems of the mini "
        "family; null: as many as in the policy's training, else none",
        at_least=0,
    )
    examples_seed: int | None = option(
        None, "which examples; null: those of the policy's training, else 0", at_least=0
    )
    max_positions: int | None = option(
        None, "replaces max_position_embeddings of the model's config.json; null: that value", at_least=1
    )
    rope: dict[str, Any] | None = option(
        None, "added to the model's RoPE parameters, such as {rope_type: yarn, factor: 4.0}; null: unchanged"
    )
    lora: LoRAConfig = field(default_factory=LoRAConfig)


@dataclass
class FieldsConfig:
    """Names of the fields of a problem file or data set; ``a.b`` is the field ``b`` of the field ``a``.

    ``auto`` recognises common names (src/problems/fields.py).
    """

    id: str | None = option("auto", "null, and if none is recognised: NAME-ROW")
    text: str = option(
        "auto",
        "the problem (problem, question, ...): a text, or a list of chat messages, whose last user message "
        "counts",
    )
    answer: str = option("auto", "the gold answer (answer, solution, ...), or a text that contains it")
    subject: str | None = option("auto", "null, and if none is recognised: unknown")
    level: str | None = option("auto", "null, and if none is recognised: unknown")
    after: str | None = option(
        None, "a problem inside an instruction begins after the first occurrence of this; null: at the start"
    )
    before: str | None = option(None, "and ends before the last occurrence of this; null: at the end")
    answer_pattern: str | None = option(
        None,
        "a regular expression; the group of its last match is the answer in a longer text; null: the common "
        "forms (#### 4, \\boxed{4}, The answer is 4) are recognised",
    )
    max_unreadable: float = option(
        0.01, "maximum fraction of gold answers that cannot be graded", at_least=0, at_most=1
    )


@dataclass
class HubConfig:
    """A data set of the hub."""

    dataset: str | None = option(None, "id of the data set, OWNER/NAME")
    subset: str | None = option(None, "null: the data set's default")
    split: str = option("train", "split in the syntax of the library datasets, such as train[:500]")
    revision: str | None = option(None, "branch, tag or commit; null: the default branch")
    fields: FieldsConfig = field(default_factory=FieldsConfig)
    keep_prompt: bool = option(
        False,
        "the field fields.text, a text or a list of chat messages, is the prompt as it stands, in every mode",
    )


@dataclass
class HeldoutConfig(HubConfig):
    """Held-out problems: a benchmark, a data set of the hub, or a file of these fields (heldout_path)."""

    benchmark: str | None = option(None, "an option of conf/benchmark, or OPTION@FILE to read it from a file")
    split: str = option("test", "split in the syntax of the library datasets")
    long_prompts: str = option(
        "refuse",
        "what to do with problems whose prompts have more than rollout.max_prompt_tokens tokens",
        choices=("drop", "truncate_left", "refuse"),
    )


@dataclass
class CleanConfig:
    """Deduplication and decontamination of the training problems."""

    enabled: bool = option(False, "whether anything is removed")
    against: list[str] = option(
        [],
        "decontaminate against these: options of conf/benchmark, OPTION@FILE, or files; the held-out "
        "problems are always included",
    )
    ngram: int = option(
        13, "length of an n-gram in words; shorter benchmark problems must match exactly", at_least=1
    )
    overlap: float = option(
        0.4,
        "fraction of a benchmark problem's n-grams in a training problem from which it is removed",
        above=0,
        at_most=1,
    )


@dataclass
class DataConfig(HubConfig):
    """Training and held-out problems; dataset, subset, split, revision and fields describe the former."""

    kind: str = option(
        "mini",
        "mini, worded: generated; file: JSON Lines or Parquet; hub: a data set of the hub",
        choices=("mini", "worded", "file", "hub"),
    )
    train_size: int = option(
        4096,
        "number of training problems; of a file or data set, at most the first that many after cleaning",
        at_least=1,
    )
    heldout_size: int = option(400, "number of held-out problems, likewise", at_least=1)
    seed: int = seed_option(0, "seed of generated problems")
    subjects: list[str] | None = option(None, "generated problems only; null: all six")
    levels: list[int] | None = option(None, "generated problems only; null: 1 to 5")
    train_path: str | None = option(
        None, "the file for kind=file; with kind=hub, read instead of the data set"
    )
    heldout_path: str | None = option(None, "a file, instead of heldout.benchmark and heldout.dataset")
    heldout: HeldoutConfig = field(default_factory=HeldoutConfig)
    clean: CleanConfig = field(default_factory=CleanConfig)
    long_prompts: str = option(
        "drop",
        "what to do with training problems whose prompts have more than rollout.max_prompt_tokens tokens",
        choices=("drop", "truncate_left", "refuse"),
    )

    @property
    def heldout_name(self) -> str:
        """Name of the held-out set: a generated family, a benchmark, a file, or a data set."""
        others = self.heldout.benchmark or self.heldout_path or self.heldout.dataset
        return self.kind if self.kind in GENERATED else str(others)


@dataclass
class BenchmarkConfig(HubConfig):
    """The problems that a policy is evaluated on."""

    name: str = option("mini", "name in tables")
    kind: str = option(
        "mini",
        "mini, worded: generated; file: JSON Lines or Parquet; hub: a data set of the hub",
        choices=("mini", "worded", "hub", "file"),
    )
    long_prompts: str = option(
        "refuse",
        "what to do with problems whose prompts have more than rollout.max_prompt_tokens tokens",
        choices=("drop", "truncate_left", "refuse"),
    )
    split: str = option(
        "test", "split in the syntax of the library datasets; worded: " + ", ".join(WORDED_SPLITS)
    )
    path: str | None = option(None, "the file for kind=file; a benchmark of the hub is read from it instead")
    size: int | None = option(
        None, "number of problems; of a file or data set, at most the first that many; null: all", at_least=1
    )
    seed: int = seed_option(0, "seed of generated problems")
    subjects: list[str] | None = option(None, "generated problems only; null: all six")
    levels: list[int] | None = option(None, "generated problems only; null: 1 to 5")
