"""docs/configuration.md is what the schemas and conf say."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import get_args, get_origin, get_type_hints

import pytest

from src.config.document import FILE, PROGRAMS, document
from src.config.paths import CONF


def unexplained(schema: type, prefix: str = "") -> Iterator[str]:
    """Yield the values that have no meaning, those of inner dataclasses included."""
    hints = get_type_hints(schema)
    for one in fields(schema):
        hint = hints[one.name]
        inner = get_args(hint)[0] if get_origin(hint) is list else hint
        if is_dataclass(inner):
            yield from unexplained(inner, f"{prefix}{one.name}.")
        if not is_dataclass(hint) and not one.metadata.get("help"):
            yield prefix + one.name


def test_the_document_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == document(), "run `make docs`"


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_value_has_a_meaning(program: str) -> None:
    assert list(unexplained(pkgutil.resolve_name(PROGRAMS[program]))) == []


def test_every_program_and_every_option_is_in_it() -> None:
    programs = [*CONF.glob("*.yaml"), *CONF.glob("analysis/*.yaml")]
    assert {str(path.relative_to(CONF).with_suffix("")) for path in programs} == set(PROGRAMS)
    text = FILE.read_text(encoding="utf-8")
    options = [path for path in CONF.glob("*/**/*.yaml") if path.parent.name != "analysis"]
    assert [str(path) for path in options if f"(../conf/{path.relative_to(CONF)})" not in text] == []
