"""A warm start from a pretrained model: from its configuration to the folder of the policy."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from src.config import ModelConfig, WarmStartConfig
from src.config.schema import ConfigError, show
from src.config.warm_start import FROM_SCRATCH
from src.formats.build import build_format
from src.launch.checks import style_and_format
from src.launch.checks.model_files import CONFIG, Notes, write_notes
from src.policy.codec import TokenCodec
from src.policy.loading import load_codec, load_model
from src.policy.prompt_encoder import PromptEncoder
from src.problems.mini.solutions import REPAIR
from src.run import provenance
from src.run.console import console
from src.run.disk import write_json
from src.run.records import SUMMARY
from src.tools import PythonTool
from src.warm_start.corpus import Example, Written
from src.warm_start.examples import batches, choose, encode, epochs, fingerprint, fitting
from src.warm_start.loss import has_plain_head
from src.warm_start.tuning import CHECKPOINT, Curve, Tuning, identity_of

# What may differ between a checkpoint and the process that goes on from it.
_MAY_CHANGE = ("output", "threads", "tune.checkpoint_every", "tune.heldout_every", "tune.head_tokens")
_PARTIAL = ".partial"


def start_from_model(cfg: WarmStartConfig) -> dict[str, Any]:
    """Train the model of ``cfg`` on generated trajectories, save it in ``cfg.output`` and return its summary.

    With the settings of a finished one nothing is done; those of an unfinished one are continued.

    Raises:
        ConfigError: ``output`` holds something else, or the model cannot be prompted as set.
    """
    output = Path(cfg.output)
    earlier = _finished(cfg, output)
    if earlier is not None:
        console.print(f"{output}: is there already, made with these settings")
        return earlier
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    torch.manual_seed(cfg.seed)
    model_cfg, codec = _settled(cfg)
    form = build_format(cfg.format, [PythonTool(None)], codec.tokenizer, model_cfg.prompt_style)
    prompts = PromptEncoder.of(model_cfg, codec.tokenizer, form)
    (texts, train), (_, heldout) = (
        _encoded(part, codec, prompts, cfg.tune.batch_tokens) for part in choose(cfg, form)
    )
    identity = json.dumps(
        _fixed(cfg) | {"trajectories": fingerprint(train), "held-out trajectories": fingerprint(heldout)}
    )
    _refuse_others(output, identity)
    _show(train, texts, codec)
    model = load_model(model_cfg)
    if torch.cuda.is_available():
        model.to("cuda")
    steps = epochs(train, codec.pad_id, cfg.tune.batch_tokens, cfg.tune.epochs, cfg.seed)
    measured = batches(heldout, codec.pad_id, cfg.tune.batch_tokens)
    if not has_plain_head(model, measured[0].to(model.device)):
        raise ConfigError(
            f"model.path={cfg.model.path}: {type(model).__name__} scales or caps the output of its head, "
            "which this training does not; choose another model"
        )
    curve = Tuning(cfg.tune, model, steps, measured, output, identity).run()
    summary = _summary(cfg, model_cfg, texts, train, curve, sum(b.ids.numel() for b in steps))
    notes = Notes(
        model_cfg.prompt_style,
        cfg.format,
        prompt_template=model_cfg.prompt_template,
        **style_and_format.examples_of(model_cfg),
    )
    _write(output, model, codec, notes, summary)
    return summary


def _settled(cfg: WarmStartConfig) -> tuple[ModelConfig, TokenCodec]:
    """Return the model's settings with its prompt style resolved, and its codec."""
    codec = load_codec(cfg.model)
    known = style_and_format.notes(cfg.model)
    asking = style_and_format.known_asking(
        known, None, mini=False, template=codec.tokenizer.chat_template is not None
    )
    faults = style_and_format.faults(cfg.model, asking, "model.")
    if faults:
        raise ConfigError(*faults)
    model = replace(cfg.model, prompt_style=style_and_format.style(cfg.model, asking))
    return style_and_format.extended(model, known), codec


def _encoded(
    texts: list[Written], codec: TokenCodec, prompts: PromptEncoder, batch_tokens: int
) -> tuple[list[Written], list[Example]]:
    """Return the trajectories that fit into a batch, as text and as token ids."""
    examples = [encode(one, codec, prompts) for one in texts]
    fit, kept = fitting(texts, examples, batch_tokens)
    if len(kept) < len(examples):
        console.print(
            f"{len(examples) - len(kept)} of {len(examples)} trajectories have more than "
            f"tune.batch_tokens={batch_tokens} tokens and are left out"
        )
    return fit, kept


