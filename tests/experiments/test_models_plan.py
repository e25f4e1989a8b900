"""What is measured of given models: shared, divided over machines, and refused where it cannot be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from experiments.reproduce import models_plan
from experiments.reproduce.config import ReproduceConfig
from experiments.reproduce.models import download_config, given_models, name_of
from experiments.reproduce.models_plan import ModelsPlan, check_inputs, inputs_of, make_models_plan
from experiments.reproduce.names import text
from experiments.reproduce.plan import ANALYSIS, EVALUATE, MERGE, REPORT
from src.config import EvaluationConfig
from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.launch.entry import composed
from src.problems.mini import generate
from tests.experiments.job import starts
from tests.experiments.test_run import wait_until, working_in

BASE = str(ROOT / "experiments" / "mini_base")
USED = ("math500", "aime24", "olymmath_hard")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Three easy generated problems in the place of each benchmark."""
    tmp_path, found = tmp_path_factory.mktemp("benchmarks"), {}
    for number, option in enumerate(USED):
        file = tmp_path / f"{option}.jsonl"
        rows = [
            {
                "problem": one.text,
                "answer": one.answer,
                "id": one.id,
                "unique_id": one.id,
                "subject": one.subject,
                "level": one.level,
            }
            for one in generate(3, number, "heldout", None, [1])
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found[option] = str(file)
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A copy of the base, as a checkpoint of a run."""
    folder = tmp_path_factory.mktemp("runs") / "rl" / "checkpoints" / "step-3"
    shutil.copytree(BASE, folder)
    return str(folder)


def overrides(files: dict[str, str], *models: str) -> list[str]:
    return [
        *("suite=paper", f"models={text(list(models))}", f"benchmarks={text(files)}"),
        *("suite.given.table.benchmarks=[math500,aime24]", "suite.given.table.k=3"),
        *("suite.given.pass_at_k.benchmarks=[aime24,olymmath_hard]", "suite.given.pass_at_k.k=4"),
        *("suite.given.token_efficiency.benchmarks=[aime24]", "suite.given.token_efficiency.k=4"),
        *(f"suite.given.long_cot={BASE}", 'suite.given.long_cot_overrides=["rollout.max_tokens=256"]'),
        *("suite.given.max_tokens=128", "suite.given.engine=transformers"),
    ]


def configured(given: list[str], *more: str) -> ReproduceConfig:
    return composed("reproduce", [*given, "folder=made", *more], ReproduceConfig)


@pytest.fixture(scope="module")
def plan(files: dict[str, str], trained: str) -> ModelsPlan:
    """The base and the trained policy in all three parts."""
    return make_models_plan(configured(overrides(files, BASE, trained)))


def of_kind(plan: ModelsPlan, kind: str) -> list[str]:
    return [name for name, one in plan.commands.items() if one.kind == kind]


class TestPlan:
    def test_parts_share_evaluations_and_have_their_own_k(
        self, plan: ModelsPlan, files: dict[str, str], trained: str
    ) -> None:
        names = ("mini_base", "rl-step-3")
        assert of_kind(plan, EVALUATE) == [
            *(f"evaluate/{name}-math500-free-k1" for name in names),  # greedy
            *(f"evaluate/{name}-aime24-free-k3" for name in names),
            *(
                f"evaluate/{name}-{option}-{mode}-k4"
                for option in ("aime24", "olymmath_hard") for name in names for mode in ("text", "code")
            ),
            "evaluate/long_cot-aime24-text-k4-rollout.max_tokens-256",
        ]  # fmt: skip
        assert of_kind(plan, ANALYSIS) == [
            *("table/table", "pass_at_k/aime24", "pass_at_k/olymmath_hard", "token_efficiency/aime24")
        ]
        one = plan.commands["evaluate/rl-step-3-aime24-code-k4"].config
        assert isinstance(one, EvaluationConfig)
        assert (one.model.path, one.benchmark.path, one.benchmark.name) == (
            trained,
            files["aime24"],
            "AIME24",
        )
        assert (one.evaluate.modes, one.evaluate.top_p, one.evaluate.budget) == (["code"], 0.95, 5)
        assert (one.evaluate.temperature, one.evaluate.k, one.rollout.max_tokens) == (1.0, 4, 128)
        greedy = plan.commands["evaluate/mini_base-math500-free-k1"].config
        assert greedy is not None
        assert (greedy.evaluate.temperature, greedy.evaluate.k) == (0.0, 1)
        thinker = plan.commands["evaluate/long_cot-aime24-text-k4-rollout.max_tokens-256"].config
        assert thinker is not None
        assert thinker.rollout.max_tokens == 256

    def test_analyses_read_what_they_need_under_the_names_of_models(self, plan: ModelsPlan) -> None:
        def given(name: str) -> dict[str, object]:
            parsed = OverridesParser.create().parse_overrides(list(plan.commands[name].overrides))
            return {one.key_or_group: one.value() for one in parsed}

        assert given("table/table")["policies"] == {
            name: {
                "MATH500": [f"made/evaluate/{name}-math500-free-k1"],
                "AIME24": [f"made/evaluate/{name}-aime24-free-k3"],
            }
            for name in ("mini_base", "rl-step-3")
        }
        assert given("pass_at_k/aime24")["policies"] == {
            name: [f"made/evaluate/{name}-aime24-{mode}-k4" for mode in ("text", "code")]
            for name in ("mini_base", "rl-step-3")
        }
        assert given("pass_at_k/aime24")["pairs"] == [
            *(["mini_base_text", "mini_base_code"], ["rl-step-3_text", "rl-step-3_code"]),
            *(["mini_base_text", "rl-step-3_text"], ["mini_base_code", "rl-step-3_code"]),
        ]
        tokens = given("token_efficiency/aime24")
        assert "long_cot" in tokens["policies"]  # type: ignore[operator]
        assert ["long_cot_text", "rl-step-3_code"] in tokens["pairs"]  # type: ignore[operator]
        needs = plan.commands["token_efficiency/aime24"].needs
        assert len(needs) == 5
        assert set(needs) <= set(plan.commands)
        assert plan.commands[REPORT].overrides[0] == (
            'folders=["made/table", "made/pass_at_k", "made/token_efficiency"]'
        )

    def test_shards_of_an_evaluation_are_merged_before_they_are_read(self, files: dict[str, str]) -> None:
        plan = make_models_plan(configured(overrides(files, BASE), "suite.given.shards=2", "only=[table]"))
        name = "evaluate/mini_base-aime24-free-k3"
        assert of_kind(plan, MERGE) == ["evaluate/mini_base-math500-free-k1/merged", f"{name}/merged"]
        merge = plan.commands[f"{name}/merged"]
        assert merge.needs == (f"{name}/shard-0-of-2", f"{name}/shard-1-of-2")
        assert merge.overrides == (f'folders=["made/{name}/shard-0-of-2", "made/{name}/shard-1-of-2"]',)
        shards = [plan.commands[one].config for one in merge.needs]
        assert [one.evaluate.shard for one in shards if one] == ["0/2", "1/2"]
        assert plan.commands["table/table"].needs[1] == f"{name}/merged"

    def test_machines_have_every_evaluation_between_them(
        self, plan: ModelsPlan, files: dict[str, str], trained: str
    ) -> None:
        whole, given = of_kind(plan, EVALUATE), overrides(files, BASE, trained)
        parts = [make_models_plan(configured(given, f"shard={i}/2")) for i in range(2)]
        assert sorted(name for plan in parts for name in plan.commands) == sorted(whole)
        assert [len(plan.commands) for plan in parts] == [7, 6]
        assert [len([name for name in plan.commands if name.endswith("-k4")]) for plan in parts] == [4, 4]

    def test_the_paper_s_own_sizes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As in conf/suite/paper.yaml: the paper's benchmarks, arms and numbers of samples."""
        monkeypatch.setattr(models_plan, "download_config", lambda *_: [])
        cfg = composed("reproduce", ["suite=paper", "models=[qwen2.5_math_7b,qwen3_8b]"], ReproduceConfig)
        given = cfg.suite.given
        five = ["math500", "amc23", "aime24", "aime25", "olymmath_easy"]
        assert (given.table.benchmarks, given.table.k) == (five, None)
        four = ["aime24", "aime25", "olymmath_easy", "olymmath_hard"]
        assert (given.pass_at_k.benchmarks, given.pass_at_k.k) == (four, 1024)
        assert given.pass_at_k.modes == ["text", "code"]
        assert (given.size, given.shards, cfg.folder) == (None, 1, "runs/reproduce/paper")
        plan = make_models_plan(cfg)
        assert len(of_kind(plan, EVALUATE)) == 2 * 5 + 2 * 4 * 2 + 3 * (2 * 2 + 1)
        boundary = plan.commands["evaluate/qwen2.5_math_7b-olymmath_hard-code-k1024"].config
        assert boundary is not None
        assert (boundary.evaluate.k, boundary.evaluate.top_p, boundary.rollout.max_tokens) == (
            1024,
            0.95,
            16384,
        )
        assert boundary.model.max_positions == 17408


class TestInputs:
    def test_every_benchmark_is_read_before_anything_starts(
        self, plan: ModelsPlan, files: dict[str, str], tmp_path: Path
    ) -> None:
        assert check_inputs(configured(overrides(files, BASE)), plan) == dict.fromkeys(USED, 3)
        shards = configured(overrides(files, BASE), "suite.given.shards=4")
        with pytest.raises(ConfigError, match=r"suite\.given\.shards=4: benchmark math500 has 3 problems"):
            check_inputs(shards, plan)
        damaged = tmp_path / "damaged.jsonl"
        damaged.write_text('{"question": 1}\n')
        cfg = configured(overrides(files | {"aime24": str(damaged)}, BASE), "only=[table]")
        with pytest.raises(ConfigError, match=r"benchmarks\.aime24: .*damaged\.jsonl"):
            check_inputs(cfg, make_models_plan(cfg))

    def test_models_and_files_are_what_must_not_change(
        self, plan: ModelsPlan, files: dict[str, str], trained: str
    ) -> None:
        assert inputs_of(plan) == {
            "models.mini_base": BASE,
            "models.rl-step-3": trained,
            "models.long_cot": BASE,
            **{f"benchmarks.{option}": path for option, path in files.items()},
        }


class TestRefusals:
    @pytest.mark.parametrize(
        ("models", "says"),
        [
            ([], "models=[]: a suite of models needs one"),
            (["qwen2.5_math_7"], "models[0]=qwen2.5_math_7: choose cir_qwen2.5_math_7b, "),
            (["qwen2.5_math_7"], "did you mean qwen2.5_math_7b?"),
            (["mini", "a/mini"], "models: several would have the name mini; name them"),
            ({"a b": "mini"}, "models.a b: a b is no name for a folder"),
        ],
    )
    def test_of_models_that_cannot_be(self, models: list[str] | dict[str, str], says: str) -> None:
        with pytest.raises(ConfigError) as caught:
            given_models(models)
        assert says in str(caught.value)

    @pytest.mark.parametrize(
        ("more", "says"),
        [
            (
                "models=[experiments/mini_bas]",
                "models[0]=experiments/mini_bas: model.path=experiments/mini_bas: ",
            ),
            ("models={long_cot: mini}", "models: long_cot is the name of suite.given.long_cot"),
            (
                "suite.given.table.benchmarks=[aime42]",
                "suite.given.table.benchmarks[0]=aime42: choose aime24, ",
            ),
            ("benchmarks={aime42: x}", "benchmarks=aime42: choose aime24, "),
            (
                "benchmarks={aime24: nowhere.jsonl}",
                "benchmark aime24: benchmark.path=nowhere.jsonl: this file",
            ),
            ("only=[tables]", "only[0]=tables: choose table, pass_at_k or token_efficiency"),
            ("shard=2/2", "shard=2/2: expected I/N with 0 <= I < N"),
            ("publish=true", "publish=true: only of a suite of experiments"),
            (
                'suite.given.overrides=["evaluate.k=2"]',
                "suite.given.overrides=[evaluate.k=2]: evaluate.k would be ignored; give suite.given.PART.k",
            ),
            (
                'suite.given.table.overrides=["evaluate.modes=[code]"]',
                "evaluate.modes would be ignored; give suite.given.table.modes",
            ),
            ('suite.given.overrides=["evaluate.k=["]', "evaluate.k=["),
            ('suite.given.overrides=["evaluate.kk=1"]', "evaluate.kk=1: there is no such key"),
            ("suite.given.max_tokens=99999", "its config.json"),
        ],
    )
    def test_name_field_and_remedy(self, files: dict[str, str], more: str, says: str) -> None:
        key = more.partition("=")[0]
        given = [one for one in overrides(files, BASE) if not one.startswith(f"{key}=")]
        with pytest.raises(ConfigError) as caught:
            make_models_plan(configured(given, more))
        assert says in str(caught.value)

    def test_of_a_hub_model_that_cannot_be_had(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import huggingface_hub

        def fails(*_: object, **__: object) -> None:
            raise OSError("no such repository")

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fails)
        (one,) = given_models(["owner/no-such-model"])
        (fault,) = download_config(one, "owner/no-such-model", None)
        assert fault.startswith("models[0]=owner/no-such-model: its config.json cannot be had from the hub")
        assert download_config(one, BASE, None) == []

    def test_settings_of_the_other_kind_of_suite(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "experiments.reproduce", "suite=debug", "models=[mini]", "shard=0/2"]
        ended = subprocess.run(
            [*command, f"folder={tmp_path}/made"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 2
        assert "models=[mini]: only of a suite of models, such as suite=paper" in ended.stderr
        assert "shard=0/2: only of a suite of models" in ended.stderr
        assert not (tmp_path / "made").exists()


def test_names_of_models() -> None:
    assert [
        name_of(one)
        for one in ("Qwen/Qwen2.5-Math-7B", "runs/a/checkpoints/step-300", "~/models/x y/", "qwen3_8b", "/")
    ] == ["Qwen2.5-Math-7B", "a-step-300", "x-y", "qwen3_8b", "model"]


def begin(folder: Path, given: list[str], *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "experiments.reproduce", *given, f"folder={folder}", *more]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(folder: Path) -> set[str]:
    return {str(path.parent.relative_to(folder)) for path in folder.glob("evaluate/*/summary.json")}


@pytest.mark.long
def test_two_models_on_two_machines_one_of_them_killed(
    files: dict[str, str], trained: str, tmp_path: Path
) -> None:
    """Table in four forms and figures of four arms; what was finished before the kill is not run again."""
    folder = tmp_path / "made"
    two = {name: files[name] for name in ("math500", "aime24")}
    given = [*overrides(two, BASE, trained), "suite.given.pass_at_k.benchmarks=[aime24]"]
    process = begin(folder, given, "shard=0/2")
    wait_until(lambda: len(finished(folder)) >= 2 or process.poll() is not None, 600)
    time.sleep(1)
    process.kill()
    process.communicate()
    wait_until(lambda: not working_in(folder), 20)
    before = finished(folder)
    assert len(before) >= 2
    for shard in ("0/2", "1/2"):
        process = begin(folder, given, f"shard={shard}")
        output, _ = process.communicate(timeout=1800)
        assert process.returncode == 0, output
        assert f"machine {shard}; once all have finished" in output
    assert not (folder / "table").exists()
    process = begin(folder, given)
    output, _ = process.communicate(timeout=1800)
    assert process.returncode == 0, output
    assert set(starts(folder)) == {  # every evaluation was finished by the machines
        *("table/table", "pass_at_k/aime24", "token_efficiency/aime24", REPORT)
    }
    first = json.loads((folder / "durations-0-of-2.json").read_text())["commands"]
    assert all(first[name]["starts"] == 1 for name in before)
    table = folder / "table" / "table"
    assert {one.suffix for one in table.glob("table.*")} >= {
        *(".csv", ".json", ".md", ".png", ".svg", ".tex")
    }
    rows = pl.read_csv(table / "table.csv").filter(
        (pl.col("kind") == "measured") & (pl.col("grading") == "strict") & (pl.col("benchmark") != "mean")
    )
    assert rows.select("name", "benchmark", "n", "k").rows() == [
        (f"{name}_free", benchmark, 3, k)
        for name in ("mini_base", "rl-step-3")
        for benchmark, k in (("MATH500", 1), ("AIME24", 3))
    ]
    arms = pl.read_csv(folder / "pass_at_k" / "aime24" / "pass_at_k.csv")
    assert set(arms["arm"]) == {
        f"{name}_{mode}" for name in ("mini_base", "rl-step-3") for mode in ("text", "code")
    }
    assert arms["k"].max() == 4
    assert (folder / "pass_at_k" / "aime24" / "pass_at_k.png").is_file()
    tokens = pl.read_csv(folder / "token_efficiency" / "aime24" / "token_efficiency.csv")
    assert "long_cot_text" in set(tokens["arm"])
    report = (folder / "report.html").read_text()
    for title in ("Accuracy over the benchmarks", "Capability boundary", "Token efficiency"):
        assert f">{title}</h2>" in report
