"""``model.examples``: worked examples in the prompts of training and evaluation, in every format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.config import Config, DataConfig, EngineConfig, EvaluationConfig, ModelConfig
from src.config.schema import ConfigError
from src.experiment.evaluation.benchmark_run import run as evaluate
from src.experiment.training import run as train
from src.formats.base import Format
from src.launch.checks import prompts as checks
from src.launch.checks import style_and_format
from src.launch.checks.model_files import Notes, read_notes, write_notes
from src.policy.long_prompts import measure
from src.policy.prompt_encoder import PromptEncoder
from src.policy.settle import settle
from src.policy.worked_examples import worked_examples
from src.problems import Problem, load_problems
from src.problems.boxes import last_box
from src.rewards.equivalence import equivalent
from src.run import provenance
from tests import chat_model
from tests.fakes import a_format
from tests.policy.test_settle import small
from tests.small_tokenizers import smol_like

PROBLEM = Problem("p", "What is 6 * 7?", "42", "Algebra", 1, "test")
SMOL = smol_like()


def encoder(form: Format, style: str = "chat", **options: Any) -> PromptEncoder:
    form = form.prepare(list(form.tools.values()), SMOL.tokenizer, style)
    return PromptEncoder(SMOL.tokenizer, style, form, **options)


def shown(prompts: PromptEncoder, mode: str = "free", problem: Problem = PROBLEM) -> str:
    (ids,) = prompts.ids([problem], mode)
    return b"".join(map(SMOL.bytes_of, ids)).decode()


@pytest.mark.parametrize(
    ("name", "call", "result"),
    [
        ("fence", "```python\n", "```output\n"),
        ("code_interpreter", "<code>", "<interpreter>"),
        ("hermes", "<tool_call>\n", "<tool_response>\n"),
    ],
)
def test_each_has_a_call_and_its_result_in_the_format(name: str, call: str, result: str) -> None:
    text = shown(encoder(a_format(name), examples=3))
    plain = shown(encoder(a_format(name)))
    assert text.endswith(f"<|im_start|>user\n{PROBLEM.text}<|im_end|>\n<|im_start|>assistant\n")
    assert text.startswith(plain.partition("<|im_end|>")[0]), "the same system turn, once"
    assert text.count("<|im_start|>system") == 1
    for mark in (call, result):
        assert text.count(mark) - plain.count(mark) >= 3, mark
    assert text.count("The answer is $\\boxed{") == 3


def test_in_hermes_results_are_turns_of_their_own_as_in_a_rollout() -> None:
    form = a_format("hermes")
    text = shown(encoder(form, examples=1))
    pieces = form.render("RESULT")
    before, after = pieces[0].text, pieces[-1].text
    assert before.startswith("<|im_end|>")
    assert text.count(before) == text.count(after) >= 1
    (ids,) = encoder(form, examples=1).ids([PROBLEM], "free")
    assert ids.count(SMOL.tokenizer.convert_tokens_to_ids("<|im_end|>")) >= 5


def test_without_examples_nothing_changes() -> None:
    for style in ("chat", "plain", "mini"):
        form = a_format()
        assert encoder(form, style, examples=0).ids([PROBLEM], "free") == encoder(form, style).ids(
            [PROBLEM], "free"
        )


def test_in_plain_text_each_is_asked_as_the_problem_is() -> None:
    text = shown(encoder(a_format(), "plain", examples=2), "code")
    own = shown(encoder(a_format(), "plain"), "code")
    assert text.endswith(f"$.\n\n{own}")
    assert text.count("Problem: ") == text.count("Solution:\n") == 3


def test_they_are_asked_with_the_users_own_template() -> None:
    template = {"free": {"system": "S", "user": "Q: {problem}"}}
    text = shown(encoder(a_format(), template=template, examples=2))
    assert text.count("<|im_start|>user\nQ: ") == 3
    assert text.count("<|im_start|>system\nS<|im_end|>") == 1


def test_in_words_they_have_no_call() -> None:
    text = shown(encoder(a_format(), examples=2), "text")
    assert "```" not in text
    assert text.count("\\boxed{") == 3, "two examples and the instruction"


def test_the_seed_chooses_and_modes_share_their_problems() -> None:
    form = a_format()
    first = worked_examples(4, 0, "code", form)
    assert first == worked_examples(4, 0, "code", form) == worked_examples(4, 0, "free", form)
    assert first != worked_examples(4, 1, "code", form)
    assert worked_examples(2, 0, "code", form) == first[:2]
    in_words = worked_examples(4, 0, "text", form)
    assert [one.problem for one in in_words] == [one.problem for one in first]
    assert len({one.problem.subject for one in first}) == 4


def test_no_example_is_a_held_out_problem_or_wrong() -> None:
    heldout = {problem.id for problem in load_problems(DataConfig(), "heldout")}
    examples = worked_examples(40, 3, "code", a_format())
    assert heldout.isdisjoint(one.problem.id for one in examples)
    for one in examples:
        boxed, answer = last_box(one.solution)
        assert boxed
        assert equivalent(one.problem.answer, answer), one
        assert "Error" not in one.solution


def test_a_problem_with_its_own_prompt_gets_none() -> None:
    own = replace(PROBLEM, prompt="As it stands")
    assert "boxed" not in shown(encoder(a_format(), examples=2), problem=own)


def test_without_the_tool_it_is_said() -> None:
    form = a_format()
    form.tools = {}
    with pytest.raises(ConfigError, match=r"model\.examples=1: the examples call the tool python"):
        worked_examples(1, 0, "free", form)
    assert worked_examples(1, 0, "text", form)


def test_long_prompts_are_counted_with_them() -> None:
    few, more = encoder(a_format()), encoder(a_format(), examples=3)
    limit = next(few.lengths([PROBLEM], ["free"]))
    assert not measure([PROBLEM], ["free"], few, limit).tokens
    assert measure([PROBLEM], ["free"], more, limit).tokens["p"] > limit


class TestSettings:
    def config(self, tmp_path: Path, notes: Notes | None = None, **model: Any) -> EvaluationConfig:
        path = chat_model.write(tmp_path / "model")
        if notes is not None:
            write_notes(tmp_path / "model", notes)
        return EvaluationConfig(model=ModelConfig(path=path, **model))

    def test_unset_they_are_those_of_training(self, tmp_path: Path) -> None:
        notes = Notes("chat", examples=2, examples_seed=7)
        model = settle(self.config(tmp_path, notes))[0].model
        assert (model.examples, model.examples_seed) == (2, 7)
        assert read_notes("", tmp_path / "model" / "cir.json") == notes

    def test_of_an_untrained_model_they_are_free(self, tmp_path: Path) -> None:
        cfg = settle(self.config(tmp_path, examples=2, examples_seed=1))[0]
        assert (cfg.model.examples, cfg.model.examples_seed) == (2, 1)
        recorded = provenance.settings(cfg)
        assert (recorded["examples"], recorded["examples_seed"]) == (2, 1)
        assert settle(self.config(tmp_path))[0].model.examples == 0

    @pytest.mark.parametrize(
        ("notes", "model", "fault"),
        [
            (Notes("chat"), {"examples": 2}, r"model\.examples=2: .* was trained with 0"),
            (Notes("chat", examples=2), {"examples": 0}, r"model\.examples=0: .* was trained with 2"),
            (
                Notes("chat", examples=2, examples_seed=3),
                {"examples": 2, "examples_seed": 4},
                r"model\.examples_seed=4: .* was trained with 3",
            ),
        ],
    )
    def test_others_than_those_of_training_are_refused(
        self, notes: Notes, model: dict[str, Any], fault: str, tmp_path: Path
    ) -> None:
        with pytest.raises(ConfigError, match=fault):
            settle(self.config(tmp_path, notes, **model))
        forced = settle(self.config(tmp_path, notes, force_prompt_style=True, **model))[0]
        assert forced.model.examples == model["examples"]

    def test_the_mini_policy_has_no_place_for_them(self) -> None:
        cfg = Config(model=ModelConfig(examples=1))
        (fault,) = checks.of_training(cfg, Notes("mini"), "mini", "")
        assert "no place for examples" in fault

    def test_prompts_of_a_file_take_none(self) -> None:
        cfg = EvaluationConfig(model=ModelConfig(examples=1))
        cfg.benchmark.kind, cfg.benchmark.keep_prompt = "file", True
        cfg.evaluate.modes = ["free"]
        (fault,) = checks.evaluation(cfg, "")
        assert fault.startswith("model.examples=1: with benchmark.keep_prompt=true")

    def test_the_notes_of_a_trained_policy_name_them(self) -> None:
        assert style_and_format.examples_of(ModelConfig(examples=2, examples_seed=5)) == {
            "examples": 2,
            "examples_seed": 5,
        }
        assert style_and_format.examples_of(ModelConfig()) == {}


@pytest.mark.long
def test_training_and_a_later_evaluation_ask_with_them(tmp_path: Path) -> None:
    """The evaluation takes them from the checkpoint, and refuses others."""
    base = chat_model.write(tmp_path / "base")
    cfg = small(ModelConfig(base, examples=1, examples_seed=4))
    cfg.rollout.max_prompt_tokens = 2000
    cfg.tracking.mode = "none"
    trained = train(cfg, tmp_path / "run")
    assert trained["settings"]["examples"] == 1
    assert trained["prompt"]["text"].count("<|im_start|>user") == 2
    checkpoint = tmp_path / "run" / "checkpoints" / "step-1"
    notes = read_notes("", checkpoint / "cir.json")
    assert (notes.examples, notes.examples_seed) == (1, 4)
    later = EvaluationConfig(
        model=ModelConfig(str(checkpoint)), engine=EngineConfig(kind="transformers"), rollout=cfg.rollout
    )
    later.benchmark.size, later.evaluate.modes = 2, ["free"]
    found = evaluate(later, tmp_path / "later")
    assert found["settings"]["examples"] == 1
    (example,) = worked_examples(1, 4, "free", a_format())
    assert example.problem.text in found["prompt"]["text"]
    assert example.problem.text in trained["prompt"]["text"]
