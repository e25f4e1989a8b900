"""The composed configuration: conf against the schema, and what a refusal of a value says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from experiments.reproduce.config import SuiteConfig
from src.config import Config, EvaluationConfig
from src.config.schema import ConfigError, build, key_names
from tests.compositions import CONF, SCHEMAS, changed, composed, refusal, values

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
OPTIONS = sorted(
    f"{path.parent.name}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    if path.parent.name
    not in {"experiment", "hydra", "analysis", "benchmark", "accelerate", "suite", "warm_start"}
)


def leaves(schema: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for one in fields(schema):
        hint = get_type_hints(schema)[one.name]
        if is_dataclass(hint):
            yield from leaves(hint, f"{prefix}{one.name}.")
        else:
            yield prefix + one.name, hint


LEAVES = dict(leaves(Config))


GIVEN = sorted(
    path
    for path in [*CONF.glob("*.yaml"), *CONF.glob("*/*.yaml")]
    if path.parent.name not in {"experiment", "hydra", "accelerate", "analysis", "warm_start"}
    and path.stem not in {"reproduce", "filter", "merge", "merge_adapter", "warm_start"}
)
# Of every group; those that training and evaluation share are the same.
DEFAULTS = {**asdict(EvaluationConfig()), **asdict(Config()), "suite": asdict(SuiteConfig())}


def keys(node: DictConfig | dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, DictConfig | dict):
            yield from keys(value, f"{prefix}{key}.")


def leaves_of(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def at(node: Any, name: str) -> Any:
    """Return the value at a dotted name; what is not there is nothing that can be repeated."""
    for part in name.split("."):
        if not isinstance(node, dict) or part not in node:
            return ...
        node = node[part]
    return node


def differences(path: Path) -> dict[str, Any]:
    """Return what a file of conf gives itself, from the root of the configuration."""
    own = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    own = {key: value for key, value in own.items() if key not in {"defaults", "hydra"}}
    at_root = path.parent == CONF or path.read_text().startswith("# @package _global_")
    return own if at_root else {path.parent.name: own}


def parents(path: Path) -> list[dict[str, Any]]:
    """Return the differences of the options that a file starts from, first those that come first."""
    found = []
    for one in OmegaConf.load(path).get("defaults", []):
        group = str(path.parent)
        if not isinstance(one, str):
            ((name, option),) = one.items()
            if name.startswith("override "):
                continue
            group, one = str(CONF / name), option
        elif one == "_self_" or one.startswith("/schema/"):
            continue
        parent = Path(group) / f"{one}.yaml"
        found += [*parents(parent), differences(parent)]
    return found


def overriding(defaults: list[str | dict[str, str]]) -> list[str]:
    """Return an experiment's defaults as overrides."""
    experiments = [one for one in defaults if isinstance(one, str)]
    choices = [pair for one in defaults if isinstance(one, dict) for pair in one.items()]
    return [
        f"+experiment=[{','.join(experiments)}]",
        *(f"{group.removeprefix('override /')}={choice}" for group, choice in choices),
    ]


