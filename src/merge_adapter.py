"""``python -m src.merge_adapter model.path=ADAPTER output=FOLDER``: an adapter becomes a whole model."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from src.config.schema import ConfigError, option
from src.launch.checks.policy import ADAPTER, base_of
from src.launch.entry import entry


@dataclass
class AdapterConfig:
    """The adapter to merge."""

    path: str = option("???", "the adapter's folder, such as RUN/checkpoints/step-N")


@dataclass
class MergeAdapterConfig:
    """Settings of the merge; the weights have the base's dtype."""

    model: AdapterConfig = field(default_factory=AdapterConfig)
    output: str = option("???", "a folder that does not exist yet")


def merge(adapter: Path, output: Path) -> None:
    """Write base and adapter, merged, and the tokenizer to ``output``: all of it or nothing.

    Raises:
        ConfigError: ``adapter`` is none, or ``output`` is there already.
    """
    faults = []
    if base_of(str(adapter)) is None:
        faults.append(
            f"model.path={adapter}: no adapter is there ({ADAPTER} is missing); give a folder such as "
            "RUN/checkpoints/step-N of a run with model.lora.rank above 0"
        )
    if output.exists():
        faults.append(f"output={output}: exists already; choose a new folder")
    if faults:
        raise ConfigError(*faults)
    from src.config import ModelConfig
    from src.policy.loading import write_merged

    output.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        write_merged(ModelConfig(path=str(adapter)), partial)
        partial.chmod(0o755)  # mkdtemp keeps others out
        os.rename(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@entry("merge_adapter", MergeAdapterConfig)
def main(cfg: MergeAdapterConfig, run_dir: Path) -> None:
    """Merge, and say where the model is."""
    output = Path(cfg.output).expanduser()
    merge(Path(cfg.model.path).expanduser(), output)
    print(output)


if __name__ == "__main__":
    main()
