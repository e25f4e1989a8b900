"""The viewer: what it writes is what records and token columns say, nothing more and nothing less."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import subprocess
import sys
import zlib
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from analysis import view
from analysis.data import AnalysisError
from analysis.viewer import frames, page, tokenizer
from analysis.viewer.run_data import CHUNK_ROWS, RunData, searched
from src.config.paths import ROOT
from src.run.records import ExecutionRecord, RecordWriter, read_records
from src.run.token_columns import CLIPS, read_tokens
from tests.analysis import viewer_run as made

OLD_RUN = ROOT / "tests" / "old_run"
TYPES = {"u8": "<u1", "u16": "<u2", "u32": "<u4", "i32": "<i4", "f64": "<f8"}


def unpack(data: bytes) -> dict[str, Any]:
    """Read a frame as the page does; float16 columns become lists, with None for null."""
    raw = zlib.decompress(data)
    length = int.from_bytes(raw[:4], "little")
    header, body = json.loads(raw[4 : 4 + length]), raw[4 + length :]
    found = dict(header["json"])
    for name, (kind, at, count) in header["columns"].items():
        if kind == "f16":
            high, low = body[at : at + count], body[at + count : at + 2 * count]
            bits = np.frombuffer(high, np.uint8).astype(np.uint16) << 8 | np.frombuffer(low, np.uint8)
            values = bits.view(np.float16)
            found[name] = [
                None if bit == frames.NULL16 else value for bit, value in zip(bits, values, strict=True)
            ]
        else:
            assert (4 + length + at) % np.dtype(TYPES[kind]).itemsize == 0
            found[name] = np.frombuffer(body, TYPES[kind], count, at).tolist()
    return found


class Embedded(HTMLParser):
    """The elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.data: dict[str, bytes] = {}
        self._in: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in = None
        if tag == "script":
            self._in = dict(attrs).get("id") or ""

    def handle_endtag(self, tag: str) -> None:
        self._in = None

    def handle_data(self, data: str) -> None:
        if self._in:
            self.data[self._in] = base64.b64decode(data, validate=True)
        elif self._in == "":
            self.scripts.append(data)


def loaded(folder: Path, name: str = "a", *, texts: bool = True) -> RunData:
    run = RunData(name, folder, made.codec() if texts else None, "" if texts else "it is lost")
    run.refresh()
    return run


def texts_of(run: RunData) -> list[dict[str, Any]]:
    return [one for chunk in range(len(run.starts()) - 1) for one in unpack(run.texts(chunk))["rows"]]


def tokens_of(run: RunData, number: int) -> dict[str, Any]:
    """Return the tokens of a trajectory as the page gets them."""
    starts = run.starts()
    chunk = max(at for at in range(len(starts) - 1) if starts[at] <= number)
    found = unpack(run.tokens(chunk))
    begin, end = found["starts"][number - starts[chunk]], found["starts"][number - starts[chunk] + 1]
    bytes_at = np.cumsum([0, *found["said_lengths"]])
    said = bytes(found["said"])
    own: dict[str, Any] = {
        name: found[name][begin:end]
        for name in ("token", "mask", "author", "reason", "clipped", *found)
        if name in found and isinstance(found[name], list) and len(found[name]) == found["starts"][-1]
    }
    own["ids"] = [found["vocabulary"][at] for at in own["token"]]
    own["bytes"] = [said[bytes_at[at] : bytes_at[at + 1]] for at in own["token"]] if found["texts"] else None
    own["codes"], own["prompt_tokens"] = found["codes"], found["prompt_tokens"][number - starts[chunk]]
    return own


