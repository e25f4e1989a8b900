"""Checks that prompt style, format and context length are those that the policy was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from src import config as c
from src.config.schema import show
from src.launch.checks import prompts
from src.launch.checks.model_files import CONFIG as MODEL_CONFIG
from src.launch.checks.model_files import NOTES, Notes, find, has_template, is_mini, notes_of, resumed_config
from src.launch.checks.policy import base_of, weights_of
from src.launch.checks.positions import faults as positions_faults

AUTO = "auto"
_TARGET = "_target_"
_FENCE = {_TARGET: "src.formats.FenceFormat"}
_OURS = "src.formats."


@dataclass(frozen=True)
class PromptInfo:
    """How a policy can be prompted.

    Attributes:
        trained: the prompt style it was trained with; None: unknown.
        source: where this comes from.
        template: whether its tokenizer has a chat template; None: unknown.
    """

    trained: str | None
    source: str
    template: bool | None


def notes(cfg: c.ModelConfig, resume: str | None = None) -> Notes:
    """Return the notes on the policy, from the resumed run, its folder, or its adapter's base."""
    earlier = resumed_config(resume)
    if earlier is not None:
        model, form = earlier["model"], earlier.get("format") or _FENCE  # of runs older than formats
        return Notes(
            None if model.get("prompt_style") == AUTO else model.get("prompt_style"),
            form if form.get(_TARGET) != AUTO else None,
            model.get("max_positions"),
            model.get("rope"),
            model.get("prompt_template"),
            (earlier.get("data") or {}).get("keep_prompt") or None,
            examples=model.get("examples") or None,
            examples_seed=model.get("examples_seed"),
        )
    own, base = notes_of(cfg.path, cfg.revision), base_of(cfg.path)
    return own if base is None else completed(own, notes_of(base.path, base.revision))


def completed(own: Notes, base: Notes) -> Notes:
    """Return the notes of an adapter, completed by those of its base."""
    return replace(
        own,
        prompt_style=base.prompt_style if own.prompt_style is None else own.prompt_style,
        format=base.format if own.format is None else own.format,
        # an adapter with a style was trained here, and its notes are complete
        prompt_template=base.prompt_template if own.prompt_style is None else own.prompt_template,
        kept_prompts=base.kept_prompts if own.prompt_style is None else own.kept_prompts,
        dtype=base.dtype if own.dtype is None else own.dtype,
        examples=base.examples if own.prompt_style is None else own.examples,
        examples_seed=base.examples_seed if own.prompt_style is None else own.examples_seed,
    )


def extended(cfg: c.ModelConfig, known: Notes) -> c.ModelConfig:
    """Return ``cfg`` with unset prompts, examples, ``max_positions`` and ``rope`` taken from the notes."""
    examples = known.examples if cfg.examples is None else cfg.examples
    seed = known.examples_seed if cfg.examples_seed is None else cfg.examples_seed
    return replace(
        cfg,
        examples=examples or 0,
        examples_seed=seed or 0,
        prompt_template=known.prompt_template if cfg.prompt_template is None else cfg.prompt_template,
        max_positions=known.max_positions if cfg.max_positions is None else cfg.max_positions,
        rope=known.rope if cfg.rope is None else cfg.rope,
    )


def examples_of(cfg: c.ModelConfig) -> dict[str, Any]:
    """Return what the notes of a policy trained with ``cfg`` say of its examples."""
    return {"examples": cfg.examples, "examples_seed": cfg.examples_seed or 0} if cfg.examples else {}


def asking(cfg: c.ModelConfig, known: Notes, resume: str | None) -> PromptInfo | None:
    """Return the prompt info from files on this machine; None: the model is not downloaded yet."""
    path, revision = weights_of(cfg)
    if not path or find(path, MODEL_CONFIG, revision) is None:
        return None
    template = has_template(cfg.path, cfg.revision)
    if template is None:
        template = has_template(path, revision)
    return known_asking(known, resume, mini=is_mini(path, revision), template=template)


def known_asking(known: Notes, resume: str | None, *, mini: bool, template: bool | None) -> PromptInfo:
    """Return the prompt info from the notes or, without notes, from the tokenizer."""
    if known.prompt_style is not None:
        source = NOTES if resume is None else f"trainer.resume={resume}"
        return PromptInfo(known.prompt_style, source, template)
    return PromptInfo("mini" if mini else None, "its tokenizer", template)


def style(cfg: c.ModelConfig, known: PromptInfo) -> str:
    """Return the style of ``cfg``: its own, else that of training, else the chat template, else plain."""
    if cfg.prompt_style != AUTO:
        return cfg.prompt_style
    return known.trained or ("chat" if known.template else "plain")


def format_of(chosen: Mapping[str, Any], known: Notes) -> dict[str, Any]:
    """Return the group ``format`` to use: the chosen one, else that of training, else ``fence``."""
    return dict(chosen) if chosen.get(_TARGET) != AUTO else dict(known.format or _FENCE)


def format_faults(cfg: c.Config | c.EvaluationConfig, known: Notes, at: str) -> list[str]:
    """Return why the policy cannot be used in the format of ``cfg``; ``at`` is the prefix of dotted names."""
    trained, name = known.format, f"{at}format"
    if trained is None or (isinstance(cfg, c.Config) and cfg.trainer.resume is not None):
        return []  # for a resumed run, src/launch/resumption.py compares it
    policy = f"{at}model.path={cfg.model.path} was trained with format {show(trained)} ({NOTES})"
    if cfg.format.get(_TARGET) == AUTO:
        if trained[_TARGET].startswith(_OURS):
            return []
        # a downloaded file must not decide what is imported
        return [f"{name}=auto: {policy}, which is not part of this project; set {name} in the configuration"]
    if cfg.format == trained or cfg.model.force_prompt_style:
        return []
    return [
        f"{name}={show(cfg.format)}: {policy}, and has never seen prompts and calls like these; leave "
        f"{name}=auto, or override this with {at}model.force_prompt_style=true"
    ]


def faults(cfg: c.ModelConfig, known: PromptInfo | None, at: str) -> list[str]:
    """Return why the policy cannot be prompted in the style of ``cfg``; ``at`` is its dotted name."""
    if known is None:
        return []
    chosen = style(cfg, known)
    shown = f"{at}prompt_style={chosen}"
    if chosen.startswith("chat") and known.template is False:
        return [
            f"{shown}: the tokenizer of {at}path={cfg.path} has no chat template; give "
            f"{at}prompt_style=plain, or a tokenizer with one"
        ]
    if cfg.force_prompt_style or chosen == known.trained:
        return []
    force = f"or override this with {at}force_prompt_style=true"
    if known.trained is not None:
        return [
            f"{shown}: {at}path={cfg.path} was trained with {known.trained} ({known.source}), and has never "
            f"seen such prompts; leave {at}prompt_style=auto, {force}"
        ]
    if chosen == "mini":
        return [
            f"{shown}: {at}path={cfg.path} is not of the mini family, the only one trained with it; "
            f"leave {at}prompt_style=auto, {force}"
        ]
    return []


def run(cfg: c.Config | c.EvaluationConfig, resume: str | None, at: str) -> list[str]:
    """Return the faults of a run or an evaluation given the policy's files on this machine."""
    known = notes(cfg.model, resume)
    info = asking(cfg.model, known, resume)
    found = faults(cfg.model, info, f"{at}model.")
    if info is not None:
        found += prompts.of_training(cfg, known, style(cfg.model, info), at)
    return found + format_faults(cfg, known, at) + positions_faults(cfg, extended(cfg.model, known), at)
