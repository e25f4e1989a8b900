"""What is run for a set of experiments: shared, in order, and refused where it cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.reproduce.config import (
    Experiment,
    ReproduceConfig,
    SuiteConfig,
    SuiteEvaluationConfig,
    load_experiments,
)
from experiments.reproduce.names import slug, text
from experiments.reproduce.pace import priorities
from experiments.reproduce.plan import ANALYSIS, EVALUATE, REPORT, TRAIN, CommandPlan, make_plan
from src.config import Config
from src.config.paths import ROOT
from src.config.schema import ConfigError
from src.launch import checks
from src.launch.entry import composed

SUITE = SuiteConfig(
    name="tried",
    experiment="mini_debug",
    base=str(ROOT / "experiments" / "mini_base"),
    seeds=[3, 4],
    overrides=["evaluate.modes=[free]", "tracking=none"],
    evaluation=SuiteEvaluationConfig(k=2, problems=3, levels=[5]),
)
ABLATION = {"baseline": "reference", "measures": ["reward:last"]}
TEN = [
    *("capability_boundary", "curriculum", "masking", "boundary", "exploration", "reward"),
    *("token_efficiency", "error_feedback", "subjects", "emergence"),
]


def write(folder: Path, name: str, **content: Any) -> None:
    (folder / name).mkdir(parents=True)
    given = {"question": "Is it so?", "claim": "It is."} | content
    (folder / name / "experiment.yaml").write_text(yaml.safe_dump(given, sort_keys=False))


def planned(folder: Path, only: list[str] | None = None, suite: SuiteConfig = SUITE) -> CommandPlan:
    return make_plan(suite, load_experiments(folder, only), Path("made"))


def of_kind(plan: CommandPlan, kind: str) -> list[str]:
    return [name for name, one in plan.commands.items() if one.kind == kind]


class TestSharing:
    def test_equal_arms_share_trainings_whatever_their_name_and_the_order_of_overrides(
        self, tmp_path: Path
    ) -> None:
        fixed = ["curriculum=fixed", "curriculum.budget=2"]
        write(tmp_path, "one", arms={"reference": [], "two": fixed}, analyses={"ablation": ABLATION})
        write(tmp_path, "other", arms={"plain": [], "fixed": fixed[::-1]}, analyses={"ablation": {}})
        plan = planned(tmp_path)
        name = "train/curriculum-fixed_curriculum.budget-2"
        assert of_kind(plan, TRAIN) == [
            *("train/reference-seed3", "train/reference-seed4", f"{name}-seed3", f"{name}-seed4")
        ]
        config = plan.commands[f"{name}-seed4"].config
        assert isinstance(config, Config)
        assert (config.curriculum.kind, config.curriculum.budget, config.trainer.seed) == ("fixed", 2, 4)
        assert of_kind(plan, ANALYSIS) == ["one/ablation", "other/ablation"]
        assert (
            'arms={plain: ["made/train/reference-seed3", "made/train/reference-seed4"], fixed: '
            f'["made/{name}-seed3", "made/{name}-seed4"]}}' in plan.commands["other/ablation"].overrides
        )

    def test_each_policy_is_evaluated_once_in_each_mode(self, tmp_path: Path) -> None:
        rl = [{"arm": "trained", "modes": ["code"]}]
        write(
            tmp_path,
            "one",
            arms={"trained": []},
            policies={"base": [{"arm": None, "modes": ["text", "code"]}], "rl": rl},
            analyses={"pass_at_k": {"pairs": [["base_code", "rl_code"]]}},
        )
        write(
            tmp_path,
            "other",
            arms={"trained": []},
            policies={
                "rl": rl,
                "bare": [{"arm": "trained", "modes": ["code"], "overrides": ["rollout.errors=bare"]}],
            },
            analyses={"subjects": {}},
        )
        plan = planned(tmp_path)
        assert of_kind(plan, TRAIN) == ["train/reference-seed3"]  # of the first seed alone
        assert of_kind(plan, EVALUATE) == [
            *("evaluate/base-text", "evaluate/base-code", "evaluate/reference-seed3-code"),
            "evaluate/reference-seed3-code-rollout.errors-bare",
        ]
        ours = plan.commands["evaluate/reference-seed3-code"]
        assert ours.needs == ("train/reference-seed3",)
        assert ours.config is not None
        assert ours.config.model.path == "made/train/reference-seed3/checkpoints/step-2"
        assert ours.config.evaluate.modes == ["code"]

    def test_the_report_has_the_experiments_in_order(self, tmp_path: Path) -> None:
        for name, order in (("a", 2), ("b", 1), ("c", 2)):
            write(tmp_path, name, order=order, arms={"reference": []}, analyses={"ablation": {}})
        assert planned(tmp_path).commands[REPORT].overrides[0] == 'folders=["made/b", "made/a", "made/c"]'
        assert planned(tmp_path, ["c"]).commands[REPORT].overrides[0] == 'folders=["made/c"]'

    def test_what_others_wait_for_comes_first(self, tmp_path: Path) -> None:
        write(
            tmp_path,
            "one",
            arms={"reference": [], "plain": ["trainer.kl_coef=0.1"]},
            policies={"rl": [{"arm": "reference"}], "base": [{"arm": None}]},
            analyses={"ablation": {}, "subjects": {}},
        )
        plan = planned(tmp_path)
        first = priorities(plan)
        assert sorted(plan.commands, key=lambda name: -first[name])[:3] == [
            *("train/reference-seed3", "evaluate/reference-seed3-free", "evaluate/base-free")
        ]


class TestRefusals:
    """Each names the file and the field, before anything starts."""

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (
                {"arms": {"a": ["trainer.stepz=3"]}},
                "arms.a: trainer.stepz=3: there is no such key",
            ),
            ({"arms": {"a": ["trainer.batch_size=30"]}}, "arms.a: trainer.batch_size=30: not divisible by"),
            ({"arms": {"a": ["curriculum=fixd"]}}, "arms.a: curriculum=fixd: choose"),
            (
                {"arms": {"a": []}, "analyses": {"ablations": {}}},
                "analyses.ablations: analyses=ablations: ",
            ),
            (
                {"arms": {"a": []}, "analyses": {"ablation": {"measure": []}}},
                "analyses.ablation: measure=[]: there is no such key; did you mean measures?",
            ),
            (
                {"arms": {"a": []}, "analyses": {"ablation": {"measures": ["reward:sum"]}}},
                "analyses.ablation: measures[0]=reward:sum: give METRIC:HOW",
            ),
            (
                {"arms": {"a": []}, "analyses": {"ablation": {"last": 0}}},
                "analyses.ablation: last=0: must",
            ),
            (
                {"arms": {"a": []}, "analyses": {"ablation": {"baseline": "b"}}},
                "analyses.ablation: baseline=b: choose a",
            ),
            (
                {"arms": {}, "analyses": {"ablation": {}}},
                "its input is missing from the experiment; arms: ",
            ),
            (
                {"policies": {"base": [{"arm": "c"}]}, "analyses": {"subjects": {}}},
                "policies.base[0].arm=c: choose a or null",
            ),
            (
                {"policies": {"base": [{"modes": ["words"]}]}, "analyses": {"subjects": {}}},
                "policies.base[0].modes[0]=words: choose free, text or code",
            ),
            (
                {"policies": {"base": [{}, {}]}, "analyses": {"subjects": {}}},
                "policies.base: mode free is given twice",
            ),
            (
                {"policies": {"base": [{"overrides": ["evaluate.kk=3"]}]}, "analyses": {"subjects": {}}},
                "policies.base[0]: evaluate.kk=3: there is no such key",
            ),
            (
                {"policies": {"base": [{}]}, "analyses": {"subjects": {"pairs": [["base_free", "x"]]}}},
                "analyses.subjects: pairs[0]=x: choose base_free",
            ),
            ({"analyses": {}}, "analyses={}: no analysis is given"),
            ({"armz": {}}, "armz={}: there is no such key; did you mean arms?"),
            ({"claim": "???"}, "claim: this value is mandatory"),
        ],
    )
    def test_of_an_experiment(self, tmp_path: Path, content: dict[str, Any], says: str) -> None:
        write(tmp_path, "tenth", **({"arms": {"a": []}, "analyses": {"ablation": {}}} | content))
        with pytest.raises(ConfigError) as caught:
            planned(tmp_path)
        assert str(caught.value).startswith(
            f"configuration error: {tmp_path / 'tenth' / 'experiment.yaml'}: "
        )
        assert says in str(caught.value)

    def test_all_faults_at_once(self, tmp_path: Path) -> None:
        for name in ("one", "other"):
            write(tmp_path, name, arms={"a": ["trainer.stepz=3"]}, analyses={"ablation": {}})
        with pytest.raises(ConfigError) as caught:
            planned(tmp_path)
        assert len(caught.value.faults) == 2

    def test_of_a_suite_once(self, tmp_path: Path) -> None:
        write(tmp_path, "one", arms={"a": []}, analyses={"ablation": {}})
        broken = replace(SUITE, name="x", overrides=["trainer.stepz=3"])
        with pytest.raises(ConfigError, match=r"error: suite=x, training: trainer\.stepz=3: there is"):
            planned(tmp_path, suite=broken)

    def test_of_a_suite_whose_analysis_or_seeds_cannot_be(self, tmp_path: Path) -> None:
        write(tmp_path, "one", arms={"a": []}, analyses={"ablation": {}})
        with pytest.raises(ConfigError, match=r"suite\.analyses=ablations: choose"):
            planned(tmp_path, suite=replace(SUITE, analyses={"ablations": {"last": 1}}))
        with pytest.raises(ConfigError, match=r"suite\.seeds=\[1, 1\]: give at least one, and each once"):
            planned(tmp_path, suite=replace(SUITE, seeds=[1, 1]))

    def test_of_a_suite_without_a_base(self, tmp_path: Path) -> None:
        write(tmp_path, "one", arms={"a": []}, analyses={"ablation": {}})
        with pytest.raises(ConfigError, match=r"suite\.base=null: a suite of experiments needs it"):
            planned(tmp_path, suite=replace(SUITE, base=None))

    def test_of_a_name_that_is_no_experiment(self, tmp_path: Path) -> None:
        write(tmp_path, "curriculum", arms={"a": []}, analyses={"ablation": {}})
        with pytest.raises(ConfigError, match=r"only\[0\]=curiculum: choose curriculum"):
            planned(tmp_path, ["curiculum"])
        with pytest.raises(ConfigError, match=r"no folder in it has an experiment\.yaml"):
            planned(tmp_path / "curriculum")

    def test_of_text_that_is_no_yaml(self, tmp_path: Path) -> None:
        write(tmp_path, "one")
        (tmp_path / "one" / "experiment.yaml").write_text("question: 1\nclaim: [")
        with pytest.raises(ConfigError, match=r"one/experiment\.yaml, line \d: not valid YAML"):
            planned(tmp_path)


class TestOurs:
    @pytest.fixture(autouse=True)
    def _elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(checks, "find_spec", lambda name: name)  # suite=midi samples with vLLM

    @staticmethod
    def ours(suite: str, *overrides: str) -> tuple[list[Experiment], CommandPlan]:
        cfg = composed("reproduce", [f"suite={suite}", *overrides], ReproduceConfig)
        assert cfg.folder == f"runs/reproduce/{suite}"
        experiments = load_experiments(Path(cfg.experiments), cfg.only)
        return experiments, make_plan(cfg.suite, experiments, Path(cfg.folder))

    def test_what_is_asked_of_the_untrained_policy_is_asked_of_no_training(self) -> None:
        experiments, plan = self.ours("mini")
        assert [one.title for one in experiments][:2] == ["Capability boundary", "Curriculum"]
        trainings = [plan.commands[name].config for name in of_kind(plan, TRAIN)]
        assert all(one.evaluate.phases == ["after"] for one in trainings if isinstance(one, Config))
        assert {"evaluate/base-text", "evaluate/base-code", "evaluate/base-free"} <= set(plan.commands)

    @pytest.mark.long
    @pytest.mark.parametrize("suite", ["debug", "midi", "mini"])
    def test_on_every_suite_the_ten_can_be_run(self, suite: str) -> None:
        base = ["suite.base=experiments/mini_base"] if suite == "midi" else []  # its policy is made first
        experiments, plan = self.ours(suite, *base)
        assert [one.name for one in experiments] == TEN
        assert len(of_kind(plan, ANALYSIS)) == 11


class TestNames:
    def test_a_folder_says_what_is_in_it(self) -> None:
        assert slug([]) == ""
        assert slug(["rollout=text", "evaluate.modes=[text,free]"]) == "evaluate.modes-text+free_rollout-text"
        assert slug(["+experiment=torl"]) == "experiment-torl"

    def test_strange_or_long_ones_stay_apart(self) -> None:
        many = [[f"data.subjects=[Number Theory,{name}]", "trainer.seed=1"] for name in ("a b", "a,b", "a:b")]
        many += [["model.path=" + "x" * 200 + end] for end in "yz"]
        names = {slug(one) for one in many}
        assert len(names) == len(many)
        assert all(
            len(name) <= 80 and name.isascii() and "/" not in name and " " not in name for name in names
        )

    def test_values_are_read_back_by_hydra(self) -> None:
        given = {"text": 'a "b", [c]=d', "list": [1, 0.5, None, True], "names": {"x": ["reward:last"]}}
        from hydra.core.override_parser.overrides_parser import OverridesParser

        (override,) = OverridesParser.create().parse_overrides([f"key={text(given)}"])
        assert override.value() == given
