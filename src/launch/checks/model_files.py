"""Reads the files of a model as JSON, without importing transformers or downloading anything.

Beside the ``config.json`` of every policy that the project writes is a ``cir.json``: the prompt style and the
format of calls that the policy was trained with and, for an adapter, the context length of its base, since an
adapter has no ``config.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from src.config.schema import ConfigError
from src.launch import resumption
from src.run import checkpoints

CONFIG, TOKENIZER, NOTES = "config.json", "tokenizer_config.json", "cir.json"
STYLES = ("mini", "plain", "chat", "chat_without_thinking")
MINI_PAD, MINI_END = "<|pad|>", "<|end|>"  # the tokens 0 and 1 of every mini policy
_TEMPLATES = ("chat_template.jinja", "chat_template.json")


@dataclass(frozen=True)
class Notes:
    """Content of a policy's ``cir.json``; None: unknown.

    Attributes:
        prompt_style: prompt style of its training.
        format: group ``format`` of its training.
        max_positions: for an adapter, ``model.max_positions`` of its base.
        rope: for an adapter, ``model.rope`` of its base.
        prompt_template: ``model.prompt_template`` of its training; None: our prompts.
        kept_prompts: whether it was trained on the prompts of its data file (``data.keep_prompt``).
        dtype: that of the engine in its training.
        examples: ``model.examples`` of its training; None: none.
        examples_seed: ``model.examples_seed``, if there were any.
    """

    prompt_style: str | None = None
    format: dict[str, Any] | None = None
    max_positions: int | None = None
    rope: dict[str, Any] | None = None
    prompt_template: dict[str, Any] | None = None
    kept_prompts: bool | None = None
    dtype: str | None = None
    examples: int | None = None
    examples_seed: int | None = None


def write_notes(folder: Path, notes: Notes) -> None:
    """Write ``cir.json`` into a model's folder, unless everything is unknown."""
    known = {name: value for name, value in asdict(notes).items() if value is not None}
    if known:
        (folder / NOTES).write_text(json.dumps(known, indent=2) + "\n")


def read_notes(path: str, file: Path | None) -> Notes:
    """Return the notes in ``file`` on the model ``path``; empty notes without a file.

    Raises:
        ConfigError: the file is damaged, or names an unknown style.
    """
    if file is None:
        return Notes()
    try:
        notes = Notes(**json.loads(file.read_text()))
        if notes.format is not None and not isinstance(notes.format["_target_"], str):
            raise TypeError
    except (ValueError, TypeError, KeyError):
        raise ConfigError(f"model.path={path}: its {NOTES} is damaged; use another checkpoint") from None
    if notes.prompt_style not in (*STYLES, None):
        raise ConfigError(
            f"model.path={path}: its {NOTES} has prompt_style={notes.prompt_style!r}, which is none of "
            f"{', '.join(STYLES)}; use the commit that wrote it"
        )
    return notes


def notes_of(path: str, revision: str | None) -> Notes:
    """Return the notes of a model's folder, or of a hub id in the local cache. Raises ConfigError."""
    return read_notes(path, find(path, NOTES, revision))


def config_of(path: str, revision: str | None) -> dict[str, Any] | None:
    """Return the ``config.json`` of a model's folder, or of a hub id in the local cache; None: not found.

    Raises:
        ConfigError: it is not a JSON object.
    """
    file = find(path, CONFIG, revision)
    if file is None:
        return None
    try:
        return dict(json.loads(file.read_text()))
    except (ValueError, TypeError):
        raise ConfigError(f"model.path={path}: its {CONFIG} is damaged; use another copy") from None


def has_template(path: str, revision: str | None) -> bool | None:
    """Return whether its tokenizer has a chat template; None: no tokenizer found."""
    file = find(path, TOKENIZER, revision)
    if file is None:
        return None
    return "chat_template" in _json(file) or any(find(path, name, revision) for name in _TEMPLATES)


def is_mini(path: str, revision: str | None) -> bool:
    """Return whether its tokenizer is of the mini family, for policies older than ``cir.json``."""
    file, config = find(path, TOKENIZER, revision), find(path, CONFIG, revision)
    if file is None or config is None or has_template(path, revision):
        return False
    tokens, ids = _json(file), _json(config)
    return has_mini_tokens(
        tokens.get("pad_token"), tokens.get("eos_token"), ids.get("pad_token_id"), ids.get("eos_token_id")
    )


def has_mini_tokens(pad: Any, end: Any, pad_id: Any, end_id: Any) -> bool:
    """Return whether the padding and end-of-text tokens are those of the mini family."""
    return (pad, end, pad_id, end_id) == (MINI_PAD, MINI_END, 0, 1)


def find(path: str, name: str, revision: str | None) -> Path | None:
    """Return a file of a model's folder, or of a hub id in the local cache; None: not found."""
    if not path:
        return None
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    from huggingface_hub import try_to_load_from_cache  # the import takes 0.25 s; for hub ids only
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(path, name, revision=revision)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def resumed_config(resume: str | None) -> Mapping[str, Any] | None:
    """Return the recorded configuration of the run that ``trainer.resume`` names; None: there is none."""
    if resume is None:
        return None
    try:
        run = checkpoints.resolve(Path(resume).expanduser()).parent.parent
        config = resumption.read_config(run / CONFIG)
    except (checkpoints.CheckpointError, OSError, ValueError):
        return None  # reported elsewhere
    return config if isinstance(config.get("model"), dict) else None


def _json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text()))
    except (ValueError, TypeError):
        return {}  # transformers reports it when loading
