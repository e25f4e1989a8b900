"""The models that a suite of models measures: options of conf/model, folders and hub ids, with names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.reproduce.names import text
from src.config.paths import CONF
from src.config.schema import ConfigError, wrong_choice
from src.launch.checks.model_files import CONFIG, find

_NAME = r"[A-Za-z0-9][\w.+-]*"


@dataclass(frozen=True)
class GivenModel:
    """A model, its name in tables and folders, and the setting that gives it, for messages."""

    name: str
    model: str
    setting: str

    @property
    def overrides(self) -> tuple[str, ...]:
        """The overrides of ``src.evaluate`` that choose it."""
        return (f"model={self.model}",) if self.model in _options() else (f"model.path={text(self.model)}",)


def given_models(models: Sequence[str] | Mapping[str, str]) -> list[GivenModel]:
    """Return the given models in order.

    Raises:
        ConfigError: there are none; two have one name; or one is neither an option nor a folder, and no hub
            id. Names setting, value and remedy of all faults at once.
    """
    if isinstance(models, Mapping):
        found = [GivenModel(name, model, f"models.{name}") for name, model in models.items()]
    else:
        found = [GivenModel(name_of(one), one, f"models[{index}]") for index, one in enumerate(models)]
    if not found:
        raise ConfigError(
            "models=[]: a suite of models needs one; give models=[BASE,TRAINED], options of conf/model, "
            "folders or hub ids"
        )
    faults = [fault for one in found for fault in faults_of(one)]
    names = [one.name for one in found]
    faults += [
        f"models: several would have the name {name}; name them: models='{{base: MODEL, trained: MODEL}}'"
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if faults:
        raise ConfigError(*faults)
    return found


def name_of(model: str) -> str:
    """Return the name of a model: its last part or, for a checkpoint, those of its run and step."""
    parts = [part for part in Path(model).expanduser().parts if part not in ("/", ".", "..")]
    if len(parts) > 2 and parts[-2] == "checkpoints":
        parts = [f"{parts[-3]}-{parts[-1]}"]
    return re.sub(r"[^\w.+-]+", "-", parts[-1] if parts else "").strip("-") or "model"


def faults_of(one: GivenModel) -> list[str]:
    """Return why a model cannot be what it is called; whether a folder has a model is checked elsewhere."""
    faults = []
    if not re.fullmatch(_NAME, one.name, re.ASCII):
        faults.append(
            f"{one.setting}: {one.name} is no name for a folder; take letters, digits, ., _, + and -"
        )
    path = Path(one.model).expanduser()
    if one.model not in _options() and len(path.parts) < 2 and not path.is_dir():
        others = [*_options(), "a folder", "a hub id OWNER/NAME"]
        faults.append(wrong_choice(one.setting, one.model, others))
    return faults


def download_config(one: GivenModel, path: str, revision: str | None) -> list[str]:
    """Download the ``config.json`` of a hub model, by which its positions are checked.

    Args:
        one: the model.
        path: its folder or hub id.
        revision: on the hub.

    Returns:
        why it cannot be had; empty if it can.
    """
    if Path(path).expanduser().exists() or find(path, CONFIG, revision) is not None:
        return []
    from huggingface_hub import hf_hub_download

    try:
        hf_hub_download(path, CONFIG, revision=revision)
    except Exception as error:  # network and hub raise various exceptions
        reason = " ".join(str(error).split())[:200]
        return [
            f"{one.setting}={one.model}: its {CONFIG} cannot be had from the hub ({type(error).__name__}: "
            f"{reason}); correct the id, log in to the hub, or give a folder"
        ]
    return []


def _options() -> list[str]:
    return sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
