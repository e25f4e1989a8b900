"""What a warm start from a given model learns from: trajectories as token ids, in batches."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from src.config import WORDED_SPLITS, WarmStartConfig
from src.config.schema import ConfigError
from src.formats.base import Format
from src.policy.prompt_encoder import PromptEncoder
from src.problems import Problem, worded
from src.problems.mini.solutions import TextSegment
from src.warm_start.corpus import Example, Written
from src.warm_start.examples import batches, choose, encode, epochs, is_correct
from tests.fakes import a_format
from tests.warm_start.given_model import SMOL, TUNE


def prepared(name: str) -> Format:
    form = a_format(name)
    return form.prepare(list(form.tools.values()), SMOL.tokenizer, "chat")


class TestExamples:
    WRITTEN = Written(
        Problem("p", "What is 6 * 7?", "42", "Algebra", 1, "test"),
        "code",
        [
            TextSegment("policy", "```python\nprint(6 * 8)\n```"),
            TextSegment("tool", "48"),
            TextSegment("policy", "So \\boxed{42}."),
        ],
    )

    @pytest.mark.parametrize("name", ["fence", "code_interpreter", "hermes"])
    def test_feedback_and_prompt_are_masked(self, name: str) -> None:
        """prompt 0 ... | call 1 ... | result 0 ... | answer 1 ... | end 1."""
        form = prepared(name)
        prompts = PromptEncoder(SMOL.tokenizer, "chat", form)
        example = encode(self.WRITTEN, SMOL, prompts)
        (prompt,) = prompts.ids([self.WRITTEN.problem], "code")
        call, answer = SMOL.encode(self.WRITTEN.segments[0].text), SMOL.encode(self.WRITTEN.segments[2].text)
        result = [index for piece in form.render("48") for index in SMOL.encode_piece(piece)]
        assert example.ids == [*prompt, *call, *result, *answer, 2]
        expected = [0] * len(prompt) + [1] * len(call) + [0] * len(result) + [1] * (len(answer) + 1)
        assert example.mask == expected
        learnt = [index for index, counts in zip(example.ids, example.mask, strict=True) if counts]
        assert learnt.count(2) == 1, "turns of the tool are not learnt"

    def test_markup_that_a_program_prints_stays_text(self) -> None:
        """Its end of text, too: with the tokenizer's own encoding it would be the control token."""
        segments = [*self.WRITTEN.segments]
        segments[1] = TextSegment("tool", "<|im_end|> ```")
        form = prepared("fence")
        example = encode(
            replace(self.WRITTEN, segments=segments), SMOL, PromptEncoder(SMOL.tokenizer, "chat", form)
        )
        without = encode(self.WRITTEN, SMOL, PromptEncoder(SMOL.tokenizer, "chat", form))
        assert example.ids.count(2) == without.ids.count(2)

    def test_chosen_are_different_problems_with_the_right_answer(self) -> None:
        cfg = WarmStartConfig(tune=replace(TUNE, trajectories=60, heldout=20, levels=[1, 2, 3]))
        train, heldout = choose(cfg, a_format())
        assert (len(train), len(heldout)) == (60, 20)
        assert len({one.problem.id for one in train + heldout}) == 80
        assert all(map(is_correct, train + heldout))
        assert {one.problem.level for one in train} == {1, 2, 3}
        tools = [one for one in train if any(segment.author == "tool" for segment in one.segments)]
        failing = [one for one in tools if any("Error" in segment.text for segment in one.segments)]
        assert 10 < len(tools) < 50
        assert failing, "failing code and its repair"
        everything, _ = choose(replace(cfg, tune=replace(cfg.tune, correct=False)), a_format())
        assert not all(map(is_correct, everything))

    def test_worded_problems_are_those_of_training(self) -> None:
        tune = replace(TUNE, source="worded", trajectories=300, heldout=20, levels=[1, 2, 3, 4, 5])
        train, heldout = choose(WarmStartConfig(tune=tune), a_format())
        ids = {one.problem.id for one in train + heldout}
        assert len(ids) == 320
        assert all(one.startswith("worded/") for one in ids)
        assert {name.split("/")[1] for name in ids} <= {template.name for template in worded.TEMPLATES}
        for split in WORDED_SPLITS:
            assert not ids & {one.id for one in worded.generate(1000, 0, split)}

    def test_an_answer_in_another_form_is_right(self) -> None:
        problem = replace(self.WRITTEN.problem, answer="\\frac{83}{77}")
        segments = [TextSegment("policy", "\\boxed{83/77}")]
        assert is_correct(replace(self.WRITTEN, problem=problem, segments=segments))
        segments = [TextSegment("policy", "\\boxed{83/78}")]
        assert not is_correct(replace(self.WRITTEN, problem=problem, segments=segments))

    def test_a_source_of_ones_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cfg = WarmStartConfig(tune=replace(TUNE, source="tests.warm_start.test_examples.two", correct=False))
        with pytest.raises(ConfigError, match="gives no more than 2 different problems"):
            choose(cfg, a_format())
        few = replace(cfg, tune=replace(cfg.tune, trajectories=1, heldout=1))
        assert [one.problem.id for part in choose(few, a_format()) for one in part] == ["0", "1"]
        with pytest.raises(ConfigError, match=r"tune\.source=no\.such"):
            choose(replace(cfg, tune=replace(cfg.tune, source="no.such")), a_format())

    def test_batches_hold_every_example_once_and_no_more_tokens_than_set(self) -> None:
        rng = random.Random(0)
        examples = [Example([n] * rng.randint(3, 90), [1]) for n in range(200)]
        examples = [Example(one.ids, [0] + [1] * (len(one.ids) - 1)) for one in examples]
        found = batches(examples, 0, 300, random.Random(1))
        assert all(batch.ids.numel() <= 300 for batch in found)
        rows = [int(row[0]) for batch in found for row in batch.ids]
        assert sorted(rows) == list(range(200))
        waste = 1 - sum(len(one.ids) for one in examples) / sum(batch.ids.numel() for batch in found)
        assert waste < 0.05
        assert {batch.usual_tokens for batch in found} == {
            sum(sum(one.mask) for one in examples) / len(found)
        }

    def test_every_epoch_has_another_order_and_every_process_the_same(self) -> None:
        examples = [Example([n] * 10, [0] + [1] * 9) for n in range(40)]
        twice = epochs(examples, 0, 40, 2, seed=3)
        first, second = twice[:10], twice[10:]
        assert [batch.ids.tolist() for batch in first] != [batch.ids.tolist() for batch in second]
        again = epochs(examples, 0, 40, 2, seed=3)
        assert [batch.ids.tolist() for batch in twice] == [batch.ids.tolist() for batch in again]


def two(cfg: WarmStartConfig, form: Format, purpose: str, levels: Any) -> Iterator[Written]:
    """A source with two problems."""
    for number in range(10_000):
        problem = Problem(str(number % 2), "?", "1", "Algebra", 1, "test")
        yield Written(problem, "text", [TextSegment("policy", "\\boxed{1}")])