def near(values: list[Any], wanted: list[float | None]) -> bool:
    """Whether values are the float16 of others, with null where they are null."""

    def same(value: Any, other: float | None) -> bool:
        if other is None or value is None:
            return value is None and other is None
        with np.errstate(over="ignore"):
            rounded = np.float16(other)
        return bool(rounded == value or (math.isnan(rounded) and math.isnan(value)))

    return all(same(value, other) for value, other in zip(values, wanted, strict=True))


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
            assert run.rows[number].values["tokens"] == (one.phase == "train")
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
        assert all(row.values["tokens"] for row in run.rows)
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
        assert [row.values["tokens"] for row in run.rows] == [True] * 4 + [False]
        later = made.record(step=2, attempt=1, policy="second 2")
        made.write_records(tmp_path, [later])
        made.write_tokens(tmp_path, [made.row(later)])
        assert run.refresh()
        assert [(row.values["step"], row.values["attempt"]) for row in run.rows] == [(0, 0), (1, 0), (2, 1)]
        assert run.epoch == 1
        assert [row.values["tokens"] for row in run.rows] == [True] * 3
        assert texts_of(run)[2]["segments"][0]["text"].startswith("second 2")

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
        having = {row.values["step"] for row in run.rows if row.values["tokens"]}
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


class TestPage:
    HOSTILE = "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>-->\u202e\x00\x1b"

    def test_only_its_own_scripts_and_no_address(self, tmp_path: Path) -> None:
        hostile = made.record(self.HOSTILE, policy=self.HOSTILE, problem=self.HOSTILE, subject=self.HOSTILE)
        made.write_records(tmp_path, [hostile])
        made.write_tokens(tmp_path, [made.row(hostile)])
        file = tmp_path / "view.html"
        page.write(file, [loaded(tmp_path, self.HOSTILE)])
        text = file.read_text(encoding="utf-8")
        assert "window.hit" not in text
        assert re.findall(r"\b(?:https?|wss?|ftp):|//\w+\.\w", text) == []
        inside = Embedded(text)
        (policy,) = [one["content"] or "" for tag, one in inside.tags if one.get("http-equiv")]
        digests = {
            f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'"
            for one in inside.scripts
        }
        allowed = dict(part.split(" ", 1) for part in policy.split("; "))
        assert set(allowed["script-src"].split()) == digests
        assert len(digests) == len(page.SCRIPTS)
        assert (allowed["default-src"], allowed["connect-src"]) == ("'none'", "'none'")
        for tag, attributes in inside.tags:
            assert not {name for name in attributes if name.startswith("on") or name == "style"}
            assert not {"src", "href"} & set(attributes) or tag == "link"
        assert self.HOSTILE in [row["problem"] for row in unpack(inside.data["run-0-texts-0"])["rows"]]
        assert unpack(inside.data["run-0-index"])["name"] == self.HOSTILE

    def test_scripts_take_no_markup_from_data(self) -> None:
        for name in page.SCRIPTS:
            script = (page.PAGE / f"{name}.js").read_text()
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", script
            ), name
            assert len(script.splitlines()) <= 300, name

    def test_every_script_is_in_the_page(self) -> None:
        assert sorted(path.stem for path in page.PAGE.glob("*.js")) == sorted(page.SCRIPTS)

    def test_several_runs(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            made.write(tmp_path / name, steps=1, seed=len(name))
        page.write(tmp_path / "view.html", [loaded(tmp_path / name, name) for name in ("a", "b")])
        inside = Embedded((tmp_path / "view.html").read_text())
        assert [unpack(inside.data[f"run-{at}-index"])["name"] for at in (0, 1)] == ["a", "b"]
        assert {f"run-{at}-{kind}" for at in (0, 1) for kind in ("about", "texts-0", "tokens-0")} <= set(
            inside.data
        )
        about = unpack(inside.data["run-1-about"])
        assert about["config"]["trainer"] == {"steps": 1}
        assert [row["reward"] for row in about["metrics"]] == [0.0]

    def test_half_a_surrogate_pair_is_kept(self, tmp_path: Path) -> None:
        one = asdict(made.record())
        one["segments"][0]["text"] = "a\ud800b"
        (tmp_path / "trajectories.jsonl").write_text(json.dumps(one) + "\n")
        page.write(tmp_path / "view.html", [loaded(tmp_path)])
        inside = Embedded((tmp_path / "view.html").read_text())
        assert unpack(inside.data["run-0-texts-0"])["rows"][0]["segments"][0]["text"] == "a\ud800b"

    def test_bytes_per_trajectory(self, tmp_path: Path) -> None:
        """With values that hardly compress, since they are random, and 150 tokens each."""
        records = [made.record(f"p/{at}", policy=f"{at} word " * 12) for at in range(4 * CHUNK_ROWS)]
        made.write_records(tmp_path, records)
        made.write_tokens(tmp_path, [made.row(one) for one in records])
        assert sum(len(made.ids_of(one)[0]) for one in records) / len(records) > 120
        page.write(tmp_path / "view.html", [loaded(tmp_path)])
        before, after = page.parts()
        size = (tmp_path / "view.html").stat().st_size - len(before + after)
        assert size / len(records) < 3000

    def test_a_long_trajectory_has_a_chunk_of_its_own(self, tmp_path: Path) -> None:
        short = made.record()
        with RecordWriter(tmp_path / "trajectories.jsonl") as writer:
            long = replace(short.segments[1], text="x" * (5 << 20))
            writer.write_records([short, replace(short, segments=[long]), short, short])
        assert loaded(tmp_path).starts() == [0, 1, 2, 4]


class TestCommand:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({}, r"run, runs: give one of them, run=FOLDER or 'runs="),
            ({"run": "x", "runs": {"a": "y"}}, r"run, runs: give one of them, .*, not run=x and 1 runs"),
            ({"run": "nowhere"}, r"run=nowhere: this folder does not exist; give the folder of a run"),
            ({"runs": {"a": "nowhere"}}, r"runs\.a=nowhere: this folder does not exist"),
            ({"run": "empty"}, r"run=empty: contains no trajectories\.jsonl; give the folder of a run or"),
            ({"run": "good", "tokenizer": "no"}, r"tokenizer=no: this folder does not exist; give one with"),
            ({"runs": {"a": "good"}}, r"out=null: with runs, the file must be named; give out=FILE\.html"),
            (
                {"run": "good", "out": "no/view.html"},
                r"out=no/view\.html: give a file in a folder that exists",
            ),
            ({"run": "good", "out": "good"}, r"out=good: give a file in a folder that exists"),
        ],
    )
    def test_what_is_wrong_is_named_with_a_remedy(
        self, settings: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "empty").mkdir()
        (tmp_path / "good").mkdir()
        (tmp_path / "good" / "trajectories.jsonl").touch()
        cfg = view.ViewConfig(**settings)
        with pytest.raises(AnalysisError, match=message):
            view.output(cfg, view.folders(cfg))

    def test_the_page_of_a_run_from_python(self, tmp_path: Path) -> None:
        written = made.write(tmp_path, steps=1)
        view.write_page(tmp_path, tmp_path / "view.html")
        inside = Embedded((tmp_path / "view.html").read_text())
        index = unpack(inside.data["run-0-index"])
        assert (index["name"], index["starts"][-1], index["note"]) == (tmp_path.name, len(written), "")
        assert unpack(inside.data["run-0-tokens-0"])["texts"]

    def test_damaged_records_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "trajectories.jsonl").write_text("{}\n")
        with pytest.raises(AnalysisError, match=r"trajectories\.jsonl:1: not a trajectory record"):
            view.load("a", tmp_path, None)

    def test_the_command_writes_one_file(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "analysis.view", f"run={OLD_RUN}", f"out={tmp_path / 'v.html'}"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
        records = len(read_records(OLD_RUN / "trajectories.jsonl"))
        assert f"written to {tmp_path / 'v.html'}: {records:,} trajectories" in ended.stdout
        assert [path.name for path in tmp_path.iterdir()] == ["v.html"]
