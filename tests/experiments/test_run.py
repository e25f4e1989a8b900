"""The runner, with stand-ins for its commands: order, failures, kills, and what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.reproduce import folder as folders
from experiments.reproduce.config import Experiment, ExperimentConfig, SourceConfig, SuiteConfig
from experiments.reproduce.folder import DURATIONS, Durations, Folder
from experiments.reproduce.pace import Pace, span
from experiments.reproduce.plan import MERGE, TRAIN, Command, CommandPlan
from experiments.reproduce.publish import publish
from experiments.reproduce.run import CommandError, Runner, cores
from src.config import Config
from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.run.provenance import save
from tests.experiments.job import command, plan, run, starts


def begin(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """Start a runner of two commands at once."""
    arguments = [sys.executable, "-m", "tests.experiments.job", str(folder), "2", str(seconds)]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def working_in(folder: Path) -> set[int]:
    """The processes that were told this folder, or one in it."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
        except OSError:
            continue  # it ended meanwhile
    return found


def wait_until(condition: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


class TestRunner:
    def test_runs_everything_and_needed_things_first(self, tmp_path: Path) -> None:
        run(tmp_path, plan(0), 1)
        assert starts(tmp_path) == dict.fromkeys(
            [
                *("train/c", "evaluate/c-free", "train/a", "train/b"),
                *("first/ablation", "second/pass_at_k", "report"),
            ],
            1,
        )
        assert (tmp_path / "train" / "c" / "log.txt").read_text().splitlines()[1:] == ["at work"]
        assert (tmp_path / "train" / "c" / "threads").read_text() == str(cores())
        assert json.loads((tmp_path / "first" / "about.json").read_text())["title"] == "first/ablation"

    def test_again_only_analyses_are_made(self, tmp_path: Path) -> None:
        run(tmp_path, plan(0), 2)
        stale = [tmp_path / "first" / "ablation" / "old.png", tmp_path / "first" / "given_up" / "x.json"]
        for one in stale:
            one.parent.mkdir(exist_ok=True)
            one.touch()
        run(tmp_path, plan(0), 2)
        again = {name for name, number in starts(tmp_path).items() if number == 2}
        assert again == {"first/ablation", "second/pass_at_k", "report"}
        assert not any(one.exists() for one in stale)

    def test_a_merge_starts_afresh_and_is_made_once(self, tmp_path: Path) -> None:
        one = Command("evaluate/a/merged", MERGE, MERGE, "tests.experiments.stand_in", ("0",))
        half = tmp_path / one.name / "trajectories.jsonl"
        half.parent.mkdir(parents=True)
        half.touch()
        for _ in range(2):
            run(tmp_path, CommandPlan({one.name: one}), 1)
        assert not half.exists()
        assert starts(tmp_path) == {one.name: 1}

    def test_a_failure_lets_the_others_finish_and_starts_nothing(self, tmp_path: Path) -> None:
        commands = [command("train/bad", 0, "fail"), command("train/good", 1), command("train/later", 0)]
        with pytest.raises(CommandError) as caught:
            run(tmp_path, CommandPlan({one.name: one for one in commands}), 2)
        log = tmp_path / "train" / "bad" / "log.txt"
        assert f"train/bad: ended with exit code 1; the end of {log}:" in str(caught.value)
        assert str(caught.value).endswith("\n  cannot be done")
        assert (tmp_path / "train" / "good" / "summary.json").is_file()
        assert list(starts(tmp_path)) == ["train/bad", "train/good"]

    def test_success_without_a_result_is_a_failure(self, tmp_path: Path) -> None:
        one = command("train/a", 0, "silent")
        with pytest.raises(CommandError, match=r"train/a: wrote no summary\.json"):
            run(tmp_path, CommandPlan({one.name: one}), 1)

    def test_killed_it_leaves_nothing_behind_and_goes_on(self, tmp_path: Path) -> None:
        process = begin(tmp_path, 2)
        wait_until(lambda: (tmp_path / "train" / "c" / "summary.json").is_file())
        process.kill()
        process.communicate()
        wait_until(lambda: not working_in(tmp_path), 10)
        finished = {path.parent.name for path in tmp_path.glob("*/*/summary.json")}
        run(tmp_path, plan(0), 2)  # at once: the lock is free as soon as its commands have ended
        number = starts(tmp_path)
        assert {name.partition("/")[2] for name, count in number.items() if count > 1} & finished == set()
        assert set(number) == set(plan(0).commands)
        assert json.loads((tmp_path / DURATIONS).read_text())["attempts"] == 2

    def test_interrupted_it_ends_its_commands(self, tmp_path: Path) -> None:
        process = begin(tmp_path, 60)
        wait_until(lambda: len(list(tmp_path.glob("train/*/threads"))) == 2)
        assert len(working_in(tmp_path)) == 3
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
        assert "KeyboardInterrupt" in output
        assert working_in(tmp_path) == set()


class TestFolder:
    def test_is_of_one_runner_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folders, "_WAIT", 0.0)
        with Folder(tmp_path), pytest.raises(ConfigError, match="another process is using it"):
            Folder(tmp_path)
        with Folder(tmp_path):
            pass

    def test_shards_share_it_and_everything_has_it_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(folders, "_WAIT", 0.0)
        with Folder(tmp_path, "0/2") as first, Folder(tmp_path, "1/2") as second:
            assert {first.durations.name, second.durations.name} == {
                *("durations-0-of-2.json", "durations-1-of-2.json")
            }
            for shard in (None, "0/2"):
                with pytest.raises(ConfigError, match="another process is using it"):
                    Folder(tmp_path, shard)
        with Folder(tmp_path), pytest.raises(ConfigError, match="another process is using it"):
            Folder(tmp_path, "0/2")

    def test_inputs_that_have_changed_are_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "aime24.jsonl"
        file.write_text("{}\n")
        inputs = {"benchmarks.aime24": str(file), "models.a": "owner/name"}
        with Folder(tmp_path / "made", "0/2") as part:
            part.check({}, None, inputs)
            part.check({}, None, inputs)
        with Folder(tmp_path / "made") as whole:
            whole.check({}, None, inputs | {"models.b": "owner/other"})
            with pytest.raises(
                ConfigError, match=r"models\.a=x: .* started with owner/name, and it is now x"
            ):
                whole.check({}, None, {"models.a": "x"})
            file.write_text("{}\n{}\n")
            with pytest.raises(ConfigError, match=r"benchmarks\.aime24=.*its files have changed; restore"):
                whole.check({}, None, inputs)

    @pytest.fixture
    def training(self) -> Command:
        return Command("train/a", TRAIN, TRAIN, "src.train", (), config=Config())

    @pytest.mark.parametrize("finished", [False, True])
    def test_what_was_made_otherwise_is_refused(
        self, tmp_path: Path, training: Command, finished: bool
    ) -> None:
        folder, made = Folder(tmp_path), tmp_path / "train" / "a"
        cfg = Config()
        save(replace(cfg, trainer=replace(cfg.trainer, kl_coef=0.5, resume="x")), made)
        if finished:
            (made / "summary.json").write_text("{}")
        with pytest.raises(ConfigError) as caught:
            folder.check({training.name: training}, "experiments/mini_base")
        assert caught.value.faults == (
            f"trainer.kl_coef=0.0: {made} was made with 0.5; use that, remove {made}, or choose another "
            "folder",
        )

    def test_what_was_made_so_is_taken(self, tmp_path: Path, training: Command) -> None:
        folder, made = Folder(tmp_path), tmp_path / "train" / "a"
        cfg = Config()
        save(replace(cfg, sandbox=replace(cfg.sandbox, workers=7)), made)
        recorded = json.loads((made / "config.json").read_text())
        del recorded["trainer"]["kl_coef"]  # the project has got it since
        recorded["rollout"]["boundary"] = "fence"  # which is called exact since
        (made / "config.json").write_text(json.dumps(recorded))
        folder.check({training.name: training}, "experiments/mini_base")

    def test_an_evaluation_of_a_policy_that_was_removed_is_refused(
        self, tmp_path: Path, training: Command
    ) -> None:
        folder, made = Folder(tmp_path), tmp_path / "evaluate" / "a"
        evaluation = Command("evaluate/a", "evaluate", "evaluate", "", (), ("train/a",), config=Config())
        save(Config(), made)
        with pytest.raises(ConfigError, match=r"evaluate/a: its input .*train/a no longer exists"):
            folder.check({one.name: one for one in (training, evaluation)}, "experiments/mini_base")

    def test_another_base_is_refused(self, tmp_path: Path) -> None:
        base = tmp_path / "base"
        base.mkdir()
        (base / "config.json").write_text("{}")
        folder = Folder(tmp_path / "made")
        folder.check({}, str(base))
        folder.check({}, str(base))
        (base / "config.json").write_text('{"layers": 2}')
        with pytest.raises(ConfigError, match="its files have changed; restore it"):
            folder.check({}, str(base))
        with pytest.raises(ConfigError, match=r"suite\.base=elsewhere: .* and it is now elsewhere"):
            folder.check({}, "elsewhere")


