"""Validates values against a dataclass with pydantic, and words pydantic's errors as sentences."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

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

from src.config.schema import either, limits_of, show, unknown_key, wrong_choice

_MISSING = "???"
_PARTS = re.compile(r"[^.\[\]]+")  # parts of a dotted name
_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_TAGS = ("<one>", "<list>")  # mark the two types of a setting in the location of an error
_RANGE = ("greater_than", "greater_than_equal", "less_than_equal", "less_than")


def validated(schema: type, values: Any) -> tuple[Any, list[str]]:
    """Return ``values`` as an instance of the dataclass ``schema``, or None; and all of their faults."""
    missing = {path: _declared(schema, tuple(_PARTS.findall(path)))[0] for path in _missing(values)}
    faults = [
        f"{path}: this value is mandatory; give it with {path}={_sample(hint)}"
        for path, hint in missing.items()
    ]
    try:
        return _adapter(schema).validate_python(values), faults
    except ValidationError as error:
        details: list[Any] = error.errors(include_url=False)
    return None, faults + [_fault(schema, one) for one in details if one["input"] != _MISSING]


class _Keys(BaseModel):
    """Base of the pydantic models of dataclasses; an instance is converted to the dataclass."""

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
    """Return the type by which pydantic validates a setting; choices and range apply to list elements."""
    if is_dataclass(hint):
        return _keys(hint)  # type: ignore[arg-type]
    if get_origin(hint) in (Union, types.UnionType):
        kinds = tuple(one for one in get_args(hint) if one is not types.NoneType)
        parts = tuple(_validated(one, metadata) for one in kinds)
        whole: Any = parts[0]
        if len(parts) > 1:  # str | list[str]: report the errors of the intended type
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
        # Hydra parses name=2024 as a number; keep the text that was typed.
        return Annotated[str, Strict(False)]
    return Annotated[hint, Field(**metadata["limits"])] if metadata.get("limits") else hint


def _chosen(choices: tuple[str, ...], value: Any) -> Any:
    if value in choices or (isinstance(value, str) and "." in value.strip(".")):
        return value
    raise ValueError("not among the choices")


@cache
def _keys(schema: type) -> Any:
    """Return a pydantic model of ``schema``, whose validated value is an instance of ``schema``."""
    hints = get_type_hints(schema)
    # aliased, since a setting may have the name of a method of BaseModel
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
    """Return type, whether null is allowed, and metadata of the setting at a location in ``schema``."""
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
    """Return an error of pydantic as a sentence."""
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
    if error["type"] in ("literal_error", "value_error"):
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
