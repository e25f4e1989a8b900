"""Prompts of the user's own: those of a data file as they stand, and templates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars
import pytest
from transformers import AutoTokenizer

from src.config import Config, DataConfig, EvaluationConfig, FieldsConfig, HeldoutConfig, ModelConfig
from src.experiment.training import run as train
from src.launch.checks import check, prompts
from src.launch.checks.model_files import Notes
from src.policy.long_prompts import fit_data
from src.policy.prompt_encoder import PromptEncoder
from src.problems import ProblemError, load_data
from src.problems.files import read_problems, write_problems
from src.rollout.engines.transformers import TransformersEngine
from src.run.processes import Ranks
from src.trainer import step
from tests import chat_model
from tests.fakes import a_format
from tests.policy.test_settle import small

TEXTS = [f"Work it out, and box it.\n What is {n} + 1? " for n in range(8)]
CHATS = [
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"What is {n} + 0?"},
        {"role": "assistant", "content": f"\\boxed{{{n}}}"},
        {"role": "user", "content": f"And {n} + 1?"},
    ]
    for n in range(8)
]
TEMPLATE = {"free": {"system": "Use \\boxed{}.", "user": "Q: {problem} {x}"}, "text": "No code: {problem}"}


def parquet(path: Path, own: list[Any]) -> Path:
    polars.DataFrame({"prompt": own, "answer": [str(n + 1) for n in range(8)]}).write_parquet(path)
    return path


def fields() -> FieldsConfig:
    return FieldsConfig(text="prompt")


def encoder(style: str, template: dict[str, Any] | None = None) -> PromptEncoder:
    return PromptEncoder(chat_model.tokenizer(), style, a_format(), template)


def templated(messages: list[dict[str, str]]) -> list[int]:
    ids: list[int] = chat_model.tokenizer().apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False
    )
    return ids


class TestKept:
    def test_messages_are_what_the_chat_template_makes_of_them(self, tmp_path: Path) -> None:
        problems = read_problems(parquet(tmp_path / "a.parquet", CHATS), fields(), keep_prompt=True)
        assert encoder("chat").ids(problems, "free") == [templated(one) for one in CHATS]
        assert [problem.text for problem in problems] == [f"And {n} + 1?" for n in range(8)]

    def test_a_text_is_the_whole_prompt_or_the_users_turn(self, tmp_path: Path) -> None:
        problems = read_problems(parquet(tmp_path / "a.parquet", TEXTS), fields(), keep_prompt=True)
        tokenizer = chat_model.tokenizer()
        assert encoder("plain").ids(problems, "code") == [
            list(tokenizer(text)["input_ids"]) for text in TEXTS
        ]
        turns = [templated([{"role": "user", "content": text}]) for text in TEXTS]
        assert encoder("chat").ids(problems, "code") == turns

    def test_the_instruction_still_is_no_part_of_the_problem(self, tmp_path: Path) -> None:
        """Duplicates and benchmark problems are found by the text between the marks."""
        path = parquet(tmp_path / "a.parquet", TEXTS)
        (first, *_) = read_problems(path, replace(fields(), after="box it."), keep_prompt=True)
        assert (first.text, first.prompt) == ("What is 0 + 1?", TEXTS[0])

    def test_messages_without_a_chat_template_are_refused(self, tmp_path: Path) -> None:
        problems = read_problems(parquet(tmp_path / "a.parquet", CHATS), fields(), keep_prompt=True)
        with pytest.raises(ProblemError, match=r"list of chat messages, but model\.prompt_style is plain"):
            encoder("plain").ids(problems, "free")

    def test_those_of_a_held_out_benchmarks_file(self, tmp_path: Path) -> None:
        path = tmp_path / "b.jsonl"
        polars.DataFrame({"problem": TEXTS, "answer": [str(n + 1) for n in range(8)]}).write_ndjson(path)
        data = DataConfig(kind="file", train_path=str(path))
        data.heldout = HeldoutConfig(benchmark=f"file@{path}", keep_prompt=True)
        assert [one.prompt for one in load_data(data).heldout] == TEXTS
        data.heldout.keep_prompt = False
        assert {one.prompt for one in load_data(data).heldout} == {None}

    @pytest.mark.parametrize("own", [[{"role": "user"}], [{"role": "assistant", "content": "x"}], ["x"]])
    def test_what_is_no_chat_is_refused_with_its_row(self, own: list[Any], tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        polars.DataFrame({"question": ["q"], "prompt": [own], "answer": ["1"]}).write_ndjson(path)
        with pytest.raises(ProblemError, match=r"line 1: "):
            read_problems(path, fields(), keep_prompt=True)

    def test_prepared_problems_keep_theirs(self, tmp_path: Path) -> None:
        problems = read_problems(parquet(tmp_path / "a.parquet", CHATS), fields(), keep_prompt=True)
        write_problems(tmp_path / "b.jsonl", problems)
        again = read_problems(tmp_path / "b.jsonl", replace(fields(), id="id"), keep_prompt=True)
        assert [(one.id, one.prompt) for one in again] == [(one.id, one.prompt) for one in problems]

    @pytest.mark.parametrize("own", [TEXTS, CHATS], ids=["texts", "chats"])
    def test_engine_and_trainer_get_these_tokens(
        self, own: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[list[int]] = []
        submit = TransformersEngine.submit

        def recording(self: TransformersEngine, request: Any) -> None:
            asked.append(list(request.token_ids))
            submit(self, request)

        monkeypatch.setattr(TransformersEngine, "submit", recording)
        trained: list[list[int]] = []
        to_trl = step.to_trl

        def handing(*arguments: Any, **named: Any) -> dict[str, Any]:
            batch = to_trl(*arguments, **named)
            trained.extend(batch["prompt_ids"])
            return batch

        monkeypatch.setattr(step, "to_trl", handing)
        cfg = small(ModelConfig(chat_model.write(tmp_path / "base")))
        path = str(parquet(tmp_path / "a.parquet", own))
        cfg.data = DataConfig(
            kind="file",
            train_path=path,
            heldout_path=path,
            fields=fields(),
            keep_prompt=True,
            heldout=HeldoutConfig(fields=fields(), keep_prompt=True),
        )
        cfg.tracking.mode = "none"
        assert check(cfg) == []
        summary = train(cfg, tmp_path / "run")
        chats = [one if isinstance(one, list) else [{"role": "user", "content": one}] for one in own]
        tokenizer = AutoTokenizer.from_pretrained(cfg.model.path)
        known = [
            tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
            for chat in chats
        ]
        assert trained
        assert [ids for ids in trained if ids not in known] == []
        begun = [ids for ids in asked if any(ids[: len(one)] == one for one in known)]
        assert len(begun) == len(asked), "first segments, and later ones that continue them"
        assert summary["settings"]["keep_prompt"] is True
        assert "".join(summary["prompt"]["text"].split()).startswith("<|im_start|>")


class TestTemplates:
    def test_two_turns_and_one(self) -> None:
        (problem,) = chat_model.PROBLEMS[:1]
        ids = encoder("chat", TEMPLATE)
        assert ids.ids([problem], "free") == [
            templated(
                [
                    {"role": "system", "content": "Use \\boxed{}."},
                    {"role": "user", "content": f"Q: {problem.text} {{x}}"},
                ]
            )
        ]
        turn = [{"role": "user", "content": f"No code: {problem.text}"}]
        assert ids.ids([problem], "text") == [templated(turn)]

    def test_plain_text(self) -> None:
        (problem,) = chat_model.PROBLEMS[:1]
        (ids,) = encoder("plain", TEMPLATE).ids([problem], "text")
        assert ids == list(chat_model.tokenizer()(f"No code: {problem.text}")["input_ids"])

    def test_a_problem_that_mentions_the_place_is_left_alone(self) -> None:
        problem = replace(chat_model.PROBLEMS[0], text="What is {problem}?")
        (ids,) = encoder("plain", TEMPLATE).ids([problem], "text")
        assert chat_model.tokenizer().decode(ids) == "No code: What is {problem}?"


class TestChecks:
    @pytest.mark.parametrize(
        ("template", "fault"),
        [
            ({"text": "{problem}"}, "it has no prompt for the mode free; add model.prompt_template.free"),
            ({"free": "{problem}", "fre": "{problem}"}, "model.prompt_template.fre: there is no such mode"),
            ({"free": "Solve it."}, "model.prompt_template.free=Solve it.: {problem} must occur once"),
            ({"free": {"user": "{problem}"}}, "give one text, or {system: TEXT, user: TEXT}"),
            ({"free": {"system": "s", "user": "x"}}, "{problem} must occur once"),
        ],
    )
    def test_templates(self, template: dict[str, Any], fault: str) -> None:
        cfg = EvaluationConfig(model=ModelConfig(prompt_template=template, force_prompt_style=True))
        cfg.evaluate.modes = ["free"]
        assert any(fault in found for found in check(cfg))

    def test_kept_prompts(self) -> None:
        cfg = Config(data=DataConfig(keep_prompt=True), model=ModelConfig())
        faults = prompts.training(cfg, "")
        assert [fault.split(":")[0] for fault in faults] == ["data.keep_prompt=true"] * 2
        assert "the mini family has no prompts of its own" in faults[0]
        assert "the held-out problems would get our prompts" in faults[1]
        cfg.data = DataConfig(kind="file", keep_prompt=True, heldout=HeldoutConfig(keep_prompt=True))
        cfg.evaluate.modes = ["free", "text"]
        (fault,) = prompts.training(cfg, "")
        assert fault.startswith("data.heldout.keep_prompt=true: prompts would be the same in the modes")

    @pytest.mark.parametrize(
        ("known", "template", "style", "fault"),
        [
            (Notes("chat"), TEMPLATE, "chat", "was trained with our prompts (cir.json)"),
            (Notes("chat", prompt_template={"free": "a"}), TEMPLATE, "chat", "was trained with {free:a}"),
            (Notes(), TEMPLATE, "plain", "model.prompt_template.free="),
            (Notes("chat", kept_prompts=True), None, "chat", "benchmark.keep_prompt=false: "),
            (Notes("chat", prompt_template=TEMPLATE), TEMPLATE, "chat", None),
            (Notes("chat", prompt_template=TEMPLATE, kept_prompts=True), None, "chat", None),
            (Notes("chat", prompt_template={"free": "{problem}"}), None, "chat", "for the modes [free] only"),
            (Notes(), TEMPLATE, "chat", None),
        ],
    )
    def test_other_prompts_than_in_training(
        self, known: Notes, template: dict[str, Any] | None, style: str, fault: str | None
    ) -> None:
        cfg = EvaluationConfig(model=ModelConfig(prompt_template=template))
        cfg.evaluate.modes = ["free", "text"]
        found = prompts.of_training(cfg, known, style, "")
        assert len(found) == (fault is not None)
        assert fault is None or fault in found[0]
        cfg.model.force_prompt_style = True
        cfg.evaluate.modes = ["free"]
        assert style == "plain" or prompts.of_training(cfg, known, style, "") == []


def test_truncated_prompts_keep_their_ends(tmp_path: Path) -> None:
    path = str(parquet(tmp_path / "a.parquet", [text * (n + 1) for n, text in enumerate(TEXTS)]))
    data = DataConfig(kind="file", train_path=path, heldout_path=path, fields=fields(), keep_prompt=True)
    data.heldout = HeldoutConfig(fields=fields(), keep_prompt=True, long_prompts="drop")
    data.long_prompts = "truncate_left"
    cfg = Config(data=data, model=ModelConfig(prompt_style="plain"))
    cfg.trainer.batch_size, cfg.trainer.samples_per_prompt = 16, 2
    ids = encoder("plain")
    whole = ids.ids(load_data(data).train, "free")
    cfg.rollout.max_prompt_tokens = limit = sorted(map(len, whole))[3]
    fitted = fit_data(load_data(data), cfg, ids, Ranks())
    assert ids.ids(fitted.train, "free") == [one[-limit:] for one in whole]
    report = fitted.report["train"]["long_prompts"]
    assert (report["choice"], report["count"], len(fitted.train)) == ("truncate_left", 4, 8)
    assert (fitted.report["heldout"]["long_prompts"]["choice"], len(fitted.heldout)) == ("drop", 4)
