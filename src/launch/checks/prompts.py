"""Checks of the user's own prompts: ``model.prompt_template`` and ``keep_prompt``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from src import config as c
from src.config.schema import show
from src.launch.checks.model_files import NOTES, Notes

_MODES = ("free", "text", "code")
_PLACE = "{problem}"


def training(cfg: c.Config, at: str) -> list[str]:
    """Return the faults of the prompts of a run."""
    more = [mode for one in cfg.evaluate.benchmarks for mode in one.modes or []]
    modes = list(dict.fromkeys([cfg.rollout.mode, *cfg.evaluate.modes, *more]))
    faults = _template(cfg.model, modes, at)
    faults += _kept(cfg.data, f"{at}data.", [cfg.rollout.mode], cfg.data.kind)
    faults += _kept(cfg.data.heldout, f"{at}data.heldout.", cfg.evaluate.modes, cfg.data.kind)
    own = {"data": cfg.data, "data.heldout": cfg.data.heldout}
    faults += _with_examples(cfg, [name for name, part in own.items() if part.keep_prompt], at)
    if cfg.data.keep_prompt and cfg.evaluate.benchmarks and cfg.model.prompt_template is None:
        faults.append(
            f"{at}evaluate.benchmarks={show([one.benchmark for one in cfg.evaluate.benchmarks])}: they would "
            f"get our prompts, but {at}data.keep_prompt=true trains on those of the data file; write these "
            f"as {at}model.prompt_template"
        )
    if cfg.data.keep_prompt and not cfg.data.heldout.keep_prompt and cfg.model.prompt_template is None:
        faults.append(
            f"{at}data.keep_prompt=true: the held-out problems would get our prompts, which the policy never "
            f"sees in training; set {at}data.heldout.keep_prompt=true if their file has such prompts, or "
            f"{at}model.prompt_template"
        )
    return faults


def evaluation(cfg: c.EvaluationConfig, at: str) -> list[str]:
    """Return the faults of the prompts of an evaluation."""
    faults = _template(cfg.model, cfg.evaluate.modes, at)
    faults += _with_examples(cfg, ["benchmark"] if cfg.benchmark.keep_prompt else [], at)
    return faults + _kept(cfg.benchmark, f"{at}benchmark.", cfg.evaluate.modes, cfg.benchmark.kind)


def of_training(cfg: c.Config | c.EvaluationConfig, known: Notes, chosen: str, at: str) -> list[str]:
    """Return why the prompts do not fit the style ``chosen``, or those of the policy's training."""
    model, name = cfg.model, f"{at}model.prompt_template"
    template = model.prompt_template
    if not chosen.startswith("chat"):
        found = [
            f"{name}.{mode}={show(text)}: system and user are turns of a chat, but model.prompt_style is "
            f"{chosen}; give one text, or {at}model.prompt_style=chat"
            for mode, text in (template or {}).items()
            if isinstance(text, dict)
        ]
        if found:
            return found
    if template is None and known.prompt_template is not None and (found := _unknown_modes(cfg, known, at)):
        return found
    if model.examples and chosen == "mini":
        return [
            f"{at}model.examples={model.examples}: prompts of the mini policy have no place for examples; "
            f"leave {at}model.examples=null"
        ]
    if model.force_prompt_style or (isinstance(cfg, c.Config) and cfg.trainer.resume is not None):
        return []
    force = f"override this with {at}model.force_prompt_style=true"
    trained = f"{at}model.path={model.path} was trained"
    if template is not None and known.prompt_style is not None and template != known.prompt_template:
        with_what = "our prompts" if known.prompt_template is None else show(known.prompt_template)
        return [
            f"{name}={show(template)}: {trained} with {with_what} ({NOTES}), and has never seen such "
            f"prompts; leave {name}=null, or {force}"
        ]
    if found := _examples(model, known, at, f"{trained} with", force):
        return found
    group = "data" if isinstance(cfg, c.Config) else "benchmark"
    kept = cfg.data.keep_prompt if isinstance(cfg, c.Config) else cfg.benchmark.keep_prompt
    if known.kept_prompts and template is None and known.prompt_template is None and not kept:
        return [
            f"{at}{group}.keep_prompt=false: {trained} on the prompts of its data file ({NOTES}), and has "
            f"never seen ours; write them as {name}, read such prompts with {at}{group}.keep_prompt=true, "
            f"or {force}"
        ]
    return []