class TestPace:
    def test_learns_from_what_has_finished(self) -> None:
        pace = Pace()
        commands = {name: command(name) for name in ("train/a", "train/b", "evaluate/c", "first/ablation")}
        assert pace.left(commands, {}, 2) is None  # nothing is known of trainings
        pace.learn(command("train/z"), 100)
        pace.learn(command("evaluate/z"), 50)
        assert pace.left(commands, {}, 2) == (100 + 100 + 50 + 10) / 2
        assert pace.left(commands, {"train/a": 40, "evaluate/c": 70}, 1) == 60 + 100 + 10

    def test_a_resumed_runner_knows_what_earlier_ones_learnt(self, tmp_path: Path) -> None:
        run(tmp_path, plan(0), 2)
        durations = Durations(tmp_path / DURATIONS)
        taken = durations.commands
        assert set(taken) == set(plan(0).commands)
        assert 0 < sum(taken.values()) <= 2 * durations.earlier
        runner = Runner(plan(0), Folder(tmp_path), durations, 2)
        assert runner.finished == 4

    def test_says_a_duration(self) -> None:
        assert [span(x) for x in (7.4, 99, 150, 3660)] == ["7 s", "99 s", "2 min", "1 h 01 min"]


def test_published_are_small_results_and_a_page(tmp_path: Path) -> None:
    def experiment(name: str, analysis: str) -> Experiment:
        cfg = ExperimentConfig(
            question="Does it?",
            claim="It does.",
            arms={"one": [], "other": ["x.y=2"]},
            analyses={analysis: {}},
        )
        return Experiment(tmp_path / "experiments" / name, cfg)

    first, second = experiment("first", "ablation"), experiment("second", "pass_at_k")
    second.cfg.policies = {"rl": [SourceConfig("other", ["free"], ["z=3"])]}
    old = first.folder / "result" / "mini" / "ablation" / "old.png"
    of_another_suite = first.folder / "result" / "midi" / "ablation" / "kept.png"
    for path in (old, of_another_suite):
        path.parent.mkdir(parents=True)
        path.touch()
    run(tmp_path / "made", plan(0), 2)
    for name in ("ablation.png", "ablation.svg", "verdicts.csv", "curves.csv"):
        (tmp_path / "made" / "first" / "ablation" / name).write_text(name)
    for one, sentences in ((first, ["other has higher m than one"]), (second, [])):
        (name,) = one.cfg.analyses
        results = {"verdicts": [{"sentence": sentence} for sentence in sentences]}
        (tmp_path / "made" / one.name / name / f"{name}.json").write_text(json.dumps({"results": results}))
    folder = Folder(tmp_path / "made")
    durations = Durations(folder.path / DURATIONS)
    assert publish(plan(0), [first, second], SuiteConfig("mini"), folder, durations) == [
        one.folder / "result" / "mini" for one in (first, second)
    ]
    result = first.folder / "result" / "mini"
    assert {path.name for path in (result / "ablation").iterdir()} == {
        *("ablation.json", "ablation.png", "ablation.svg", "verdicts.csv", "summary.json")
    }
    assert of_another_suite.exists()
    note = json.loads((result / "reproduce.json").read_text())
    assert (note["suite"], note["commits"], note["commands"]) == ("mini", ["abc"], 2)
    assert note["cores"] == cores()
    page = (result / "README.md").read_text()
    for line in (
        *("# First, suite mini", "Does it?", "| one | none |", "| other | `x.y=2` |", "## Ablation"),
        *("- other has higher m than one", "![ablation](ablation/ablation.png)"),
    ):
        assert f"\n{line}\n" in f"\n{page}"
    assert "Evaluations" not in page
    page = (second.folder / "result" / "mini" / "README.md").read_text()
    assert "| rl | other | free | `z=3` |" in page
    assert json.loads((second.folder / "result" / "mini" / "reproduce.json").read_text())["commands"] == 2


def test_the_program_ends_in_seconds_on_a_mistyped_override_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "experiments" / "tenth").mkdir(parents=True)
    file = tmp_path / "experiments" / "tenth" / "experiment.yaml"
    file.write_text("{question: q, claim: c, arms: {a: [trainer.stepz=3]}, analyses: {ablation: {}}}")
    given = [f"folder={tmp_path / 'made'}", f"experiments={tmp_path / 'experiments'}"]
    ended = subprocess.run(
        [sys.executable, "-m", "experiments.reproduce", *given], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert (
        f"{file}: arms.a: trainer.stepz=3: there is no such key; did you mean trainer.steps?" in ended.stderr
    )
    assert not (tmp_path / "made").exists()
