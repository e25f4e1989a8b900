"""A warm start from a pretrained model: what it learns from, its loss, resume, and its folder."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

from src.config import EvaluationConfig, ModelConfig, StartModelConfig, TuneConfig
from src.config.paths import CONF, ROOT, SMOLLM2
from src.config.schema import ConfigError
from src.formats.base import Format
from src.launch.checks import policy as policy_checks
from src.launch.entry import composed
from src.policy.loading import load_model
from src.policy.prompt_encoder import PromptEncoder
from src.policy.settle import settle
from src.problems import Problem
from src.problems.mini.solutions import TextSegment
from src.run.interrupts import Interrupt, interrupts
from src.run.progress import ReportingProgress
from src.warm_start import tuning
from src.warm_start.cold import start_from_model
from src.warm_start.config import WarmStartConfig
from src.warm_start.corpus import Batch, Example, Written, padded
from src.warm_start.examples import batches, choose, encode, epochs, is_correct
from src.warm_start.loss import has_plain_head, summed_loss
from src.warm_start.tuning import CHECKPOINT, Tuning
from tests.fakes import a_format
from tests.small_tokenizers import smol_like

SMOL = smol_like()
TUNE = TuneConfig(
    trajectories=10, heldout=3, batch_tokens=2048, learning_rate=1e-2, warmup_steps=1, heldout_every=2
)


def write_model(folder: Path) -> str:
    """A few thousand parameters of the pretrained model's kind: Llama, tied, pads with its end."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(SMOL),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    SMOL.tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("model"))


def config(path: str, output: Path, form: str = "fence", **tune: Any) -> WarmStartConfig:
    formats = {
        "fence": {"_target_": "src.formats.FenceFormat"},
        "hermes": {"_target_": "src.formats.HermesFormat"},
    }
    return WarmStartConfig(
        model=StartModelConfig(path=path),
        output=str(output),
        format=formats[form],
        tune=replace(TUNE, **tune),
        threads=1,
    )


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

    def test_an_answer_in_another_form_is_right(self) -> None:
        problem = replace(self.WRITTEN.problem, answer="\\frac{83}{77}")
        segments = [TextSegment("policy", "\\boxed{83/77}")]
        assert is_correct(replace(self.WRITTEN, problem=problem, segments=segments))
        segments = [TextSegment("policy", "\\boxed{83/78}")]
        assert not is_correct(replace(self.WRITTEN, problem=problem, segments=segments))

    def test_a_source_of_ones_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cfg = WarmStartConfig(tune=replace(TUNE, source="tests.warm_start.test_cold.two", correct=False))
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


