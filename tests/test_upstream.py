"""What we rely on in TRL's trainer and accelerate beyond what they promise: one fact a test.

When an upgrade breaks one, the failure names the modules of ours to be looked at. What we rely on for
sampling, in transformers, vLLM and TRL's use of it, is in tests/rollout/test_upstream_*.py; in PEFT, in
tests/policy/test_adapters.py.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
import trl.trainer.utils
from accelerate import FullyShardedDataParallelPlugin
from datasets import Dataset
from huggingface_hub import constants
from transformers import PrinterCallback, TrainerCallback
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.utils import cached_file
from trl import GRPOTrainer
from trl.distributed import DistributedBackend
from trl.trainer import grpo_trainer
from trl.trainer.utils import RepeatSampler

from src.config import LoRAConfig, ModelConfig
from src.config.paths import ROOT
from src.policy.adapters import add_adapter
from src.trainer import CIRTrainer
from src.trainer.batches import MultiEpochSampler
from src.trainer.grpo_settings import TRL_METRICS
from tests import tiny
from tests.upstream import COMPLETIONS, REWARDS, given, plain, rollout, rows_of, score, used_by

TRAINER, ADAPTER, SETTINGS = (
    "src/trainer/cir_trainer.py",
    "src/rollout/adapter.py",
    "src/trainer/grpo_settings.py",
)
ADVANTAGES, CALLBACKS, COLOCATED = (
    "src/trainer/advantages.py",
    "src/trainer/callbacks.py",
    "src/rollout/engines/colocated.py",
)


class TestRollout:
    @used_by(TRAINER, ADVANTAGES)
    def test_prompts_come_repeated_and_the_groups_in_one_piece(self, tmp_path: Path) -> None:
        """rollout_func gets a prompt per completion, in the order of the rows that scoring gets."""
        asked: list[list[str]] = []
        trainer = plain(tmp_path, rollout_func=lambda prompts, _: (asked.append(prompts), rollout())[1])
        rows = rows_of(trainer)
        trainer._generate_and_score_completions(rows)
        assert asked == [[row["prompt"] for row in rows]]
        assert [row["problem"] for row in rows] == [int(row["prompt"][1:]) for row in rows], "columns stay"
        groups = [asked[0][:4], asked[0][4:]]
        assert [len(set(group)) for group in groups] == [1, 1]
        assert groups[0] != groups[1]

    @used_by(TRAINER)
    def test_prompts_are_for_the_rollout_alone(self, tmp_path: Path) -> None:
        """So ours are numbers of problems: the same completions give the same, whatever the prompts say."""
        named = [
            Dataset.from_dict({"prompt": [f"{name}{i:02d}" for i in range(16)]}) for name in ("", "p" * 9)
        ]
        first, second = (score(given(tmp_path, train_dataset=rows)) for rows in named)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first if name != "num_items_in_batch")

    @used_by(ADAPTER)
    @pytest.mark.parametrize("key", ["prompt_ids", "completion_ids", "logprobs"])
    def test_these_keys_are_needed(self, tmp_path: Path, key: str) -> None:
        returned = {name: value for name, value in rollout().items() if name != key}
        with pytest.raises(ValueError, match=key):
            score(plain(tmp_path, rollout_func=lambda *_: returned))

    @used_by(ADAPTER, TRAINER)
    def test_further_lists_reach_reward_functions_in_order(self, tmp_path: Path) -> None:
        seen: list[list[float]] = []
        score(given(tmp_path, reward_funcs=lambda reward, **_: (seen.append(reward), reward)[1]))
        assert seen == [REWARDS]

    @used_by(ADAPTER)
    def test_a_mask_that_is_too_short_is_filled_with_ones(self, tmp_path: Path) -> None:
        """Which would train on feedback; the adapter refuses such a mask."""
        masks = [[1] * len(ids) for ids in COMPLETIONS]
        masks[5] = [0]
        output = score(given(tmp_path, {"env_mask": masks}))
        assert output["tool_mask"][5].tolist() == [0] + [1] * 7

    @used_by(ADAPTER)
    def test_an_empty_completion_ends_the_run_without_a_word(self, tmp_path: Path) -> None:
        with pytest.raises(IndexError):
            score(given(tmp_path, {"completion_ids": [[], *COMPLETIONS[1:]]}))

    @used_by("src/rollout/scheduler.py")
    def test_what_is_longer_than_the_limit_stays(self, tmp_path: Path) -> None:
        output = score(given(tmp_path, {"completion_ids": [[5] * 30] * 8}))
        assert output["completion_mask"].sum(dim=1).tolist() == [30] * 8

    @used_by(TRAINER)
    def test_env_mask_counts_without_tools_only(self, tmp_path: Path) -> None:
        trainer = given(tmp_path, {"env_mask": [[0] * len(ids) for ids in COMPLETIONS]})
        trainer.tools = [print]
        counts = [0] * 8
        theirs = ([[1] * len(ids) for ids in COMPLETIONS], [""] * 8, COMPLETIONS, None, counts, counts, [])
        trainer._tool_call_loop = lambda *_: theirs
        assert (score(trainer)["tool_mask"] == 1).all()
        assert not tiny.trainer(tiny.config(), tmp_path).tools, "so ours has none"

    @used_by(TRAINER)
    @pytest.mark.parametrize("silence", [False, True])
    def test_the_warning_of_an_experimental_interface_can_be_silenced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silence: bool
    ) -> None:
        monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", str(int(silence)))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            given(tmp_path)
        assert any("rollout_func" in str(one.message) for one in caught) is not silence


class TestOverrides:
    def test_the_design_lists_every_private_one(self) -> None:
        theirs = {name for base in CIRTrainer.__mro__[1:] for name in vars(base)}
        ours = {name for name in vars(CIRTrainer) if name[0] == "_" and name[1] != "_"}
        listed = (ROOT / "docs" / "design.md").read_text()
        assert ours & theirs
        assert [name for name in ours & theirs if f"`{name}`" not in listed] == []


class TestSampler:
    @used_by("src/trainer/batches.py")
    def test_every_pass_is_drawn_anew_from_one_generator(self) -> None:
        options = {"data_source": range(6), "mini_repeat_count": 2, "batch_size": 2, "repeat_count": 3}
        sampler = RepeatSampler(**options, seed=1)
        passes = [list(sampler), list(sampler)]
        assert passes[0] != passes[1]
        assert list(MultiEpochSampler(2, **options, seed=1)) == passes[0] + passes[1]

    @used_by(TRAINER, "src/trainer/batches.py")
    def test_trainers_ask_one_method_for_theirs(self, tmp_path: Path) -> None:
        trainer = given(tmp_path)
        trainer._get_train_sampler = lambda dataset=None: range(8, 16)
        assert [row["problem"] for row in rows_of(trainer)] == list(range(8, 16))


class TestScoring:
    @used_by(TRAINER, ADVANTAGES, "src/trainer/dynamic_sampling.py")
    def test_a_reward_of_none_is_in_no_mean_and_its_advantage_is_zero(self, tmp_path: Path) -> None:
        rewards = [None, 1.0, -1.0, -1.0, 1.0, None, None, 1.0]
        output = score(given(tmp_path, {"reward": rewards}, scale_rewards="none"))
        expected = [0, 4 / 3, -2 / 3, -2 / 3, 0, 0, 0, 0]
        assert output["advantages"].tolist() == pytest.approx(expected, abs=1e-6)

    @used_by(ADAPTER)
    def test_the_number_of_items_is_that_of_the_masks(self, tmp_path: Path) -> None:
        """So that what a mask leaves out is not divided by; a reward of None alone leaves nothing out."""
        for masks, items in (
            (None, 36),
            ([[1] * len(ids) for ids in COMPLETIONS], 36),
            ([[0] * 3, *([1] * len(ids) for ids in COMPLETIONS[1:])], 33),
        ):
            more = {"reward": [None, *REWARDS[1:]]} | ({"env_mask": masks} if masks else {})
            assert score(given(tmp_path, more))["num_items_in_batch"] == items

    @used_by(TRAINER, SETTINGS)
    @pytest.mark.parametrize(("accumulation", "old"), [(4, False), (2, True)])
    def test_what_is_handed_on_to_the_loss(self, tmp_path: Path, accumulation: int, old: bool) -> None:
        """Old logprobs only where a rollout feeds several optimizer steps; advantages are (B,)."""
        masks = [[1] * len(ids) for ids in COMPLETIONS]
        output = score(given(tmp_path, {"env_mask": masks}, gradient_accumulation_steps=accumulation))
        shapes = {name: tuple(value.shape) for name, value in output.items()}
        assert shapes.pop("old_per_token_logps", None) == ((8, 8) if old else None)
        assert shapes == {
            **dict.fromkeys(("completion_ids", "completion_mask", "tool_mask"), (8, 8)),
            **dict.fromkeys(("prompt_ids", "prompt_mask"), (8, 2)),
            "advantages": (8,),
            "num_items_in_batch": (),
        }
        assert output["prompt_mask"].tolist() == [[1, 1]] * 4 + [[0, 1]] * 4, "padded on the left"
        assert output["completion_mask"].tolist() == [row + [0] * (8 - len(row)) for row in masks]

    @used_by(TRAINER)
    def test_masks_of_zeros_alone_give_a_loss_of_zero(self, tmp_path: Path) -> None:
        for loss_type in ("dapo", "grpo", "bnpo", "dr_grpo"):
            more = {"env_mask": [[0] * len(ids) for ids in COMPLETIONS]}
            trainer = given(tmp_path, more, loss_type=loss_type, entropy_coef=0.1)
            loss = trainer.compute_loss(trainer.model, score(trainer))
            loss.backward()
            assert loss == 0
            assert all((p.grad == 0).all() for p in trainer.model.parameters() if p.grad is not None)


class TestLoss:
    @used_by(TRAINER)
    def test_every_loss_goes_through_one_public_method(self, tmp_path: Path) -> None:
        """With a micro-batch of what scoring has handed on; TRL's private one gets it as it is."""
        trainer = given(tmp_path)
        compute, seen = trainer.compute_loss, []

        def keep(model: Any, inputs: dict[str, Any], *arguments: Any, **named: Any) -> Any:
            seen.append((named, inputs["completion_mask"].shape, inputs["prompt_mask"].shape))
            return compute(model, inputs, *arguments, **named)

        trainer.compute_loss = keep
        trainer.train()
        assert [shapes for _, *shapes in seen] == [[(2, 8), (2, 2)]] * 8
        assert all(named.keys() <= {"num_items_in_batch"} for named, *_ in seen)
        trainer._compute_loss = lambda model, inputs: (model, inputs)
        assert compute("model", "inputs") == ("model", "inputs")

    @used_by("tests/trainer/test_arithmetic.py")
    def test_logprobs_and_entropies_are_those_of_the_tempered_policy(self, tmp_path: Path) -> None:
        """A triple; (B, C) each, of every completion token, whatever is on its left."""
        trainer = given(tmp_path, temperature=0.7)
        output = score(trainer)
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
        mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
        with torch.no_grad():
            logps, entropies, _ = trainer._get_per_token_logps_and_entropies(
                trainer.model, ids, mask, 8, compute_entropy=True
            )
            for row, (prompt, completion) in enumerate(
                zip(rollout()["prompt_ids"], COMPLETIONS, strict=True)
            ):
                logits = trainer.model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
                expected = (logits / 0.7).log_softmax(-1)
                chosen = expected.gather(1, torch.tensor(completion)[:, None])[:, 0]
                torch.testing.assert_close(logps[row, : len(completion)], chosen, rtol=1e-4, atol=1e-5)
                entropy = -(expected.exp() * expected).sum(-1)
                torch.testing.assert_close(entropies[row, : len(completion)], entropy, rtol=1e-4, atol=1e-5)

    @used_by(TRAINER)
    def test_the_forward_pass_of_the_loss_is_the_one_with_entropies(self, tmp_path: Path) -> None:
        """One a micro-batch; the passes of the old and the reference policy, before it, have none."""
        adapted = add_adapter(tiny.model(), ModelConfig(lora=LoRAConfig(rank=2)))
        trainer = given(tmp_path, model=adapted, beta=0.1, gradient_accumulation_steps=2, max_steps=2)
        score, loss, calls = trainer._get_per_token_logps_and_entropies, trainer.compute_loss, []

        def scored(*arguments: Any, **named: Any) -> Any:
            found = score(*arguments, **named)
            assert len(found) == 3
            calls.append("none" if found[1] is None else tuple(found[0].shape))
            return found

        trainer._get_per_token_logps_and_entropies = scored
        trainer.compute_loss = lambda *given, **named: (calls.append("loss"), loss(*given, **named))[1]
        trainer.train()
        assert calls == ["none", "none"] + ["loss", (2, 8)] * 4

    @used_by("src/trainer/forward_pass.py")
    def test_in_its_module_one_name_decides_where_logits_are_computed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trainer, rows = given(tmp_path), []
        apply = trl.trainer.utils._ChunkedLogProbFunction.apply
        monkeypatch.setattr(
            trl.trainer.utils._ChunkedLogProbFunction,
            "apply",
            lambda hidden, *others: (rows.append(len(hidden)), apply(hidden, *others))[1],
        )
        output = score(trainer)
        for compact in (False, True):
            monkeypatch.setattr(trl.trainer.utils, "_use_triton", lambda device, compact=compact: compact)
            trainer.compute_loss(trainer.model, output)
        assert rows[-2:] == [8 * (2 + 8 - 1), sum(map(len, COMPLETIONS))]

    @used_by(TRAINER)
    def test_micro_batches_wait_in_a_list(self, tmp_path: Path) -> None:
        """A new one for each rollout, from which the next is taken by the number of the micro-batch."""
        trainer, seen = given(tmp_path, max_steps=2), []
        prepare, loss = trainer._prepare_inputs, trainer.compute_loss

        def swapped(batch: Any) -> Any:
            before = trainer._buffered_inputs
            inputs = prepare(batch)
            if trainer._buffered_inputs is not before:
                assert trainer._step % trainer.args.steps_per_generation == 0
                trainer._buffered_inputs = [
                    {**one, "mark": number} for number, one in enumerate(trainer._buffered_inputs)
                ]
                inputs = trainer._buffered_inputs[0]
            return inputs

        trainer._prepare_inputs = swapped
        trainer.compute_loss = lambda model, inputs, **named: (
            seen.append(inputs["mark"]), loss(model, inputs, **named)
        )[1]  # fmt: skip
        trainer.train()
        assert seen == [0, 1, 2, 3] * 2

    @used_by(TRAINER, "src/trainer/token_capture.py")
    def test_further_rows_reach_the_loss_with_their_trajectories(self, tmp_path: Path) -> None:
        trainer = given(tmp_path, max_steps=1)
        generate, loss, seen = trainer._generate_and_score_completions, trainer.compute_loss, []

        def numbered(inputs: Any) -> dict[str, Any]:
            output: dict[str, Any] = generate(inputs)
            return output | {"row": torch.arange(8)}

        def keep(model: Any, inputs: dict[str, Any], *arguments: Any, **named: Any) -> Any:
            lengths = inputs["completion_mask"].sum(dim=1).tolist()
            seen.extend(zip(inputs["row"].tolist(), lengths, strict=True))
            return loss(model, inputs, *arguments, **named)

        trainer._generate_and_score_completions, trainer.compute_loss = numbered, keep
        trainer.train()
        assert sorted(seen) == [(row, len(ids)) for row, ids in enumerate(COMPLETIONS)]
        assert [row for row, _ in seen] != list(range(8)), "shuffled"

    @used_by(SETTINGS)
    def test_the_reference_policy_is_loaded_by_name_and_knows_a_revision_only_if_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load = MagicMock(side_effect=lambda *_, **__: tiny.model())
        monkeypatch.setattr(grpo_trainer, "create_model_from_path", load)
        model = tiny.model()
        model.config._name_or_path = "somewhere"
        given(tmp_path, model=model, beta=0.1)
        given(tmp_path, model=model, beta=0.1, model_init_kwargs={"revision": "r"})
        assert [made.args for made in load.call_args_list] == [("somewhere",)] * 2
        assert [made.kwargs.get("revision") for made in load.call_args_list] == [None, "r"]

    @used_by("src/policy/adapters.py")
    def test_a_copy_of_the_adapter_is_the_reference(self, tmp_path: Path) -> None:
        """Under this name, if there is a KL term."""
        for beta, names in ((0.1, {"default", "ref"}), (0.0, {"default"})):
            adapted = add_adapter(tiny.model(), ModelConfig(lora=LoRAConfig(rank=2)))
            assert set(given(tmp_path, model=adapted, beta=beta).model.peft_config) == names


