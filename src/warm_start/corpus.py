"""The warm-start corpus: solutions to training problems, as token ids with a loss mask."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from transformers import PreTrainedTokenizerFast

from src.config import LEVELS, SUBJECTS, WarmStartConfig
from src.formats.base import Format
from src.problems import Problem, mini, worded
from src.problems.mini.family import Instance
from src.problems.mini.solutions import Habits, TextSegment, write_solution
from src.problems.prompt_text import build_prompt
from src.tools.base import Call

CHUNK = 16  # batches whose examples are sorted by length together, to reduce padding
HABITS = Habits()
STREAMS: Mapping[str, Callable[..., Iterator[Instance]]] = MappingProxyType(
    {"mini": mini.stream, "worded": worded.stream}
)


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt and its solution, and the loss mask."""

    ids: list[int]
    mask: list[int]


@dataclass(frozen=True)
class Batch:
    """Examples padded on the right; all tensors have shape (batch, length).

    The loss summed over a batch is divided by ``usual_tokens``, the mean number of unmasked tokens over many
    batches. Dividing by the batch's own number would give tokens of short solutions more weight, and the
    policy would then prefer short solutions.
    """

    ids: torch.Tensor
    attention: torch.Tensor
    labels: torch.Tensor  # -100 where the token is masked
    usual_tokens: float

    def to(self, device: torch.device) -> Batch:
        """Return the batch on ``device``."""
        tensors = {name: getattr(self, name).to(device) for name in ("ids", "attention", "labels")}
        return replace(self, **tensors)


def rendered(segments: list[TextSegment], form: Format) -> list[TextSegment]:
    """Return the segments with the interpreter's output rendered as in a rollout."""
    return [
        segment
        if segment.author == "policy"
        else TextSegment("tool", "".join(piece.text for piece in form.render(form.neutralise(segment.text))))
        for segment in segments
    ]


@dataclass(frozen=True)
class Written:
    """A trajectory as text: problem, mode, and segments; those of the tool without the format's markup."""

    problem: Problem
    mode: str
    segments: list[TextSegment]


def written(
    cfg: WarmStartConfig, form: Format, purpose: str, levels: Sequence[int] = LEVELS, family: str = "mini"
) -> Iterator[Written]:
    """Yield endless solutions to training problems of a generated family, never to held-out ones.

    Args:
        cfg: gives the seed and the fractions of the modes.
        form: writes the calls.
        purpose: another purpose, other solutions.
        levels: of the problems.
        family: a key of STREAMS.
    """
    stream = STREAMS[family]
    rng = random.Random(f"{purpose}-{cfg.seed}")
    everything = stream(f"{purpose}-all-{cfg.seed}", "train", SUBJECTS, levels)
    geometry = stream(f"{purpose}-geometry-{cfg.seed}", "train", ("Geometry",), levels)
    while True:
        luck = rng.random()
        mode = (
            "text"
            if luck < cfg.text_prompt_fraction
            else "code"
            if luck < cfg.text_prompt_fraction + cfg.code_prompt_fraction
            else "free"
        )
        only_geometry = mode == "text" and rng.random() < cfg.text_geometry_fraction
        instance = next(geometry if only_geometry else everything)
        problem = instance.problem(rng.randrange(len(instance.exercise.wordings)))
        segments = write_solution(
            instance, mode, rng, HABITS, lambda code: form.write(Call("python", {"code": code}))
        )
        yield Written(problem, mode, segments)


def solutions(cfg: WarmStartConfig, form: Format, purpose: str) -> Iterator[tuple[str, list[TextSegment]]]:
    """Yield endless prompts of the mini policy with solutions, results rendered."""
    for one in written(cfg, form, purpose):
        prompt = build_prompt(one.problem, one.mode, "mini")
        assert isinstance(prompt, str)
        yield prompt, rendered(one.segments, form)


def encode(
    prompt: str, segments: list[TextSegment], tokenizer: PreTrainedTokenizerFast, *, feedback: bool = False
) -> Example:
    """Tokenize each segment separately, as in a rollout, and append end of text.

    With ``feedback`` the loss includes tool output: a model pretrained on solutions with code has seen output
    blocks and fabricates them unless sampling is stopped.
    """
    ids = tokenizer.encode(prompt, add_special_tokens=False)
    mask = [0] * len(ids)
    for segment in segments:
        part = tokenizer.encode(segment.text, add_special_tokens=False)
        ids += part
        mask += [int(feedback or segment.author == "policy")] * len(part)
    return Example([*ids, tokenizer.eos_token_id], [*mask, 1])


def batches(cfg: WarmStartConfig, form: Format, tokenizer: PreTrainedTokenizerFast) -> Iterator[Batch]:
    """Yield endless batches of examples of similar length, in random order."""
    source = solutions(cfg, form, "train")
    rng = random.Random(f"order-{cfg.seed}")
    while True:
        examples = [
            encode(*next(source), tokenizer, feedback=rng.random() < cfg.feedback_loss_fraction)
            for _ in range(cfg.batch_size * CHUNK)
        ]
        examples.sort(key=lambda example: len(example.ids))
        usual_tokens = sum(sum(example.mask) for example in examples) / CHUNK
        order = list(range(CHUNK))
        rng.shuffle(order)
        for place in order:
            chosen = examples[place * cfg.batch_size : (place + 1) * cfg.batch_size]
            yield padded(chosen, tokenizer.pad_token_id, usual_tokens)


def padded(examples: list[Example], pad_id: int, usual_tokens: float) -> Batch:
    """Return the examples as a batch."""
    shape = (len(examples), max(len(example.ids) for example in examples))
    ids = torch.full(shape, pad_id)
    attention = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, -100)
    for row, example in enumerate(examples):
        length = len(example.ids)
        ids[row, :length] = torch.tensor(example.ids)
        attention[row, :length] = 1
        counted = torch.tensor(example.mask, dtype=torch.bool)
        labels[row, :length] = torch.where(counted, ids[row, :length], -100)
    return Batch(ids, attention, labels, usual_tokens)