class TestComposition:
    def test_a_run_without_overrides_has_the_defaults(self) -> None:
        """But for the rules of alarms, of which conf alone has a list."""
        built = build(Config, values())
        assert built.alarm.rules
        assert replace(built, alarm=Config().alarm) == Config()

    @pytest.mark.parametrize("program", SCHEMAS)
    def test_every_key_can_be_set_in_every_program(self, program: str) -> None:
        mine = {key for key in keys(composed(program)) if not key.startswith(("tools.", "format."))}
        assert mine == set(key_names(SCHEMAS[program])), "but for what a class of one's own takes"

    @pytest.mark.parametrize("path", GIVEN, ids=lambda path: str(path.relative_to(CONF)))
    def test_a_default_stands_in_the_schema_alone(self, path: Path) -> None:
        """An option says what it changes: of the defaults, or of the option that it starts from."""
        own, base = differences(path), OmegaConf.create(DEFAULTS)
        for parent in parents(path):
            base = OmegaConf.merge(base, parent)
        base = OmegaConf.to_container(base)
        assert [name for name, value in leaves_of(own) if at(base, name) == value] == []

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_an_experiment_holds_differences_only(self, experiment: str) -> None:
        own = OmegaConf.to_container(OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml"))
        defaults = own.pop("defaults", [])
        if experiment == "released":  # it is written for that recipe, not for the defaults
            defaults = ["cir_qwen2.5_math_7b", *defaults]
        base = values(*overriding(defaults))

        def repeated(node: dict[str, Any], other: dict[str, Any], prefix: str = "") -> Iterator[str]:
            for key, value in node.items():
                if isinstance(value, dict):
                    yield from repeated(value, other[key], f"{prefix}{key}.")
                elif value == other[key]:
                    yield prefix + key

        assert list(repeated(own, base)) == []

    @pytest.mark.parametrize("option", OPTIONS)
    def test_every_group_option_fits_the_schema(self, option: str) -> None:
        config = values(option)
        faults: tuple[str, ...] = ()
        try:
            build(Config, config)
        except ConfigError as error:
            faults = error.faults
        assert all("this value is mandatory" in fault for fault in faults)
        assert len(faults) == str(config).count("???")


WRONG = {
    bool: st.integers() | st.text() | st.floats() | st.lists(st.booleans()),
    int: st.text() | st.booleans() | st.floats() | st.lists(st.integers()),
    float: st.text() | st.booleans() | st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    str: st.booleans()
    | st.lists(st.text())
    | st.dictionaries(st.sampled_from("ab"), st.integers(), min_size=1),
    dict: st.text() | st.integers() | st.booleans() | st.lists(st.integers()),
    list: st.text() | st.integers() | st.booleans() | st.dictionaries(st.sampled_from("ab"), st.integers()),
}


class TestTypes:
    @staticmethod
    def kinds(path: str) -> tuple[tuple[type, ...], bool]:
        hint = LEAVES[path]
        optional = type(None) in get_args(hint)
        kinds = [one for one in get_args(hint) if one is not type(None)] if optional else [hint]
        return tuple(get_origin(one) or one for one in kinds), optional

    @settings(max_examples=5)
    @given(data=st.data())
    @pytest.mark.parametrize("path", sorted(LEAVES))
    def test_a_wrong_type_is_refused_by_name(self, path: str, data: st.DataObject) -> None:
        kinds, optional = self.kinds(path)
        strategy = WRONG[kinds[0]] if optional else WRONG[kinds[0]] | st.none()
        strategy = strategy.filter(lambda value: not isinstance(value, kinds[1:]))
        message = refusal(changed(path, data.draw(strategy)))
        assert path in message
        assert message.count("\n") == 0, "one fault, one line"

    @pytest.mark.parametrize(
        ("path", "value", "typed"),
        [
            ("tracking.name", 2024, "2024"),
            ("trainer.learning_rate", 1, 1.0),
            ("trainer.dual_clip", None, None),
            ("tracking.tags", ["a", 1], ["a", "1"]),
        ],
    )
    def test_harmless_differences_are_converted(self, path: str, value: Any, typed: Any) -> None:
        group, leaf = path.split(".")
        result = getattr(getattr(build(Config, changed(path, value)), group), leaf)
        assert (type(result), result) == (type(typed), typed)

    @settings(max_examples=50)
    @given(
        group=st.sampled_from(["", *{path.rpartition(".")[0] for path in LEAVES}]),
        name=st.from_regex(r"[a-z_]+", fullmatch=True),
    )
    def test_an_unknown_key_is_refused_by_name(self, group: str, name: str) -> None:
        path = f"{group}.{name}".strip(".")
        assume(path not in set(key_names(Config)))
        assert f"{path}=5: there is no such key" in refusal(changed(path, 5))

    def test_all_faults_come_in_one_message(self) -> None:
        config = changed("trainer.steps", "abc")
        config["rollout"]["tool"] = True
        config["data"]["kind"] = "fil"
        with pytest.raises(ConfigError) as caught:
            build(Config, config)
        assert len(caught.value.faults) == 3
        assert str(caught.value).count("\n") == 3

    @pytest.mark.parametrize(
        ("path", "value", "says"),
        [
            ("trainer.learning_rat", 1, "did you mean trainer.learning_rate?"),
            ("learning_rate", 1, "did you mean trainer.learning_rate?"),
            ("trainer.max_tokens", 1, "did you mean rollout.max_tokens?"),
            ("seed", 1, "did you mean data.seed, trainer.seed or evaluate.seed?"),
            ("trianer", {"steps": 5}, "did you mean trainer?"),
            ("engine.zzz", 1, "the keys of engine are kind, batch_size"),
            ("zzz", 1, "the groups are model, data, engine"),
            ("data.kind", "fil", "choose mini, worded, file or hub; did you mean file?"),
            ("evaluate.modes", ["free", "cod"], "choose free, text or code; did you mean code?"),
            ("trainer.steps", 45.0, "write 45"),
            ("trainer.steps", 0, "must be at least 1"),
            ("trainer.clip_low", 1.0, "must be above 0 and below 1"),
            ("trainer.steps", "???", "trainer.steps: this value is mandatory; give it with trainer.steps=1"),
            ("trainer", None, "trainer=null: expected the keys steps, batch_size"),
            ("trainer.steps", "${trainer.nope}", "Interpolation key 'trainer.nope' not found"),
            ("curriculum.stages", [{"step": 0, "bugdet": 2}], "curriculum.stages[0].bugdet=2: there is no"),
            ("curriculum.stages", [{"step": 0, "budget": -1}], "stages[0].budget=-1: must be at least 0"),
        ],
    )  # fmt: skip
    def test_the_remedy_is_named(self, path: str, value: Any, says: str) -> None:
        message = refusal(changed(path, value))
        assert says in message
        assert path.split(".")[0] in message

    def test_a_missing_group_is_not_filled_in_silence(self) -> None:
        config = values()
        del config["trainer"]
        assert "trainer: this group is missing" in refusal(config)