class TestFiles:
    @used_by("src/policy/settle.py")
    def test_a_file_that_cannot_be_had_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """If it is asked for so: not in a folder, not on the hub, or the hub is out of reach."""
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        asked = {f"_raise_exceptions_for_{what}": False for what in ("gated_repo", "missing_entries")}
        asked["_raise_exceptions_for_connection_errors"] = False
        for name, says in ((str(tmp_path), "notes"), ("nobody/nothing", "couldn't connect")):
            assert cached_file(name, "notes.json", **asked) is None
            with pytest.raises(OSError, match=says):
                cached_file(name, "notes.json")


class Watching(TrainerCallback):
    """Notes what happens when, and what is logged."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.logs: list[tuple[int, dict[str, float]]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.log.append("train")

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.log.append(f"step {state.global_step}")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        self.log.append(f"log {state.global_step}")
        self.logs.append((state.global_step, dict(logs)))


class TestLoop:
    @used_by(TRAINER, CALLBACKS, SETTINGS)
    def test_a_rollout_feeds_two_optimizer_steps_and_what_happens_when(self, tmp_path: Path) -> None:
        """A step begins before its rollout; rollouts see global steps 0 and 2; logs come after the step."""
        watch = Watching([])
        handed: list[dict[str, Any]] = []

        def roll(prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
            watch.log.append(f"rollout {trainer.state.global_step}")
            return rollout()

        trainer = plain(
            tmp_path, rollout_func=roll, callbacks=[watch],
            gradient_accumulation_steps=2, logging_steps=2, max_steps=4,
        )  # fmt: skip
        compute = trainer._compute_loss
        trainer._compute_loss = lambda model, inputs: (handed.append(inputs), compute(model, inputs))[1]
        trainer.train()
        assert watch.log == [
            "train",
            *("step 0", "rollout 0", "step 1", "log 2"),
            *("step 2", "rollout 2", "step 3", "log 4", "log 4"),  # the last is TRL's summary
        ]
        assert [(step, "loss" in logs) for step, logs in watch.logs] == [(2, True), (4, True), (4, False)]
        wanted = {name for name in TRL_METRICS if name != "kl" and not name.startswith("sampling/")}
        assert wanted <= set(watch.logs[0][1])

        assert len(handed) == 8
        for rollout_of in (handed[:4], handed[4:]):
            lengths = torch.cat([inputs["completion_mask"].sum(dim=1) for inputs in rollout_of])
            assert sorted(lengths.tolist()) == [1, 2, 3, 4, 5, 6, 7, 8]
        means = [0.25] * 4 + [0.125] * 4
        deviations = [0.95742711] * 4 + [0.75] * 4
        for inputs in handed:  # shuffled, but each row in one piece
            assert inputs["num_items_in_batch"] == 36
            for row, mask in enumerate(inputs["completion_mask"]):
                index = [len(ids) for ids in COMPLETIONS].index(int(mask.sum()))
                advantage = (REWARDS[index] - means[index]) / (deviations[index] + 1e-4)
                assert inputs["advantages"][row] == pytest.approx(advantage, abs=1e-5)

    @used_by(TRAINER)
    def test_dictionaries_are_printed_unless_the_printer_is_taken_out(self, tmp_path: Path) -> None:
        trainer = given(tmp_path)
        assert trainer.pop_callback(PrinterCallback) is not None
        assert tiny.trainer(tiny.config(), tmp_path).pop_callback(PrinterCallback) is None

    @used_by(TRAINER, "src/run/checkpoints.py")
    def test_checkpoints_go_where_the_arguments_say_at_that_moment(self, tmp_path: Path) -> None:
        trainer = given(tmp_path / "first")
        trainer.train()
        trainer.args.output_dir = str(tmp_path / "second")
        trainer._save_checkpoint(trainer.model, None)
        names = {path.name for path in (tmp_path / "second" / "checkpoint-2").iterdir()}
        assert {"optimizer.pt", "scheduler.pt", "trainer_state.json", "rng_state.pth"} <= names
        assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
        assert not (tmp_path / "first" / "checkpoint-2").exists()

    @used_by(TRAINER)
    def test_resuming_without_optimizer_is_silent(self, tmp_path: Path) -> None:
        """Which is why src/run/checkpoints.py refuses to."""
        trainer = given(tmp_path, save_strategy="steps", save_steps=1, max_steps=1)
        trainer.train()
        (tmp_path / "checkpoint-1" / "optimizer.pt").unlink()
        resumed = given(tmp_path)
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
        assert resumed.state.global_step == 2

    @used_by(TRAINER)
    def test_a_run_that_is_resumed_at_its_end_takes_one_step_more(self, tmp_path: Path) -> None:
        """Unless its epochs, which all go through one method, are left out."""
        given(tmp_path, save_strategy="steps", save_steps=2).train()
        resumed = given(tmp_path)
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
        assert resumed.state.global_step == 3
        skipped = given(tmp_path)
        skipped._run_epoch = lambda *_, **__: setattr(skipped.control, "should_training_stop", True)
        skipped.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
        assert skipped.state.global_step == 2

    @used_by(TRAINER)
    def test_one_process_reduces_and_gathers_to_what_it_has(self, tmp_path: Path) -> None:
        accelerator = given(tmp_path).accelerator
        values = torch.tensor([1.5, 2.5], dtype=torch.float64)
        assert torch.equal(accelerator.reduce(values, reduction="sum"), values)
        assert torch.equal(accelerator.gather(values > 2), values > 2)
        assert accelerator.reduce(values, reduction="sum").dtype == torch.float64

    @used_by(TRAINER, COLOCATED)
    def test_a_trainer_says_whether_its_weights_are_shared_out(self, tmp_path: Path) -> None:
        trainer = given(tmp_path)
        assert trainer.is_fsdp_enabled is False
        assert is_deepspeed_zero3_enabled() is False
        assert DistributedBackend(trainer.accelerator).is_zero3 is False
        assert FullyShardedDataParallelPlugin(fsdp_version=2).fsdp_version == 2
