"""A run as the viewer reads it: what records and token columns say, no more and no less."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from analysis.viewer import page, tokenizer
from analysis.viewer.run_data import RunData, searched
from src.config.paths import ROOT
from src.run.records import ExecutionRecord, RecordWriter, read_records
from src.run.token_columns import CLIPS, read_tokens
from tests.analysis.viewer import run_files as made
from tests.analysis.viewer.reading import Embedded, loaded, near, texts_of, tokens_of, unpack

OLD_RUN = ROOT / "tests" / "old_run"


class TestTruth:
    def test_the_index_and_the_texts_are_those_of_the_records(self, tmp_path: Path) -> None:
        written = made.write(tmp_path, steps=30, problems=3, samples=2)
        run = loaded(tmp_path)
        index = unpack(run.index())
        assert len(run.starts()) > 2, "several chunks"
        assert index["starts"][-1] == len(written)
        for name, names in index["texts"].items():
            assert [None if not at else names[at - 1] for at in index[name]] == [
                getattr(one, name) for one in written
            ]
        same = ("step", "attempt", "sample", "level", "budget", "prompt_tokens", "dropped_tokens", "correct")
        for name in (*same, "correct_lenient", "group"):
            wanted = [getattr(one, name) for one in written]
            assert [None if math.isnan(value) else value for value in index[name]] == wanted
        assert index["reward"] == [one.rewards["total"] for one in written if one.rewards]
        assert index["reward/correctness"] == index["reward"]
        assert index["policy_tokens"] == [one.tokens("policy") for one in written]
        for text, one in zip(texts_of(run), written, strict=True):
            whole = asdict(one)
            for name in ("problem", "prompt", "rewards", "segments", "executions"):
                assert text[name] == whole[name]
            assert text["seed"] == str(one.seed)

    def test_tokens_are_those_of_the_columns(self, tmp_path: Path) -> None:
        written = made.write(tmp_path)
        run = loaded(tmp_path)
        checked = 0
        for number, one in enumerate(written):
            assert run.rows[number].values["token_columns"] == (one.phase == "train")
            if one.phase != "train":
                continue
            (wanted,) = (
                read_tokens(tmp_path, one.step)
                .filter((pl.col("problem_id") == one.problem_id) & (pl.col("sample") == one.sample))
                .iter_rows(named=True)
            )
            found = tokens_of(run, number)
            assert found["ids"] == wanted["token_ids"]
            assert found["mask"] == wanted["mask"]
            assert found["prompt_tokens"] == wanted["prompt_tokens"]
            for name in ("author", "reason", "clipped"):
                names = [*found["codes"][name], *[None] * 256]
                assert [names[code] for code in found[name]] == wanted[name]
            for name in ("sampled_logprob", "logprob", "entropy", "ratio", "engine_weight"):
                assert near(found[name], wanted[name]), name
            at = wanted["prompt_tokens"]
            for segment in one.segments:
                said = b"".join(found["bytes"][at : at + segment.tokens])
                assert said.decode("utf-8", "replace") == segment.text
                at += segment.tokens
            assert at == len(found["ids"])
            checked += 1
        assert checked == 24

    def test_no_difference_and_no_advantage_outside_the_loss(self, tmp_path: Path) -> None:
        one = made.record()
        row = made.row(one)
        # the engine may say something of tokens that are not trained on
        row["sampled_logprob"] = [-1.0] * len(row["token_ids"])
        row["logprob"] = [-2.5] * len(row["token_ids"])
        made.write_records(tmp_path, [one])
        made.write_tokens(tmp_path, [row])
        found = tokens_of(loaded(tmp_path), 0)
        assert found["difference"] == [-1.5 if counts else None for counts in row["mask"]]
        assert near(found["advantage"], [row["advantage"] if counts else None for counts in row["mask"]])

    def test_the_difference_is_that_before_the_first_update(self, tmp_path: Path) -> None:
        one = made.record()
        row = made.row(one)
        size = len(row["token_ids"])
        row |= {"sampled_logprob": [-1.0] * size, "logprob": [-9.0] * size, "old_logprob": [-1.25] * size}
        made.write_records(tmp_path, [one])
        made.write_tokens(tmp_path, [row])
        found = tokens_of(loaded(tmp_path), 0)
        assert set(found["difference"]) == {None, -0.25}
        assert set(found["old_logprob"]) == {-1.25}

    def test_null_nan_and_infinity_stay_apart(self, tmp_path: Path) -> None:
        one = made.record()
        row = made.row(one, sampled_logprob=None, clipped=None)
        special = [math.nan, math.inf, -math.inf, None, 1e6]
        row["ratio"] = (special * len(row["token_ids"]))[: len(row["token_ids"])]
        made.write_records(tmp_path, [one])
        made.write_tokens(tmp_path, [row])
        run = loaded(tmp_path)
        found = tokens_of(run, 0)
        assert near(found["ratio"], row["ratio"])
        assert set(found["sampled_logprob"]) == {None}
        assert set(found["difference"]) == {None}
        assert set(found["clipped"]) == {255}
        assert run.rows[0].values["clipped"] is None

    def test_what_the_list_and_the_step_say_of_tokens(self, tmp_path: Path) -> None:
        written = made.write(tmp_path, steps=1)
        run = loaded(tmp_path)
        index = unpack(run.index())
        all_of_step = []
        for number, one in enumerate(written):
            if one.phase != "train":
                continue
            row = made.row(one)
            trained = [at for at, counts in enumerate(row["mask"]) if counts]
            pick = {
                name: [row[name][at] for at in trained] for name in ("logprob", "entropy", "sampled_logprob")
            }
            assert index["lowest_logprob"][number] == min(pick["logprob"])
            assert index["entropy"][number] == pytest.approx(np.mean(pick["entropy"]))
            apart = np.abs(np.float32(pick["logprob"]) - np.float32(pick["sampled_logprob"]))
            assert index["difference"][number] == pytest.approx(apart.mean())
            clipped = sum(row["clipped"][at] in CLIPS[1:] for at in trained)
            assert index["clipped"][number] == clipped
            all_of_step += [(row["logprob"][at], number, at, row["token_ids"][at]) for at in trained]
        found = [(one["logprob"], one["row"], one["at"], one["id"]) for one in index["surprising"]["0"]]
        assert found == sorted(all_of_step)[:10]

    def test_words_are_searched_in_problem_segments_and_executions(self) -> None:
        ran = [ExecutionRecord("error", 0.1, "NameError: x", "python", "y = x", "Trace")]
        text = asdict(made.record(problem="Ein Problem", executions=ran))
        for word in ("Ein Problem", "boxed{4}", "NameError", "y = x", "Trace"):
            assert word in searched(text)


class TestAttempts:
    def resumed(self, folder: Path) -> None:
        records = [made.record(step=step, policy=f"first {step}") for step in range(4)]
        records += [made.record(step=step, attempt=1, policy=f"second {step}") for step in (2, 3)]
        made.write_records(folder, records)
        made.write_tokens(folder, [made.row(one) for one in records])

    def test_superseded_ones_are_left_out(self, tmp_path: Path) -> None:
        self.resumed(tmp_path)
        run = loaded(tmp_path)
        assert [row.values["attempt"] for row in run.rows] == [0, 0, 1, 1]
        assert all(row.values["token_columns"] for row in run.rows)
        found = zip(texts_of(run), read_records(tmp_path / "trajectories.jsonl"), strict=True)
        assert all(text["segments"] == asdict(one)["segments"] for text, one in found)
        page.write(tmp_path / "view.html", [run])
        inside = Embedded((tmp_path / "view.html").read_text())
        assert all(b"first 2" not in zlib.decompress(data) for data in inside.data.values())
        assert any(b"second 2" in zlib.decompress(data) for data in inside.data.values())

    def test_a_resumption_while_the_run_is_watched(self, tmp_path: Path) -> None:
        before = [made.record(step=step, policy=f"first {step}") for step in range(4)]
        made.write_records(tmp_path, before)
        run = loaded(tmp_path)
        assert (len(run.rows), run.epoch, run.version) == (4, 0, 1)
        assert not run.refresh()
        made.write_records(tmp_path, [made.record(step=4, policy="first 4")])
        made.write_tokens(tmp_path, [made.row(one) for one in before])
        assert run.refresh()
        assert (len(run.rows), run.epoch) == (5, 0), "the rows that were there keep their numbers"
        assert [row.values["token_columns"] for row in run.rows] == [True] * 4 + [False]
        later = made.record(step=2, attempt=1, policy="second 2")
        made.write_records(tmp_path, [later])
        made.write_tokens(tmp_path, [made.row(later)])
        assert run.refresh()
        assert [(row.values["step"], row.values["attempt"]) for row in run.rows] == [(0, 0), (1, 0), (2, 1)]
        assert run.epoch == 1
        assert [row.values["token_columns"] for row in run.rows] == [True] * 3
        assert texts_of(run)[2]["segments"][0]["text"].startswith("second 2")

    def test_a_step_that_ends_while_the_records_are_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        both = [made.record(sample=sample) for sample in (0, 1)]
        made.write_records(tmp_path, both[:1])
        read = RunData._refresh_records

        def overtaken(run: RunData) -> bool:
            changed = read(run)
            monkeypatch.setattr(RunData, "_refresh_records", read)
            made.write_records(tmp_path, both[1:])
            made.write_tokens(tmp_path, [made.row(one) for one in both])
            return changed

        monkeypatch.setattr(RunData, "_refresh_records", overtaken)
        run = loaded(tmp_path)
        run.refresh()
        assert [row.values["token_columns"] for row in run.rows] == [True, True]

    def test_a_line_that_is_being_written_is_left_for_later(self, tmp_path: Path) -> None:
        made.write_records(tmp_path, [made.record()])
        file = tmp_path / "trajectories.jsonl"
        line = json.dumps(asdict(made.record(sample=1))) + "\n"
        with file.open("a") as content:
            content.write(line[:50])
        run = loaded(tmp_path)
        assert len(run.rows) == 1
        with file.open("a") as content:
            content.write(line[50:])
        assert run.refresh()
        assert texts_of(run)[1]["segments"] == asdict(made.record())["segments"]


class TestIncomplete:
    def test_old_records(self) -> None:
        run = loaded(OLD_RUN)
        assert "no token columns (records.tokens=true" in unpack(run.index())["note"]
        records = read_records(OLD_RUN / "trajectories.jsonl")
        texts = texts_of(run)
        assert [text["segments"] for text in texts] == [asdict(one)["segments"] for one in records]
        assert {text["prompt"] for text in texts} == {None}

    def test_programs_of_records_that_are_older_than_the_field(self, tmp_path: Path) -> None:
        one = made.record()
        made.write_records(tmp_path, [replace(one, executions=[ExecutionRecord("ok", 0.5, None)])])
        (text,) = texts_of(loaded(tmp_path))
        assert text["executions"][0]["code"] == one.executions[0].code
        assert text["executions"][0]["output"] is None

    def test_without_tokenizer(self, tmp_path: Path) -> None:
        made.write(tmp_path, steps=1)
        (tmp_path / "config.json").unlink()
        codec, why = tokenizer.load(tmp_path, None)
        assert codec is None
        assert "neither a checkpoint nor a config.json; give its folder with tokenizer=FOLDER" in why
        run = loaded(tmp_path, texts=False)
        assert "shown by segment, since the tokenizer is missing: it is lost" in unpack(run.index())["note"]
        assert tokens_of(run, 4)["bytes"] is None

    def test_some_steps_without_columns(self, tmp_path: Path) -> None:
        made.write(tmp_path, steps=3)
        (tmp_path / "tokens" / "step-000001-attempt-0.parquet").unlink()
        run = loaded(tmp_path)
        having = {row.values["step"] for row in run.rows if row.values["token_columns"]}
        assert having == {0, 2}
        assert set(unpack(run.index())["surprising"]) == {"0", "2"}

    def test_an_empty_run(self, tmp_path: Path) -> None:
        (tmp_path / "trajectories.jsonl").touch()
        run = loaded(tmp_path)
        assert unpack(run.index())["starts"] == [0]
        page.write(tmp_path / "view.html", [run])

    def test_trajectories_with_one_key(self, tmp_path: Path) -> None:
        twins = [made.record(policy="one"), made.record(policy="other")]
        made.write_records(tmp_path, twins)
        made.write_tokens(tmp_path, [made.row(one) for one in twins])
        run = loaded(tmp_path)
        assert unpack(run.index())["number"] == [0, 1]
        assert [tokens_of(run, at)["ids"] for at in (0, 1)] == [made.ids_of(one)[0] for one in twins]


class TestTokenizer:
    def test_the_checkpoint_comes_before_the_model(self, tmp_path: Path) -> None:
        made.describe(tmp_path, 1)
        codec, why = tokenizer.load(tmp_path, None)
        assert (codec is not None, why) == (True, "")
        broken = tmp_path / "elsewhere"
        broken.mkdir()
        codec, why = tokenizer.load(tmp_path, str(broken))
        assert codec is None
        assert f"{broken} cannot be loaded" in why


class TestChunks:
    def test_a_long_trajectory_has_a_chunk_of_its_own(self, tmp_path: Path) -> None:
        short = made.record()
        with RecordWriter(tmp_path / "trajectories.jsonl") as writer:
            long = replace(short.segments[1], text="x" * (5 << 20))
            writer.write_records([short, replace(short, segments=[long]), short, short])
        assert loaded(tmp_path).starts() == [0, 1, 2, 4]
