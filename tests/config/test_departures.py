"""docs/departures.md: the list of departures is what the recipe and conf/experiment/released.yaml say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from src.config import Config
from src.config.departures import FILE, RECIPE, RELEASED, Departure, departures, text
from src.config.paths import CONF, ROOT
from src.config.schema import ConfigError
from src.launch import checks
from tests.compositions import composed

LISTED = departures()
TRAINING = {name: pair for one in LISTED if one.evaluation != "only" for name, pair in one.settings.items()}
EVALUATION = {name: pair for one in LISTED if one.evaluation != "no" for name, pair in one.settings.items()}


def chosen(cfg: DictConfig, names: Any) -> dict[str, Any]:
    flat = {name: OmegaConf.select(cfg, name, throw_on_missing=True) for name in names}
    return {name: OmegaConf.to_object(one) if OmegaConf.is_config(one) else one for name, one in flat.items()}


def leaves(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_the_document_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "run `make docs`"


@pytest.mark.parametrize("which", [0, 1], ids=["ours", "released"])
def test_the_list_has_the_values_of_a_training(which: int) -> None:
    experiments = f"+experiment=[{','.join([RECIPE, RELEASED][: which + 1])}]"
    found = chosen(composed("train", experiments), TRAINING)
    assert found == {name: pair[which] for name, pair in TRAINING.items()}


def test_every_other_value_is_that_of_the_recipe() -> None:
    """The experiment changes what the list names, and nothing else."""
    whole, theirs = (
        dict(leaves(OmegaConf.to_container(composed("train", one))))
        for one in (f"+experiment={RECIPE}", f"+experiment=[{RECIPE},{RELEASED}]")
    )
    assert {name for name in whole | theirs if whole.get(name) != theirs.get(name)} == set(TRAINING)


@pytest.mark.parametrize("which", [0, 1], ids=["ours", "released"])
def test_the_list_has_the_values_of_an_evaluation(which: int) -> None:
    overrides = [override for one in LISTED if one.evaluation != "no" for override in one.overrides if which]
    found = chosen(composed("evaluate", "benchmark=aime24", *overrides), EVALUATION)
    assert found == {name: pair[which] for name, pair in EVALUATION.items()}


def test_the_released_run_passes_the_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(checks, "find_spec", lambda name: name)
    (tmp_path / "train.parquet").touch()
    cfg = composed("train", f"+experiment=[{RECIPE},{RELEASED}]", f"data.train_path={tmp_path}/train.parquet")
    assert checks.load(Config, cfg).trainer.whiten_over == "response"


def test_every_departure_is_said_once_with_a_reason() -> None:
    assert len({(one.part, one.what) for one in LISTED}) == len(LISTED)
    assert all(one.why and one.released != one.ours for one in LISTED)
    for name, (ours, theirs) in (TRAINING | EVALUATION).items():
        assert ours != theirs, name


def test_an_entry_without_a_way_is_refused() -> None:
    one = Departure("a", "b", "c", "d", "e", none="f")
    with pytest.raises(ConfigError, match=r"departures.yaml: b: give one of settings, hand and none"):
        replace(one, none=None)
    with pytest.raises(ConfigError, match="give one of"):
        replace(one, hand="g")


def test_the_readme_names_the_experiment_and_the_list() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"+experiment=[{RECIPE},{RELEASED}]" in readme
    assert "docs/departures.md" in readme
    assert (CONF / "experiment" / f"{RELEASED}.yaml").exists()
