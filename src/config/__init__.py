"""Every setting: its default, type, range and meaning, as a field here and nowhere else.

``conf/`` contains only changes to these defaults. :mod:`src.config.composition` composes them and
:mod:`src.launch.checks` checks the result before anything expensive starts. Imports neither torch nor TRL.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from src.config.hardware import HardwareConfig
from src.config.named import named_benchmark
from src.config.problems import (
    GENERATED,
    LEVELS,
    SUBJECTS,
    WORDED_SPLITS,
    BenchmarkConfig,
    CleanConfig,
    DataConfig,
    FieldsConfig,
    HeldoutConfig,
    HubConfig,
    LoRAConfig,
    ModelConfig,
)
from src.config.regrade import RegradeConfig
from src.config.replay import ReplayConfig
from src.config.reporting import AlarmConfig, RecordsConfig, RuleConfig, TrackingConfig
from src.config.rollout import EngineConfig, RolloutConfig, VLLMConfig, VLLMServerConfig
from src.config.sandbox import DockerConfig, RayConfig, SandboxConfig, SandboxFusionConfig
from src.config.schema import option
from src.config.tools import format_option, tools_option
from src.config.training import (
    CurriculumConfig,
    EvaluateConfig,
    PeriodicBenchmarkConfig,
    RewardConfig,
    StageConfig,
    TrainerConfig,
)
from src.config.warm_start import StartModelConfig, TuneConfig, WarmStartConfig

__all__ = [
    "GENERATED",
    "LEVELS",
    "SUBJECTS",
    "WORDED_SPLITS",
    "AlarmConfig",
    "BenchmarkConfig",
    "CleanConfig",
    "Config",
    "CurriculumConfig",
    "DataConfig",
    "DockerConfig",
    "EngineConfig",
    "EvaluateConfig",
    "EvaluationConfig",
    "ExecuteConfig",
    "FieldsConfig",
    "HardwareConfig",
    "HeldoutConfig",
    "HubConfig",
    "LoRAConfig",
    "ModelConfig",
    "PeriodicBenchmarkConfig",
    "RayConfig",
    "RecordsConfig",
    "RegradeConfig",
    "ReplayConfig",
    "RewardConfig",
    "RolloutConfig",
    "RuleConfig",
    "SandboxConfig",
    "SandboxFusionConfig",
    "StageConfig",
    "StartModelConfig",
    "TrackingConfig",
    "TrainerConfig",
    "TuneConfig",
    "VLLMConfig",
    "VLLMServerConfig",
    "WarmStartConfig",
    "named_benchmark",
]


@dataclass
class Config:
    """``python -m src.train``."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    tools: dict[str, Any] = tools_option()
    format: dict[str, Any] = format_option()
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    alarm: AlarmConfig = field(default_factory=AlarmConfig)
    records: RecordsConfig = field(default_factory=RecordsConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    estimate: bool = option(False, "print the memory and time that the run would need, and exit")


@dataclass
class EvaluationConfig:
    """``python -m src.evaluate``."""

    model: ModelConfig = field(default_factory=ModelConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    tools: dict[str, Any] = tools_option()
    format: dict[str, Any] = format_option()
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class ExecuteConfig:
    """``python -m src.sandbox``."""

    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
