"""TensorBoard's event files: tags, steps, resumption, and failures, which end no run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from src.config import Config, TrackingConfig
from src.run.evaluations import Point
from src.run.records import SegmentRecord
from src.run.tracking.backend import EVAL, TRAIN
from src.run.tracking.tensorboard_backend import TENSORBOARD, tag
from src.run.tracking.tracker import BACKENDS, Tracker
from tests.event_files import loaded, scalars, texts
from tests.run.test_records import RECORD

RESULT = {"accuracy": 0.5, "interval": [0.25, 0.75], "metrics": {"reward": 0.1, "stop/void": 0.2}}
BOARD = Config(tracking=TrackingConfig(backends=["tensorboard"]))


def points(step: int, accuracy: float = 0.5) -> list[Point]:
    return [Point(step, "heldout", "free", RESULT | {"accuracy": accuracy})]


@pytest.mark.parametrize(
    ("axis", "name", "expected"),
    [
        (TRAIN, "reward", "train/reward"),
        (TRAIN, "tokens/policy", "train.tokens/policy"),
        (TRAIN, "sampling/ratio/mean", "train.sampling/ratio/mean"),
        (EVAL, "heldout/free/accuracy", "eval/heldout/free/accuracy"),
        (EVAL, "heldout/free/accuracy_low", "eval.heldout.free/accuracy_low"),
        (EVAL, "heldout/free/stop/void", "eval.heldout.free/stop/void"),
        (EVAL, "samples", "eval/samples"),
    ],
)
def test_tags_are_in_groups(axis: str, name: str, expected: str) -> None:
    assert tag(axis, name) == expected


def log(tracker: Tracker, steps: range, reward: float = 0.0) -> None:
    for step in steps:
        record = replace(RECORD, step=step)
        tracker.step(
            step, {"step": step, "reward": reward + step, "tokens/policy": 5.0}, [record], [(record, 1.0)]
        )


def test_each_axis_has_its_steps(tmp_path: Path) -> None:
    tracker = Tracker(BOARD, tmp_path)
    tracker.points(points(0))
    log(tracker, range(2))
    tracker.points(points(2, 1.0))
    tracker.finish({"before": {"free": RESULT}})
    found = scalars(tmp_path / TENSORBOARD)
    assert found["train/reward"] == [(0, 0.0), (1, 1.0)]
    assert found["train.tokens/policy"] == [(0, 5.0), (1, 5.0)]
    assert found["eval/heldout/free/accuracy"] == [(0, 0.5), (2, 1.0)]
    assert found["eval.heldout.free/stop/void"] == [(0, pytest.approx(0.2)), (2, pytest.approx(0.2))]
    assert not any("step" in name for name in found), "the axis is no metric"
    events = loaded(tmp_path / TENSORBOARD)
    assert {one.step for one in events.Histograms("train.histogram/tokens")} == {0, 1}
    assert "final/heldout/free/accuracy | 1" in texts(tmp_path / TENSORBOARD, "summary")[0]


def test_what_a_policy_says_is_no_markup(tmp_path: Path) -> None:
    said = "# heading\n<script>x</script>\n```\n| a |"
    record = replace(RECORD, segments=[SegmentRecord("policy", said, 4)])
    tracker = Tracker(BOARD, tmp_path)
    tracker.step(3, {"reward": 0.0}, [record], [(record, 0.5)])
    tracker.finish()
    (text,) = texts(tmp_path / TENSORBOARD, "train/samples").values()
    for line in said.splitlines():
        assert f"\n    {line}" in text
    assert "advantage 0.5" in text


def test_settings_and_the_layout_are_there(tmp_path: Path) -> None:
    Tracker(BOARD, tmp_path).finish()
    events = loaded(tmp_path / TENSORBOARD)
    config = texts(tmp_path / TENSORBOARD, "config")[0]
    assert '"learning_rate": 1e-06' in config
    (given,) = [
        data
        for data in map(
            plugin_data_pb2.HParamsPluginData.FromString, events.PluginTagToContent("hparams").values()
        )
        if data.HasField("session_start_info")
    ]
    values = given.session_start_info.hparams
    assert values["trainer.learning_rate"].number_value == 1e-6
    assert values["arm"].string_value == "defaults"
    (event,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [one.title for one in layout.category][1:] == ["progress", "policy", "tools", "speed"]
    band = layout.category[0].chart[0].margin.series[0]
    assert (band.value, band.lower) == ("eval/heldout/free/accuracy", "eval.heldout.free/accuracy_low")


def test_a_resumed_run_replaces_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    """Killed in step 4 after a checkpoint at 2, whose evaluation was logged before and is not made again."""
    killed = Tracker(BOARD, tmp_path)
    killed.points(points(0))
    log(killed, range(2))
    killed.points(points(2))
    log(killed, range(2, 4))
    killed.points(points(4))
    resumed = Tracker(BOARD, tmp_path, killed.identity, step=2)
    resumed.resume([*points(0), *points(2)], 2)
    resumed.points(points(2))
    log(resumed, range(2, 5), reward=10)
    resumed.finish({})
    killed.finish()
    found = scalars(tmp_path / TENSORBOARD)
    assert found["train/reward"] == [(0, 0), (1, 1), (2, 12), (3, 13), (4, 14)]
    assert [step for step, _ in found["eval/heldout/free/accuracy"]] == [0, 2]
    assert set(texts(tmp_path / TENSORBOARD, "train/samples")) == {0, 1, 2, 3, 4}
    assert "best/heldout/free/step | 0" in texts(tmp_path / TENSORBOARD, "summary")[0]


def test_only_the_first_process_writes_and_none_writes_nothing(tmp_path: Path) -> None:
    for cfg, write in ((BOARD, False), (Config(tracking=TrackingConfig("none", ["tensorboard"])), True)):
        tracker = Tracker(cfg, tmp_path, write=write)
        log(tracker, range(1))
        tracker.points(points(0))
        tracker.finish({})
        assert tracker.identity == {}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / TENSORBOARD).write_text("in the way")
    tracker = Tracker(BOARD, tmp_path)
    log(tracker, range(2))
    tracker.finish({})
    assert capsys.readouterr().out.count("tensorboard failed (FileExistsError") == 1


def test_a_failure_on_the_way_leaves_the_other_backend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(BACKENDS["tensorboard"]):  # type: ignore[misc]
        def log(self, entry: object) -> None:
            raise OSError("no space left on device")

    monkeypatch.setattr(
        "src.run.tracking.tracker.BACKENDS", {"wandb": Full, "tensorboard": BACKENDS["tensorboard"]}
    )
    tracker = Tracker(Config(tracking=TrackingConfig(backends=["wandb", "tensorboard"])), tmp_path)
    log(tracker, range(2))
    tracker.finish({})
    assert capsys.readouterr().out.count("wandb failed (OSError: no space left on device)") == 1
    assert [step for step, _ in scalars(tmp_path / TENSORBOARD)["train/reward"]] == [0, 1]
