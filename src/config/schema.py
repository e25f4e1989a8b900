"""Settings are declared as fields of dataclasses, each with its default, range and meaning, and only there.

What is composed is validated by pydantic, strictly (``tools=5`` is not true, ``steps="3"`` is not 3), all
faults at once; each is one sentence that names the field, the value and the remedy.
"""

from __future__ import annotations

import copy
import difflib
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import field, fields, is_dataclass
from functools import cache, partial
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic_core import PydanticCustomError

C = TypeVar("C")

_MISSING = "???"
_PARTS = re.compile(r"[^.\[\]]+")  # of a dotted name
_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_SEED_LIMIT = 2**32 - 1  # numpy's
_TAGS = ("<one>", "<list>")  # of the two types that a setting may have, in the places of faults
_RANGE = ("greater_than", "greater_than_equal", "less_than_equal", "less_than")
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
        default: of the setting; "???" is none, so that it must be given.
        help: what it means, for docs/configuration.md; its type, range and default are said there anyway.
        choices: the values that there are.
        dotted: or the dotted path of a class or function of one's own (src/config/dotted.py).
        above: the value is greater.
        at_least: the value is not less.
        at_most: the value is not greater.
        below: the value is less.
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


def seed_option(default: int, help: str = "of the random numbers") -> Any:
    """A dataclass field for the seed of a random number generator."""
    return option(default, help, at_least=0, at_most=_SEED_LIMIT)


def limits_of(metadata: Mapping[str, Any]) -> str:
    """Return the range of an option as words, ``above 0 and at most 1``; nothing where it has none."""
    return " and ".join(f"{_LIMITS[name]} {limit}" for name, limit in metadata.get("limits", {}).items())


def build(schema: type[C], config: DictConfig | dict[str, Any]) -> C:
    """Return ``config`` as an instance of the dataclass ``schema``.

    A key that ``config`` lacks takes the schema's default, except for a whole top-level group.

    Raises:
        ConfigError: unknown keys, missing mandatory values, wrong types, values outside their choices
            or range; all of them at once.
    """
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
    missing = {path: _declared(schema, tuple(_PARTS.findall(path)))[0] for path in _missing(values)}
    faults += [
        f"{path}: this value is mandatory; give it with {path}={_sample(hint)}"
        for path, hint in missing.items()
    ]
    typed = None
    try:
        typed = _adapter(schema).validate_python(values)  # type: ignore[arg-type]
    except ValidationError as error:
        details: list[Any] = error.errors(include_url=False)
        faults += [_fault(schema, one) for one in details if one["input"] != _MISSING]
    if faults:
        raise ConfigError(*faults)
    return typed  # type: ignore[return-value]


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


