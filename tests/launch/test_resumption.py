"""``trainer.resume``: a run goes on with its own settings, in its own folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from src.config import Config, EvaluationConfig
from src.config.paths import ROOT
from src.config.schema import ConfigError, build
from src.launch import resumption
from src.launch.checks import load
from src.launch.checks.model_files import resumed_config
from src.run import provenance
from src.run.checkpoints import MARK
from tests.compositions import composed
from tests.shop import Shop, one_message

MINI = ("+experiment=mini_debug", "trainer.steps=55", "trainer.learning_rate=0.0003", "trainer.seed=3")


def made(run: Path, *overrides: str, step: int = 20) -> Path:
    """Make the folder of a run with a checkpoint, as far as programs look at it before they load a model."""
    cfg = load(Config, composed("train", *MINI, *overrides))
    cfg.model.prompt_style = "mini"  # settled
    provenance.save(cfg, run)
    checkpoint = run / "checkpoints" / f"step-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / MARK).write_text(json.dumps({"step": step, "files": {}}))
    (run / ".hydra").mkdir()
    (run / ".hydra" / "overrides.yaml").write_text("of the first start")
    return run


def rewritten(run: Path, change: Any) -> None:
    config = json.loads((run / "config.json").read_text())
    change(config)
    (run / "config.json").write_text(json.dumps(config))


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return made(tmp_path / "run")


def resumed(run: Path, *overrides: str) -> Config:
    """Return what a command with ``trainer.resume`` runs with."""
    given = (f"trainer.resume={run}", *overrides)
    return load(Config, resumption.configuration(Config, composed("train", *given), given))


def refused(run: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        resumed(run, *overrides)
    return str(caught.value)


class TestSettings:
    def test_are_those_of_the_run(self, run: Path) -> None:
        cfg = resumed(run)
        assert asdict(cfg) == json.loads((run / "config.json").read_text()) | {"trainer": asdict(cfg.trainer)}
        assert (cfg.trainer.learning_rate, cfg.trainer.seed, cfg.trainer.steps) == (3e-4, 3, 55)
        assert cfg.trainer.resume == str(run)
        assert resumed(run / "checkpoints" / "step-20").trainer.learning_rate == 3e-4

    def test_of_an_older_run_are_called_as_today(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(resumption.RENAMED, "engine.rows", "engine.batch_size")
        monkeypatch.setitem(resumption.RENAMED, "rollout.gone", "rollout.else")  # the run has none

        def older(config: dict[str, Any]) -> None:
            config["rollout"]["boundary"] = "fence"
            config["engine"]["rows"] = config["engine"].pop("batch_size") + 1

        before = resumed(run)
        rewritten(run, older)
        cfg = resumed(run)
        assert (cfg.rollout.boundary, cfg.engine.batch_size) == ("exact", before.engine.batch_size + 1)
        assert resumption.differences(cfg, run) == []
        assert resumption.differences(before, run)[0][0] == "engine.batch_size"
        known = resumed_config(str(run))
        assert known is not None
        assert known["rollout"]["boundary"] == "exact"

    def test_values_of_the_command_line_are_put_upon_them(self, run: Path) -> None:
        cfg = resumed(run, "trainer.steps=60", "tracking.mode=none", "alarm={rules: []}")
        assert (cfg.trainer.steps, cfg.trainer.learning_rate) == (60, 3e-4)
        assert [one[0] for one in resumption.differences(cfg, run)] == [
            *("alarm.rules", "tracking.mode", "trainer.steps")
        ]

    @pytest.mark.parametrize("settled", [{}, {"max_positions": 4096, "rope": {"rope_theta": 1e4}}])
    def test_the_whole_command_again_is_no_change(self, run: Path, settled: dict[str, Any]) -> None:
        """The run has settled what its model leaves open."""
        rewritten(run, lambda config: config["model"].update(settled))
        cfg = resumed(run, *MINI)
        assert cfg.model.prompt_style == "auto"
        assert resumption.differences(cfg, run) == []
        assert resumed(run, *MINI, "tracking=none").tracking.mode == "none"

    def test_what_an_older_run_does_not_know_has_its_default(self, run: Path) -> None:
        def older(config: dict[str, Any]) -> None:
            del (
                config["trainer"]["kl_coef"],
                config["trainer"]["resume_force"],
                config["model"]["prompt_style"],
            )
            del config["hardware"]

        rewritten(run, older)
        cfg = resumed(run)
        assert (cfg.trainer.kl_coef, cfg.model.prompt_style) == (0, "auto")
        assert asdict(cfg.hardware) == asdict(load(Config, composed("train")).hardware)

    def test_a_run_that_is_older_than_examples_had_none(self, run: Path) -> None:
        rewritten(run, lambda config: [config["model"].pop(name) for name in ("examples", "examples_seed")])
        assert resumption.differences(resumed(run), run) == []
        with pytest.raises(ConfigError, match=r"model\.examples=2: the resumed run has 0"):
            resumed(run, "model.examples=2")

    def test_of_another_machine_may_be_changed(self, run: Path) -> None:
        cfg = resumed(
            run,
            "sandbox.workers=7",
            "hardware.gpus=8",
            "reward.grade_workers=1",
            "reward.lenient=false",
            "trainer.checkpoint_every=1",
        )
        assert cfg.sandbox.workers == 7


class TestRefused:
    @pytest.mark.parametrize(
        ("override", "says"),
        [
            ("trainer.learning_rate=1e-5", "trainer.learning_rate=1e-05: the resumed run has 0.0003"),
            ("trainer.seed=4", "trainer.seed=4: the resumed run has 3; resume it with trainer.resume="),
            ("rollout.max_tokens=99", "or override this with trainer.resume_force=true"),
            ("data.seed=7", "data.seed=7: the resumed run"),
            ("evaluate.k=7", "evaluate.k=7: the resumed run"),
            ("reward.grader=math_verify", "reward.grader=math_verify: the resumed run has exact"),
            ("engine=vllm", "trainer.learning_rate=1e-06: the resumed run"),  # an option: as at a start
            ("+experiment=mini", "trainer.batch_size="),
            ("trainer.steps=20", "step-20 is at step 20; give more steps"),
            ("trainer.steps=7", "step-20 is at step 20; give more steps"),
            ("+trainer.stepz=70", "trainer.stepz=70: there is no such key; did you mean trainer.steps?"),
            ("~trainer.kl_coef", "~trainer.kl_coef: a resumed run keeps its settings"),
        ],
    )
    def test_what_would_make_another_run_of_it(
        self, tmp_path: Path, run: Path, override: str, says: str
    ) -> None:
        (run / "summary.json").write_text(json.dumps({"steps": 20, "before": {}, "after": {}}))
        assert says in refused(run, override)

    def test_but_not_if_that_is_forced(self, run: Path) -> None:
        cfg = resumed(run, "trainer.learning_rate=1e-5", "trainer.resume_force=true")
        assert (cfg.trainer.learning_rate, cfg.trainer.batch_size) == (1e-5, 32)
        assert [one[0] for one in resumption.differences(cfg, run)] == ["trainer.learning_rate"]
        assert "is at step 20" in refused(run, "trainer.steps=7", "trainer.resume_force=true")

    def test_forcing_is_of_one_command(self, run: Path) -> None:
        rewritten(run, lambda config: config["trainer"].update(resume_force=True, resume="elsewhere"))
        assert "trainer.seed=4: the resumed run" in refused(run, "trainer.seed=4")

    def test_a_rate_that_ends_at_the_last_step_keeps_it(self, tmp_path: Path) -> None:
        run = made(tmp_path / "linear", "trainer.lr_schedule=linear")
        assert "trainer.steps=60: the resumed run has 55" in refused(run, "trainer.steps=60")

    def test_a_run_that_was_killed_in_its_last_evaluation_may_finish_it(self, tmp_path: Path) -> None:
        run = made(tmp_path / "last", step=55)
        assert resumed(run).trainer.steps == 55
        (run / "summary.json").write_text(json.dumps({"steps": 55, "before": {}, "after": {}}))
        assert "step-55 is at step 55; give more steps" in refused(run)

    @pytest.mark.parametrize("again", [(), MINI])
    def test_settings_that_are_not_known(self, run: Path, again: tuple[str, ...]) -> None:
        rewritten(run, lambda config: config["trainer"].update(gamma=1))
        says = refused(run, *again)
        assert f"{run}/config.json: trainer.gamma=1: there is no such key" in says
        assert "(written by another version; resume with that)" in says
        (run / "config.json").write_text("{")
        says = refused(run, *again)
        assert "config.json is damaged, so the run's settings are unknown" in says
        assert f"with trainer.resume={run} trainer.resume_force=true" in says
        (run / "config.json").unlink()
        if not again:
            assert f"trainer.resume={run}: {run} has no config.json" in refused(run)


class TestProgram:
    """A program that starts as ``src.train`` does."""

    def test_goes_on_in_the_folder_of_the_run_and_leaves_no_other(self, tmp_path: Path) -> None:
        shop = Shop(tmp_path)
        run = made(tmp_path / "run", f"model.path={tmp_path / 'model'}")
        for attempt in (2, 3):
            ended = shop.run("trainer.resume=run", program="alone")
            assert ended.code == 0, ended.error
            got = json.loads(ended.out)
            assert Path(got["run_dir"]) == run
            assert (got["trainer"]["learning_rate"], got["trainer"]["steps"]) == (3e-4, 55)
            assert f"hydra-{attempt}" in "".join(path.name for path in run.glob(".hydra*"))
        assert (run / ".hydra" / "overrides.yaml").read_text() == "of the first start"
        assert "learning_rate: 0.0003" in (run / ".hydra-2" / "config.yaml").read_text()
        assert not (tmp_path / "runs").exists()
        assert not (run / "lock").exists()

    def test_another_folder_may_be_given(self, tmp_path: Path) -> None:
        shop = Shop(tmp_path)
        made(tmp_path / "run", f"model.path={tmp_path / 'model'}")
        ended = shop.run("trainer.resume=run", "hydra.run.dir=other", program="alone")
        assert ended.code == 0, ended.error
        got = json.loads(ended.out)
        assert (Path(got["run_dir"]), got["trainer"]["steps"]) == (tmp_path / "other", 55)
        assert not (tmp_path / "run" / ".hydra-2").exists()

    def test_of_several_processes_all_have_the_settings_of_the_run(self, tmp_path: Path) -> None:
        shop = Shop(tmp_path)
        made(tmp_path / "run", f"model.path={tmp_path / 'model'}")
        for rank in ("0", "1"):
            ended = shop.run(
                "trainer.resume=run", program="alone", WORLD_SIZE="2", RANK=rank, LOCAL_RANK=rank
            )
            assert ended.code == 0, ended.error
            assert json.loads(ended.out)["trainer"]["learning_rate"] == 3e-4
        assert sorted(path.name for path in (tmp_path / "run").glob(".hydra*")) == [".hydra", ".hydra-2"]

    @pytest.mark.parametrize("override", ["trainer.seed=4", "trainer.steps=7", "trainer.stepz=3"])
    def test_a_refusal_is_one_message_within_seconds(self, tmp_path: Path, override: str) -> None:
        shop = Shop(tmp_path)
        run = made(tmp_path / "run", f"model.path={tmp_path / 'model'}")
        assert override.split("=")[0] in one_message(shop.run("trainer.resume=run", override))
        assert sorted(path.name for path in run.glob(".hydra*")) == [".hydra"]
        assert not (tmp_path / "runs").exists()


def test_an_evaluation_that_is_older_than_tracking_has_none() -> None:
    config = asdict(EvaluationConfig())
    config["model"]["path"] = "model"
    del config["tracking"]
    assert build(EvaluationConfig, resumption.renamed(config)).tracking.mode == "none"
