"""Trajectories as token ids, exactly as a rollout of the policy would have them, in batches."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from src.config import WarmStartConfig
from src.config.dotted import load
from src.config.schema import ConfigError
from src.formats.base import Format
from src.policy.codec import TokenCodec
from src.policy.prompt_encoder import PromptEncoder
from src.problems.boxes import last_box
from src.rewards.equivalence import equivalent
from src.warm_start.corpus import STREAMS, Batch, Example, Written, padded, written

Source = Callable[..., Iterator[Written]]
_IN_VAIN = 1000  # trajectories in a row of which none is taken


def choose(cfg: WarmStartConfig, form: Format) -> tuple[list[Written], list[Written]]:
    """Return trajectories to train on and others for the held-out loss, of different problems.

    Raises:
        ConfigError: ``tune.source`` does not exist, or does not give that many.
    """
    tune = cfg.tune
    source: Source
    if tune.source in STREAMS:
        source = partial(written, family=tune.source)
    else:
        source = load("tune.source", tune.source)
    wanted = tune.trajectories + tune.heldout
    found: dict[str, Written] = {}
    vain = 0
    for one in source(cfg, form, "tune", tune.levels):
        if one.problem.id not in found and (not tune.correct or is_correct(one)):
            found[one.problem.id] = one
            vain = 0
        else:
            vain += 1
        if len(found) == wanted or vain == _IN_VAIN:
            break
    if len(found) < wanted:
        raise ConfigError(
            f"tune.trajectories={tune.trajectories}, tune.heldout={tune.heldout}: tune.source={tune.source} "
            f"gives no more than {len(found)} different problems; lower them, or give more tune.levels"
        )
    chosen = list(found.values())
    return chosen[: tune.trajectories], chosen[tune.trajectories :]


def is_correct(one: Written) -> bool:
    """Whether the last segment has the right answer in its last box, in any form."""
    last = one.segments[-1]
    boxed, answer = last_box(last.text)
    if last.author != "policy" or not boxed:
        return False
    # in this process: they are simple, and with a time limit the choice would depend on the machine
    return answer == one.problem.answer or equivalent(one.problem.answer, answer)


def encode(one: Written, codec: TokenCodec, prompts: PromptEncoder) -> Example:
    """Return the ids of prompt, segments and end of text; only those of the policy are learnt.

    Segments are tokenized one by one, as in a rollout: no token extends over the end of a call.
    """
    (ids,) = prompts.ids([one.problem], one.mode)
    ids, mask = list(ids), [0] * len(ids)
    form = prompts.form
    for segment in one.segments:
        if segment.author == "policy":
            part = codec.encode(segment.text)
        else:
            pieces = form.render(form.neutralise(segment.text))
            part = [index for piece in pieces for index in codec.encode_piece(piece)]
        ids += part
        mask += [int(segment.author == "policy")] * len(part)
    return Example([*ids, codec.tokenizer.eos_token_id], [*mask, 1])


def batches(
    examples: Sequence[Example], pad_id: int, batch_tokens: int, rng: random.Random | None = None
) -> list[Batch]:
    """Return all examples in batches of at most ``batch_tokens`` tokens; similar lengths are together.

    Args:
        examples: none has more tokens than that.
        pad_id: id of the padding.
        batch_tokens: padding included: number of examples times the length of the longest.
        rng: shuffles; None: in order of length.
    """
    order = list(examples)
    if rng is not None:
        rng.shuffle(order)  # which of the same length are together
    order.sort(key=lambda example: len(example.ids))
    groups: list[list[Example]] = [[]]
    for example in order:  # sorted, so each is the longest so far
        if len(example.ids) * (len(groups[-1]) + 1) > batch_tokens and groups[-1]:
            groups.append([])
        groups[-1].append(example)
    if rng is not None:
        rng.shuffle(groups)
    usual = sum(sum(example.mask) for example in examples) / len(groups)
    return [padded(group, pad_id, usual) for group in groups]


def epochs(
    examples: Sequence[Example], pad_id: int, batch_tokens: int, number: int, seed: int
) -> list[Batch]:
    """Return the batches of all steps: ``number`` passes, each in another order."""
    rng = random.Random(f"tune-{seed}")
    return [one for _ in range(number) for one in batches(examples, pad_id, batch_tokens, rng)]


def fitting(
    texts: Sequence[Written], examples: Sequence[Example], limit: int
) -> tuple[list[Written], list[Example]]:
    """Return the trajectories of at most ``limit`` tokens, as both. Raises ConfigError if none has so few."""
    kept = [pair for pair in zip(texts, examples, strict=True) if len(pair[1].ids) <= limit]
    if not kept:
        shortest = min(len(example.ids) for example in examples)
        raise ConfigError(
            f"tune.batch_tokens={limit}: the shortest trajectory has {shortest} tokens; give more"
        )
    return [one for one, _ in kept], [example for _, example in kept]


def fingerprint(examples: Sequence[Example]) -> str:
    """Return 12 hex digits of token ids and masks."""
    return hashlib.sha256(json.dumps([[one.ids, one.mask] for one in examples]).encode()).hexdigest()[:12]
