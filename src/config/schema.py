"""Settings are declared as fields of dataclasses, each with its default, range and meaning, and only there.

Pydantic validates the composed configuration strictly (``tools=5`` is not true, ``steps="3"`` is not 3) and
reports all faults at once; each is one sentence that names the field, the value and the remedy.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import field, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

C = TypeVar("C")

_SEED_LIMIT = 2**32 - 1  # numpy's
_LIMITS = {"gt": "above", "ge": "at least", "le": "at most", "lt": "below"}


class ConfigError(ValueError):
    """A configuration that cannot run; ``faults`` are sentences that name field, value and remedy."""

    def __init__(self, *faults: str) -> None:
        self.faults = faults
        if len(faults) == 1:
            super().__init__(f"configuration error: {faults[0]}")
        else:
            listed = "".join(f"\n  {fault}" for fault in faults)
            super().__init__(f"{len(faults)} configuration errors:{listed}")


def option(
    default: Any,
    help: str = "",
    *,
    choices: tuple[Any, ...] = (),
    dotted: bool = False,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Any:
    """A dataclass field whose value (each element of a list) must be among ``choices`` or in a range.

    Args:
        default: default value; "???" means that the setting must be given.
        help: meaning, for docs/configuration.md, which adds type, range and default.
        choices: the allowed values.
        dotted: the dotted path of a class or function is allowed, too (src/config/dotted.py).
        above: exclusive lower bound.
        at_least: inclusive lower bound.
        at_most: inclusive upper bound.
        below: exclusive upper bound.
    """
    limits = {"gt": above, "ge": at_least, "le": at_most, "lt": below}
    metadata = {
        "help": help,
        "choices": choices,
        "dotted": dotted,
        "limits": {name: x for name, x in limits.items() if x is not None},
    }
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def seed_option(default: int, help: str = "seed of the random numbers") -> Any:
    """A dataclass field for the seed of a random number generator."""
    return option(default, help, at_least=0, at_most=_SEED_LIMIT)


def limits_of(metadata: Mapping[str, Any]) -> str:
    """Return the range of an option in words, ``above 0 and at most 1``; empty if it has none."""
    return " and ".join(f"{_LIMITS[name]} {limit}" for name, limit in metadata.get("limits", {}).items())


def build(schema: type[C], config: DictConfig | dict[str, Any]) -> C:
    """Return ``config`` as an instance of the dataclass ``schema``.

    A key that ``config`` lacks takes the schema's default, except for a whole top-level group.

    Raises:
        ConfigError: unknown keys, missing mandatory values, wrong types, values outside their choices
            or range; all of them at once.
    """
    from src.config.validation import validated  # importing pydantic takes 0.1 s; only needed here

    try:
        nodes = config if isinstance(config, DictConfig) else OmegaConf.create(config)
        values: Any = OmegaConf.to_container(nodes, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error.msg).splitlines()[0]}") from None
    faults = [
        f"{one.name}: this group is missing; choose one of conf/{one.name} ({one.name}=...)"
        for one in fields(schema)  # type: ignore[arg-type]
        if is_dataclass(get_type_hints(schema)[one.name]) and one.name not in values
    ]
    typed, found = validated(schema, values)
    faults += found
    if faults:
        raise ConfigError(*faults)
    return typed


def key_names(schema: type, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every group and every value of ``schema``, in order."""
    hints = get_type_hints(schema)
    for one in fields(schema):
        yield prefix + one.name
        if is_dataclass(hints[one.name]):
            yield from key_names(hints[one.name], f"{prefix}{one.name}.")


def unknown_key(schema: type, path: str, value: Any) -> str:
    """Return the fault of a key that ``schema`` does not have, with similar keys."""
    parent, _, leaf = path.rpartition(".")
    names = list(key_names(schema))
    siblings = [name.rpartition(".")[2] for name in names if name.rpartition(".")[0] == parent]
    typos = difflib.get_close_matches(leaf, siblings, n=1, cutoff=0.7)
    near = [f"{parent}.{typo}".strip(".") for typo in typos]
    near = near or [name for name in names if name.rpartition(".")[2] == leaf]
    if not near and not (parent and siblings):
        near = difflib.get_close_matches(path, names, n=1, cutoff=0.75)
    if near:
        remedy = f"did you mean {either(near)}?"
    elif siblings and parent:
        remedy = f"the keys of {parent} are {', '.join(siblings)}"
    else:
        remedy = f"the groups are {', '.join(one.name for one in fields(schema))}"
    return f"{path}={show(value)}: there is no such key; {remedy}"


def wrong_choice(path: str, value: Any, choices: Any) -> str:
    """Return the fault of a value that is not among ``choices``."""
    names = [str(choice) for choice in choices]
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{path}={show(value)}: choose {either(names)}{hint}"


def either(names: list[str]) -> str:
    """Return ``a``, ``a or b``, or ``a, b or c``."""
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "nothing"


def show(value: Any) -> str:
    """Return ``value`` in command-line syntax, cut to 80 characters."""
    if value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, list):
        text = f"[{','.join(map(show, value))}]"
    elif isinstance(value, dict):
        text = "{" + ",".join(f"{key}:{show(one)}" for key, one in value.items()) + "}"
    else:
        text = str(value)
        text = text if text and text.isprintable() else repr(text)
    return text if len(text) <= 80 else f"{text[:77]}..."
