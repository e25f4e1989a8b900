"""Settings of alarms, records and tracking."""

from __future__ import annotations

from dataclasses import dataclass

from src.config.schema import option


@dataclass
class RuleConfig:
    """When an alarm fires; give either ``above`` or ``below``."""

    name: str = option("???", "name of the rule")
    metric: str = option("???", "a metric of metrics.jsonl, or the dotted path of a function of all metrics")
    above: float | None = option(None, "fires above this")
    below: float | None = option(None, "fires below this")
    steps: int = option(1, "consecutive steps out of bounds before it fires", at_least=1)
    action: str = option("warn", "warn: print the message; stop: end the run", choices=("warn", "stop"))
    message: str = option("", "printed with the alarm")


@dataclass
class AlarmConfig:
    """Alarms during training, which warn or stop the run."""

    rules: list[RuleConfig] = option([], "the rules")


@dataclass
class RecordsConfig:
    """What a training run records beside trajectories.jsonl."""

    tokens: bool = option(
        False,
        "write the tokens of each rollout step with what the loss made of them (author, mask, logprobs, "
        "entropy, ratio, clipping) to tokens/*.parquet in the run's folder; about 5 bytes per token, more if "
        "off-policy or if the engine gives logprobs",
    )
    token_share: float = option(
        1.0,
        "fraction of the trajectories whose tokens are written; always the same ones for a step",
        above=0,
        at_most=1,
    )


@dataclass
class TrackingConfig:
    """Weights & Biases and TensorBoard; console output, records and summary.json are always written."""

    mode: str = option(
        "offline",
        "none: nothing is logged; of W&B, offline: written into the run's folder, for wandb sync; online: "
        "over the network",
        choices=("offline", "online", "none"),
    )
    backends: list[str] = option(
        ["wandb"],
        "wandb: Weights & Biases; tensorboard: event files in the run's folder, without an account; or both",
        choices=("wandb", "tensorboard"),
    )
    init_timeout: float = option(
        30.0,
        "seconds to reach W&B with mode=online; after that the run is logged offline, with a warning",
        above=0,
    )
    project: str = option("code-integrated-reasoning", "W&B project")
    entity: str | None = option(None, "account or team; null: the account's default")
    name: str | None = option(None, "name of the run; null: its overrides, without any its folder")
    group: str | None = option(None, "group of the run; null: the folder of its sweep, if it is in one")
    tags: list[str] = option([], "tags of the run")
    samples: int = option(
        8, "trajectories per step in the table of samples; of src.evaluate, per mode", at_least=0
    )
    artifacts: list[str] = option(
        ["results"],
        "files that a finished run logs as W&B artifacts; results: summary, settings and metrics; "
        "trajectories, tokens: what it recorded; checkpoint: its last one",
        choices=("results", "trajectories", "tokens", "checkpoint"),
    )