class _Keys(BaseModel):
    """What the keys of a dataclass must be; an instance becomes one of the dataclass."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        coerce_numbers_to_str=True,
        protected_namespaces=(),
    )


@cache
def _adapter(schema: Any) -> TypeAdapter[Any]:
    return TypeAdapter(_validated(schema, {}))


def _validated(hint: Any, metadata: Mapping[str, Any]) -> Any:
    """Return the type of a setting as pydantic is to validate it; choices and range are of the elements."""
    if is_dataclass(hint):
        return _keys(hint)  # type: ignore[arg-type]
    if get_origin(hint) in (Union, types.UnionType):
        kinds = tuple(one for one in get_args(hint) if one is not types.NoneType)
        parts = tuple(_validated(one, metadata) for one in kinds)
        whole: Any = parts[0]
        if len(parts) > 1:  # str | list[str]: its faults are those of the one that is meant
            tagged = tuple(Annotated[part, Tag(_tag(kind))] for part, kind in zip(parts, kinds, strict=True))
            whole = Annotated[Union[tagged], Discriminator(_meant)]  # noqa: UP007 - of a tuple
        return whole | None if len(kinds) < len(get_args(hint)) else whole
    if get_origin(hint) in (list, dict):
        *key, inner = get_args(hint)
        return get_origin(hint)[(*key, _validated(inner, metadata))]
    if metadata.get("dotted"):
        return Annotated[str, BeforeValidator(partial(_chosen, metadata["choices"]))]
    if metadata.get("choices"):
        return Literal[tuple(metadata["choices"])]
    if hint is str:
        # The command line reads name=2024 as a number; as a text it is what was typed.
        return Annotated[str, Strict(False)]
    return Annotated[hint, Field(**metadata["limits"])] if metadata.get("limits") else hint


def _chosen(choices: tuple[str, ...], value: Any) -> Any:
    if value in choices or (isinstance(value, str) and "." in value.strip(".")):
        return value
    raise PydanticCustomError("literal_error", "not among the choices")


@cache
def _keys(schema: type) -> Any:
    """Return a model of the keys of ``schema``; what it validates is an instance of ``schema``."""
    hints = get_type_hints(schema)
    # by alias, since a model has methods whose names a setting may have
    parts: dict[str, Any] = {
        f"key_{one.name}": (_validated(hints[one.name], one.metadata), Field(None, alias=one.name))
        for one in fields(schema)
    }
    model = create_model(schema.__name__, __base__=_Keys, **parts)

    def instance(keys: _Keys) -> Any:
        return schema(**{key.removeprefix("key_"): getattr(keys, key) for key in keys.model_fields_set})

    return Annotated[model, AfterValidator(instance)]


def _tag(hint: Any) -> str:
    return _TAGS[get_origin(hint) is list]


def _meant(value: Any) -> str:
    return _TAGS[isinstance(value, list)]


def _declared(schema: type, place: tuple[int | str, ...]) -> tuple[Any, bool, Mapping[str, Any]]:
    """Return type, whether it may be null, and metadata of what ``schema`` has at a place of its values."""
    hint: Any = schema
    metadata: Mapping[str, Any] = {}
    for part in (*place, None):
        optional = False
        if get_origin(hint) in (Union, types.UnionType):
            optional = types.NoneType in get_args(hint)
            kinds = [one for one in get_args(hint) if one is not types.NoneType]
            hint = next((one for one in kinds if _tag(one) == part), kinds[0])
        if part is None or part in _TAGS:
            continue
        if is_dataclass(hint):
            own = {one.name: one.metadata for one in fields(hint)}
            hint, metadata = get_type_hints(hint).get(str(part), Any), own.get(str(part), {})
        else:
            hint = get_args(hint)[-1] if get_args(hint) else Any
    return hint, optional, metadata


def _fault(schema: type, error: Mapping[str, Any]) -> str:
    """Return what pydantic found, as a sentence."""
    place, value = error["loc"], error["input"]
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}"
        for part in place
        if not str(part).startswith("<")
    ).strip(".")
    hint, optional, metadata = _declared(schema, place)
    if error["type"] == "extra_forbidden":
        if "[" not in path:
            return unknown_key(schema, path, value)
        parent, _, leaf = path.rpartition(".")
        names = either([one.name for one in fields(_declared(schema, place[:-1])[0])])
        return f"{path}={show(value)}: there is no such key; {parent} takes {names}, not {leaf}"
    if error["type"] == "literal_error":
        return wrong_choice(path, value, metadata["choices"])
    if is_dataclass(hint):
        reason = f"expected the keys {', '.join(one.name for one in fields(hint))}"
    elif get_origin(hint) is list:
        reason = f"expected a list, such as {path}={_sample(hint)}"
    elif get_origin(hint) is dict:
        reason = f"expected names with values, such as '{path}={{NAME: VALUE}}'"
    elif error["type"] in _RANGE:
        reason = f"must be {limits_of(metadata)}"
    else:
        wanted = _EXPECTED[hint] + (" or null" if optional else "")
        whole = hint is int and isinstance(value, float) and value.is_integer()
        remedy = f"; write {int(value)}" if whole else f" ({hint.__name__}), got {_got(value)}"
        reason = f"expected {wanted}{remedy}"
    return f"{path}={show(value)}: {reason}"


def _missing(values: Any, path: str = "") -> Iterator[str]:
    """Yield the dotted names of mandatory values that are not given."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _missing(value, f"{path}.{key}".strip("."))
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from _missing(value, f"{path}[{index}]")
    elif values == _MISSING:
        yield path


def _got(value: Any) -> str:
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
