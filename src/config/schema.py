"""Turns a composed configuration into its typed dataclasses, strictly.

OmegaConf's own conversion is lenient (``tools=5`` becomes true, ``steps="3"`` becomes 3) and stops at
the first fault with a message about nodes. Here every fault is collected, each as one sentence that
names the field, the value and the remedy.
"""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Iterator, Mapping
from dataclasses import Field, field, fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

C = TypeVar("C")

_MISSING = "???"
_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_SEED_LIMIT = 2**32 - 1  # numpy's
_LIMITS = {"above": "above", "at_least": "at least", "at_most": "at most", "below": "below"}


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
    *,
    choices: tuple[Any, ...] = (),
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Any:
    """A dataclass field whose value (each element of a list) must be among ``choices`` or in a range."""
    limits = {"above": above, "at_least": at_least, "at_most": at_most, "below": below}
    metadata = {"choices": choices, "limits": {name: x for name, x in limits.items() if x is not None}}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def seed_option(default: int) -> Any:
    """A dataclass field for the seed of a random number generator."""
    return option(default, at_least=0, at_most=_SEED_LIMIT)


def build(schema: type[C], config: DictConfig | dict[str, Any]) -> C:
    """Return ``config`` as an instance of the dataclass ``schema``.

    A key that ``config`` lacks takes the schema's default, except for a whole top-level group.

    Raises:
        ConfigError: unknown keys, missing mandatory values, wrong types, values outside their choices
            or range; all of them at once.
    """
    try:
        nodes = config if isinstance(config, DictConfig) else OmegaConf.create(config)
        values = OmegaConf.to_container(nodes, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error.msg).splitlines()[0]}") from None
    builder = _Builder(schema)
    result = builder.dataclass(schema, values, "")
    if builder.faults:
        raise ConfigError(*builder.faults)
    return result


def key_names(schema: type, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every group and every value of ``schema``, in order."""
    hints = get_type_hints(schema)
    for one in fields(schema):
        yield prefix + one.name
        if is_dataclass(hints[one.name]):
            yield from key_names(hints[one.name], f"{prefix}{one.name}.")


def unknown_key(schema: type, path: str, value: Any) -> str:
    """Return the fault of a key that ``schema`` lacks, with the keys that may have been meant."""
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
    """Return ``value`` as one would write it on the command line, cut to 80 characters."""
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


class _Builder:
    """One walk over values and schema together; faults gather in ``faults``."""

    def __init__(self, root: type) -> None:
        self.root = root
        self.faults: list[str] = []

    def dataclass(self, schema: type[C], values: Any, path: str) -> C:
        """Return the instance; what is at fault keeps its default and is noted."""
        if not isinstance(values, dict):
            names = ", ".join(one.name for one in fields(schema))  # type: ignore[arg-type]
            self.fault(path, values, f"expected the keys {names}")
            return schema()
        known: dict[str, Field[Any]] = {one.name: one for one in fields(schema)}  # type: ignore[arg-type]
        hints = get_type_hints(schema)
        for name, value in values.items():
            if name not in known:
                self.unknown(schema, f"{path}.{name}".strip("."), value)
        built = {}
        for name, one in known.items():
            here = f"{path}.{name}".strip(".")
            if name in values:
                built[name] = self.value(hints[name], values[name], here, one.metadata)
            elif not path and is_dataclass(hints[name]):
                self.faults.append(f"{name}: this group is missing; choose one of conf/{name} ({name}=...)")
        return schema(**built)

    def value(self, hint: Any, value: Any, path: str, metadata: Mapping[str, Any]) -> Any:
        """Return ``value`` converted to ``hint``, or note why it cannot be."""
        optional = False
        if get_origin(hint) in (Union, types.UnionType):
            optional = types.NoneType in get_args(hint)
            kinds = [one for one in get_args(hint) if one is not types.NoneType]
            # of ``str | list[str]`` the one that the value is meant to be
            fitting = [one for one in kinds if (get_origin(one) is list) == isinstance(value, list)]
            hint = (fitting or kinds)[0]
        if value is None and optional:
            return None
        if value == _MISSING:
            self.faults.append(f"{path}: this value is mandatory; give it with {path}={_sample(hint)}")
            return None
        if hint is Any:
            return value  # whoever takes it checks it
        if is_dataclass(hint):
            return self.dataclass(hint, value, path)  # type: ignore[arg-type]
        if get_origin(hint) is list:
            if not isinstance(value, list):
                return self.fault(path, value, f"expected a list, such as {path}={_sample(hint)}")
            (inner,) = get_args(hint)
            return [self.value(inner, one, f"{path}[{i}]", metadata) for i, one in enumerate(value)]
        if get_origin(hint) is dict:
            if not isinstance(value, dict):
                return self.fault(
                    path, value, f"expected names with values, such as '{path}={{NAME: VALUE}}'"
                )
            _, inner = get_args(hint)
            return {str(key): self.value(inner, one, f"{path}.{key}", metadata) for key, one in value.items()}
        return self.scalar(hint, value, path, metadata, optional)

    def scalar(self, hint: type, value: Any, path: str, metadata: Mapping[str, Any], optional: bool) -> Any:
        """Return a bool, int, float or str within its choices and range."""
        wanted = _EXPECTED[hint] + (" or null" if optional else "")
        fits = {
            bool: isinstance(value, bool),
            int: isinstance(value, int) and not isinstance(value, bool),
            float: isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value),
            # The command line reads name=2024 as a number; as a text it is what was typed.
            str: isinstance(value, str | int | float) and not isinstance(value, bool),
        }
        if not fits[hint]:
            whole = hint is int and isinstance(value, float) and value.is_integer()
            remedy = f"; write {int(value)}" if whole else f" ({hint.__name__}), got {_described(value)}"
            return self.fault(path, value, f"expected {wanted}{remedy}")
        value = hint(value)
        choices = metadata.get("choices", ())
        if choices and value not in choices:
            self.faults.append(wrong_choice(path, value, choices))
        limits = metadata.get("limits", {})
        inside = {
            "above": lambda limit: value > limit,
            "at_least": lambda limit: value >= limit,
            "at_most": lambda limit: value <= limit,
            "below": lambda limit: value < limit,
        }
        if not all(inside[name](limit) for name, limit in limits.items()):
            bounds = " and ".join(f"{_LIMITS[name]} {limit}" for name, limit in limits.items())
            self.fault(path, value, f"must be {bounds}")
        return value

    def fault(self, path: str, value: Any, reason: str) -> None:
        """Note that ``value`` at ``path`` is wrong for ``reason``."""
        self.faults.append(f"{path}={show(value)}: {reason}")

    def unknown(self, schema: type, path: str, value: Any) -> None:
        """Note an unknown key; inside a list the schema at hand, not the root, says what was meant."""
        if "[" not in path:
            self.faults.append(unknown_key(self.root, path, value))
            return
        parent, _, leaf = path.rpartition(".")
        names = either([one.name for one in fields(schema)])
        self.fault(path, value, f"there is no such key; {parent} takes {names}, not {leaf}")


def _described(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {dict: "a group of keys", list: "a list", str: "the text", bool: "the truth value"}
    shown = "" if isinstance(value, dict | list) else f" {show(value)}"
    return kinds.get(type(value), "the number") + shown


def _sample(hint: Any) -> str:
    if get_origin(hint) is list:
        inner = _sample(get_args(hint)[0])
        return f"[{inner},{inner}]"
    return {bool: "true", int: "1", float: "0.1", str: "TEXT"}.get(hint, "{...}")