class TestLoss:
    def batch(self) -> Batch:
        examples = [Example(list(range(5, 5 + n)), [0, 0, *[1] * (n - 4), 0, 1]) for n in (9, 14, 6)]
        return padded(examples, 2, 10.0)

    @pytest.mark.parametrize("head_tokens", [1, 4, 1000])
    def test_it_and_its_gradient_are_those_of_all_logits(self, model_path: str, head_tokens: int) -> None:
        batch = self.batch()
        expected, model = load_model(ModelConfig(path=model_path)), load_model(ModelConfig(path=model_path))
        logits = expected(input_ids=batch.ids, attention_mask=batch.attention).logits[:, :-1]
        whole = cross_entropy(logits.flatten(0, 1), batch.labels[:, 1:].flatten(), reduction="sum")
        loss = summed_loss(model, batch, head_tokens)
        assert loss.item() == pytest.approx(whole.item(), rel=1e-5)
        whole.backward()
        loss.backward()
        for one, other in zip(model.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)

    def test_no_logits_of_other_tokens_are_computed(self, model_path: str) -> None:
        model = load_model(ModelConfig(path=model_path))
        rows: list[int] = []
        model.get_output_embeddings().register_forward_hook(lambda _, args, __: rows.append(len(args[0])))
        batch = self.batch()
        summed_loss(model, batch, 4)
        assert sum(rows) == int((batch.labels[:, 1:] != -100).sum())
        assert max(rows) == 4

    def test_heads_that_are_scaled_or_capped_are_found(self, model_path: str) -> None:
        assert has_plain_head(load_model(ModelConfig(path=model_path)), self.batch())
        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "head_dim": 8}
        capped = Gemma2ForCausalLM(
            Gemma2Config(
                vocab_size=64,
                **sizes,
                num_attention_heads=2,
                num_key_value_heads=1,
                final_logit_softcapping=0.01,
                pad_token_id=0,
            )
        )
        assert not has_plain_head(capped.eval(), self.batch())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def finished(model_path: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("cold")
    start_from_model(config(model_path, output, epochs=3))
    return output


class TestWhole:
    def test_it_learns_and_says_so(self, finished: Path) -> None:
        summary = json.loads((finished / "summary.json").read_text())
        losses = [point["loss"] for point in summary["heldout"]]
        assert losses[-1] < losses[0]
        assert summary["heldout"][0]["step"] == 0
        assert summary["heldout"][-1]["step"] == summary["steps"] == len(summary["losses"]) > 3
        assert 0 <= summary["trajectories"]["padding_fraction"] < 0.5
        assert "Held-out loss" in (finished / "README.md").read_text()
        assert not (finished / CHECKPOINT).exists()

    def test_evaluation_and_training_take_it_as_it_was_made(self, finished: Path) -> None:
        cfg, codec = settle(EvaluationConfig(model=ModelConfig(path=str(finished), dtype="auto")))
        assert cfg.model.prompt_style == "chat"
        assert cfg.model.dtype == "float32"
        assert cfg.format == {"_target_": "src.formats.FenceFormat"}
        assert codec.eos_ids == {2}
        wrong = EvaluationConfig(model=ModelConfig(path=str(finished)))
        wrong.format = {"_target_": "src.formats.HermesFormat"}
        with pytest.raises(ConfigError, match="was trained with format"):
            settle(wrong)

    def test_the_same_command_again_does_nothing(
        self, finished: Path, model_path: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = (finished / "model.safetensors").stat().st_mtime_ns
        summary = start_from_model(config(model_path, finished, epochs=3))
        assert summary["steps"] > 3
        assert "is there already" in capsys.readouterr().out
        assert (finished / "model.safetensors").stat().st_mtime_ns == before
        with pytest.raises(ConfigError, match=r"has tune\.epochs=3, not 4"):
            start_from_model(config(model_path, finished, epochs=4))

    def test_another_model_is_not_overwritten(self, model_path: str) -> None:
        with pytest.raises(ConfigError, match="holds another model"):
            start_from_model(config(model_path, Path(model_path)))

    @pytest.mark.parametrize("form", ["hermes"])
    def test_other_formats_and_bfloat16(self, form: str, model_path: str, tmp_path: Path) -> None:
        start_from_model(config(model_path, tmp_path, form, autocast="bfloat16"))
        notes = json.loads((tmp_path / "cir.json").read_text())
        assert notes == {
            "prompt_style": "chat",
            "format": {"_target_": "src.formats.HermesFormat"},
            "dtype": "bfloat16",
        }
        assert {one.dtype for one in weights(tmp_path).values()} == {torch.float32}

    def test_a_log_file_has_lines_with_the_time_left(
        self,
        model_path: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setitem(ReportingProgress.__init__.__kwdefaults__, "every", 0.01)
        start_from_model(config(model_path, tmp_path))
        assert re.search(
            r"warm start, loss \d\.\d+: 1 of \d+ \(\d+%\), .*/s, .* left", capsys.readouterr().out
        )

    def test_examples_are_in_the_prompts_and_in_the_notes(self, model_path: str, tmp_path: Path) -> None:
        cfg = config(model_path, tmp_path / "a", batch_tokens=8192)
        cfg.model.examples = 1
        (tmp_path / "a").mkdir()
        start_from_model(cfg)
        notes = json.loads((tmp_path / "a" / "cir.json").read_text())
        assert (notes["examples"], notes["examples_seed"]) == (1, 0)


class TestResume:
    def test_after_an_interrupt_it_ends_with_the_same_weights(
        self, model_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("whole", "parts"):
            (tmp_path / name).mkdir()
        whole = config(model_path, tmp_path / "whole", epochs=3)
        expected = start_from_model(whole)
        parts = config(model_path, tmp_path / "parts", epochs=3)
        step = Tuning._step

        def interrupted(self: Tuning, batch: Batch) -> None:
            step(self, batch)
            if self._curve.step in (1, 4):
                interrupts.asked = signal.SIGTERM

        monkeypatch.setattr(Tuning, "_step", interrupted)
        for _ in range(2):
            with pytest.raises(Interrupt):
                start_from_model(parts)
            interrupts.asked = None
            assert (tmp_path / "parts" / CHECKPOINT).is_file()
            assert not (tmp_path / "parts" / "config.json").exists()
        found = start_from_model(parts)
        assert found["losses"] == expected["losses"]
        assert found["heldout"] == expected["heldout"]
        one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
        assert all(torch.equal(one[name], other[name]) for name in one)

    def test_a_checkpoint_of_other_settings_is_refused(
        self, model_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tuning.interrupts, "asked", signal.SIGTERM)
        with pytest.raises(Interrupt):
            start_from_model(config(model_path, tmp_path))
        monkeypatch.setattr(tuning.interrupts, "asked", None)
        with pytest.raises(ConfigError, match=r"has tune\.learning_rate=0\.01, not 0\.02"):
            start_from_model(config(model_path, tmp_path, learning_rate=0.02))

    @pytest.mark.long
    def test_after_kill_9_the_same_command_ends_with_the_same_weights(
        self, model_path: str, tmp_path: Path
    ) -> None:
        def command(name: str) -> list[str]:
            settings = ["tune.trajectories=60", "tune.heldout=3", "tune.batch_tokens=512", "tune.epochs=3"]
            settings += ["tune.checkpoint_every=2", "threads=1", f"output={tmp_path / name}"]
            settings += [f"model.path={model_path}", f"hydra.run.dir={tmp_path / name}-run"]
            return [sys.executable, "-m", "src.warm_start", *settings]

        def ends(name: str) -> None:
            ended = subprocess.run(command(name), cwd=ROOT, capture_output=True, text=True, timeout=900)
            assert ended.returncode == 0, ended.stderr

        ends("whole")
        killed = subprocess.Popen(
            command("parts"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        file = tmp_path / "parts" / CHECKPOINT
        while killed.poll() is None and not file.is_file():
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert file.is_file(), "killed before it was done"
        assert not (tmp_path / "parts" / "config.json").exists()
        ends("parts")
        one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        ({"lora": {"rank": 4}}, r"lora\.rank=4: a warm start trains all weights"),
        ({"dtype": "bfloat16"}, r"dtype=bfloat16: a warm start keeps weights in float32"),
        ({"max_positions": 64}, "max_positions"),
        ({"path": "models/smollm2_135m"}, "run make model"),
    ],
)
def test_what_a_warm_start_cannot_do(
    model: dict[str, Any], fault: str, model_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = StartModelConfig(path=model_path)
    for name, value in model.items():
        if name == "lora":
            cfg.lora.rank = value["rank"]
        else:
            setattr(cfg, name, value)
    (found,) = policy_checks.start(cfg, "model.")
    assert fault.replace("\\", "") in found
    assert policy_checks.start(StartModelConfig(), "model.") == []


def test_the_mini_base_policy_is_not_overwritten(model_path: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "src.warm_start", f"model.path={model_path}", f"hydra.run.dir={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 2
    assert "is the mini base policy's; give output=FOLDER" in ended.stderr


RECIPES = sorted(path.stem for path in (CONF / "warm_start").glob("*.yaml"))


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_composes_and_holds_differences_only(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / SMOLLM2)
    found = composed("warm_start", [f"+warm_start={name}"], WarmStartConfig)
    assert found.model.path == SMOLLM2
    assert found.output != WarmStartConfig().output
    own = OmegaConf.load(CONF / "warm_start" / f"{name}.yaml")
    for key, value in own.tune.items():
        assert getattr(TuneConfig(), key) != value
    hermes = composed("warm_start", [f"+warm_start={name}", "format=hermes"], WarmStartConfig)
    assert hermes.format == {"_target_": "src.formats.HermesFormat"}


def test_without_a_model_it_makes_the_mini_policy() -> None:
    assert composed("warm_start", [], WarmStartConfig) == WarmStartConfig()
