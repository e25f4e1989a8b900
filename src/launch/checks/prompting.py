"""Whether a policy is asked as it was trained to be, and about what fits into its positions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from src import config as c
from src.launch.checks.model_files import CONFIG as MODEL_CONFIG
from src.launch.checks.model_files import NOTES, Notes, find, has_template, is_mini, notes_of, resumed_model
from src.launch.checks.policy import base_of
from src.launch.checks.positions import faults as positions_faults

AUTO = "auto"


@dataclass(frozen=True)
class Asking:
    """What is known of how a policy can be asked.

    Attributes:
        trained: the style it was trained with; None: with none of ours.
        said_by: what says so.
        template: whether its tokenizer has a chat template; None: not known.
    """

    trained: str | None
    said_by: str
    template: bool | None


def notes(cfg: c.ModelConfig, resume: str | None = None) -> Notes:
    """Return what is known of the policy: of the run that is resumed, its folder, or its adapter's base."""
    earlier = resumed_model(resume)
    if earlier is not None:
        return Notes(
            None if earlier.get("prompt_style") == AUTO else earlier.get("prompt_style"),
            earlier.get("max_positions"),
            earlier.get("rope"),
        )
    own, base = notes_of(cfg.path, cfg.revision), base_of(cfg.path)
    if base is None or own.prompt_style is not None:
        return own
    return replace(own, prompt_style=notes_of(base.path, base.revision).prompt_style)


def extended(cfg: c.ModelConfig, known: Notes) -> c.ModelConfig:
    """Return ``cfg`` with the positions that it leaves open as they are known."""
    return replace(
        cfg,
        max_positions=known.max_positions if cfg.max_positions is None else cfg.max_positions,
        rope=known.rope if cfg.rope is None else cfg.rope,
    )


def asking(cfg: c.ModelConfig, known: Notes, resume: str | None) -> Asking | None:
    """Return what files on this machine say; None: the model is not here yet."""
    base = base_of(cfg.path)
    path, revision = (cfg.path, cfg.revision) if base is None else (base.path, base.revision)
    if not path or find(path, MODEL_CONFIG, revision) is None:
        return None
    template = has_template(cfg.path, cfg.revision)
    if template is None and base is not None:
        template = has_template(path, revision)
    return known_asking(known, resume, mini=is_mini(path, revision), template=template)


def known_asking(known: Notes, resume: str | None, *, mini: bool, template: bool | None) -> Asking:
    """Return it from the notes, and of what is older than they from its tokenizer."""
    if known.prompt_style is not None:
        said_by = NOTES if resume is None else f"trainer.resume={resume}"
        return Asking(known.prompt_style, said_by, template)
    return Asking("mini" if mini else None, "its tokenizer", template)


def style(cfg: c.ModelConfig, known: Asking) -> str:
    """Return the style that ``cfg`` means: its own, else the trained one, else the template's, else plain."""
    if cfg.prompt_style != AUTO:
        return cfg.prompt_style
    return known.trained or ("chat" if known.template else "plain")


def faults(cfg: c.ModelConfig, known: Asking | None, at: str) -> list[str]:
    """Return why the policy cannot be asked in the style of ``cfg``; ``at`` is its dotted name."""
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
    force = f"or ask it so nevertheless by {at}force_prompt_style=true"
    if known.trained is not None:
        return [
            f"{shown}: {at}path={cfg.path} was trained with {known.trained} ({known.said_by}), and would "
            f"read prompts that it never saw; leave {at}prompt_style=auto, {force}"
        ]
    if chosen == "mini":
        return [
            f"{shown}: {at}path={cfg.path} is not of the mini family, which alone was trained with it; "
            f"leave {at}prompt_style=auto, {force}"
        ]
    return []


def run(cfg: c.Config | c.EvaluationConfig, resume: str | None, at: str) -> list[str]:
    """Return what the policy's files, where they are on this machine, have against a run or an evaluation."""
    known = notes(cfg.model, resume)
    found = faults(cfg.model, asking(cfg.model, known, resume), f"{at}model.")
    return found + positions_faults(cfg, extended(cfg.model, known), at)