def _unknown_modes(cfg: c.Config | c.EvaluationConfig, known: Notes, at: str) -> list[str]:
    """Return the modes without a prompt, where the prompts are those of the policy's training."""
    if isinstance(cfg, c.EvaluationConfig) and cfg.benchmark.keep_prompt:
        return []
    given = {f"{at}evaluate.modes": cfg.evaluate.modes}
    if isinstance(cfg, c.Config):
        given |= {f"{at}rollout.mode": [cfg.rollout.mode]}
        benchmarks = enumerate(cfg.evaluate.benchmarks)
        given |= {f"{at}evaluate.benchmarks[{index}].modes": one.modes or [] for index, one in benchmarks}
    trained = show(list(known.prompt_template or {}))
    return [
        f"{name}={show(modes)}: {at}model.path={cfg.model.path} was trained with own prompts, for the modes "
        f"{trained} only ({NOTES}); give modes of these, or {at}model.prompt_template for all of them and "
        f"{at}model.force_prompt_style=true"
        for name, modes in given.items()
        if not set(modes) <= set(known.prompt_template or {})
    ]


def _examples(model: c.ModelConfig, known: Notes, at: str, trained: str, force: str) -> list[str]:
    """Return why the examples are not those of the policy's training."""
    given = {"examples": model.examples, "examples_seed": model.examples_seed if model.examples else None}
    was = {"examples": known.examples or 0, "examples_seed": known.examples_seed or 0}
    if known.prompt_style is None:
        return []
    return [
        f"{at}model.{name}={value}: {trained} {was[name]} ({NOTES}); leave {at}model.{name}=null, or {force}"
        for name, value in given.items()
        if value is not None and value != was[name]
    ][:1]


def _with_examples(cfg: c.Config | c.EvaluationConfig, kept: list[str], at: str) -> list[str]:
    """Return the faults of examples where problems have their own prompts, which take none."""
    if not cfg.model.examples:
        return []
    return [
        f"{at}model.examples={cfg.model.examples}: with {at}{name}.keep_prompt=true prompts are used as they "
        f"stand; leave {at}model.examples=null"
        for name in kept
    ]


def _kept(cfg: c.HubConfig, at: str, modes: Sequence[str], kind: str) -> list[str]:
    if not cfg.keep_prompt:
        return []
    faults = []
    if kind in c.GENERATED:
        faults.append(f"{at}keep_prompt=true: the {kind} family has no prompts of its own; leave it false")
    if len(modes) > 1:
        faults.append(
            f"{at}keep_prompt=true: prompts would be the same in the modes {show(list(modes))}; give one mode"
        )
    return faults


def _template(cfg: c.ModelConfig, modes: Sequence[str], at: str) -> list[str]:
    """Return unknown and missing modes of a template, and texts without a place for the problem."""
    template, name = cfg.prompt_template, f"{at}model.prompt_template"
    if template is None:
        return []
    faults = [
        f"{name}.{mode}: there is no such mode; the modes are {', '.join(_MODES)}"
        for mode in template
        if mode not in _MODES
    ]
    faults += [
        f"{name}={show(template)}: it has no prompt for the mode {mode}; add {name}.{mode}"
        for mode in modes
        if mode not in template
    ]
    for mode, value in template.items():
        faults += _text(value, f"{name}.{mode}")
    return faults


def _text(value: Any, name: str) -> list[str]:
    user = value
    if isinstance(value, Mapping):
        if set(value) != {"system", "user"} or not isinstance(value["system"], str):
            return [f"{name}={show(value)}: give one text, or {{system: TEXT, user: TEXT}}"]
        user = value["user"]
    if not isinstance(user, str) or user.count(_PLACE) != 1:
        return [f"{name}={show(value)}: {_PLACE} must occur once, where the problem goes"]
    return []