def _show(train: list[Example], texts: list[Written], codec: TokenCodec) -> None:
    """Print how much there is to learn, and one trajectory as the model reads it."""
    tokens, learnt = sum(len(one.ids) for one in train), sum(sum(one.mask) for one in train)
    console.print(
        f"{len(train)} trajectories ({_kinds(texts)}), {tokens:,} tokens, {learnt:,} learnt; the first:"
    )
    text = b"".join(map(codec.bytes_of, train[0].ids)).decode(errors="replace")
    console.print(text, style="dim", markup=False, highlight=False)


def _kinds(texts: list[Written]) -> str:
    code = sum(any(segment.author == "tool" for segment in one.segments) for one in texts)
    repaired = sum(
        any(segment.text.startswith(REPAIR) for segment in one.segments if segment.author == "policy")
        for one in texts
    )
    return f"{len(texts) - code} in words, {code} with code, {repaired} of these with a repair"


def _fixed(cfg: WarmStartConfig) -> dict[str, Any]:
    """Return the settings that decide the result, by dotted name."""
    names = _flat(asdict(cfg))
    return {name: value for name, value in names.items() if name not in (*FROM_SCRATCH, *_MAY_CHANGE)}


def _flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        inner = isinstance(value, dict) and key in ("model", "tune", "lora")
        found |= _flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return found


def _finished(cfg: WarmStartConfig, output: Path) -> dict[str, Any] | None:
    """Return the summary of a finished warm start with these settings; None: there is none.

    Raises:
        ConfigError: ``output`` holds another model.
    """
    if not (output / CONFIG).is_file():
        return None
    try:
        summary: dict[str, Any] = json.loads((output / SUMMARY).read_text())
        earlier = summary["fixed"]
    except (OSError, ValueError, KeyError):
        raise ConfigError(f"output={output}: holds another model; choose a new folder") from None
    _same(output, earlier, json.loads(json.dumps(_fixed(cfg))))
    return summary


def _refuse_others(output: Path, identity: str) -> None:
    earlier = identity_of(output)
    if earlier is not None:
        _same(output, json.loads(earlier), json.loads(identity))


def _same(output: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raise ConfigError unless the warm start in ``output`` was made with these settings and trajectories."""
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            raise ConfigError(
                f"output={output}: the warm start there has {name}={show(old.get(name))}, not "
                f"{show(new.get(name))}; choose a new folder, or remove that one"
            )


def _summary(
    cfg: WarmStartConfig,
    model: ModelConfig,
    texts: list[Written],
    train: list[Example],
    curve: Curve,
    padded_tokens: int,
) -> dict[str, Any]:
    tokens = sum(len(one.ids) for one in train)
    return {
        "settings": {
            **asdict(cfg),
            "prompt_style": model.prompt_style,
            "commit": provenance.commit(),
            "torch": torch.__version__,
            "torch_threads": torch.get_num_threads(),
        },
        "fixed": _fixed(cfg),
        "trajectories": {
            "number": len(train),
            "kinds": _kinds(texts),
            "tokens": tokens,
            "learnt_tokens": sum(sum(one.mask) for one in train),
            "padding_fraction": 1 - tokens * cfg.tune.epochs / padded_tokens,
        },
        "steps": curve.step,
        "losses": curve.losses,
        "heldout": [{"step": step, "loss": loss} for step, loss in curve.heldout],
        "train_seconds": curve.seconds,
    }


def _write(
    output: Path, model: PreTrainedModel, codec: TokenCodec, notes: Notes, summary: dict[str, Any]
) -> None:
    """Write the policy's folder; its config.json, which makes it a model, comes last."""
    partial = output / _PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    codec.tokenizer.save_pretrained(partial)
    write_notes(partial, notes)
    write_json(partial / SUMMARY, summary)
    (partial / "README.md").write_text(readme(summary))
    for file in sorted(partial.iterdir(), key=lambda file: file.name == CONFIG):
        file.replace(output / file.name)
    partial.rmdir()
    (output / CHECKPOINT).unlink(missing_ok=True)


def readme(summary: dict[str, Any]) -> str:
    """Return the README of the policy."""
    settings, found = summary["settings"], summary["trajectories"]
    first, last = summary["heldout"][0], summary["heldout"][-1]
    return f"""# A beginner from a pretrained model

Made by `python -m src.warm_start` from `{settings["model"]["path"]}`, seed {settings["seed"]}:
{found["number"]} generated trajectories ({found["kinds"]}),
{found["tokens"]:,} tokens, {found["learnt_tokens"]:,} of them learnt;
{summary["steps"]} steps in {summary["train_seconds"]:.0f} s on {settings["torch_threads"]} threads.
Held-out loss {first["loss"]:.3f} nats per learnt token before, {last["loss"]:.3f} after.
Prompt style {settings["prompt_style"]}; all settings are in summary.json.
The licence is that of the model that it was made from.
"""
