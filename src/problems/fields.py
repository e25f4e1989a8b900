"""Recognises the fields of a problem file or data set by their common names, where a setting is ``auto``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from src.config import FieldsConfig
from src.problems.gold import as_text, bare_answer, matched_answer, unreadable
from src.problems.problem import ProblemError, Row

AUTO = "auto"
SAMPLE = 1000  # rows from which fields are recognised
_ROLES = ("text", "answer", "id", "subject", "level")
_PROBLEMS = ("problem", "question", "problem_statement", "problem_text", "question_text")
_PROMPTS = ("prompt", "messages", "query", "instruction", "input")
_ANSWERS = (
    *("answer", "final_answer", "expected_answer", "gold_answer", "correct_answer", "reference_answer"),
    *("gold", "ground_truth", "answers", "target", "reward_model.ground_truth"),
)
_SOLUTIONS = ("solution", "solutions")
# the first that every row has is taken; they need not agree
_IDS = ("id", "unique_id", "problem_id", "question_id", "uid", "uuid", "idx")
_SUBJECTS = ("subject", "type", "problem_type", "category", "topic")
_LEVELS = ("level", "difficulty")
_LEVEL = re.compile(r"(?:level\s*)?(\d+)", re.IGNORECASE)
_SHOWN = 20  # names in an error
_ABSENT = object()


def recognise(rows: Sequence[Row], fields: FieldsConfig, source: str, group: str, own: bool) -> FieldsConfig:
    """Return ``fields`` with a name, or null, for each that is ``auto``.

    A field for the problem and one for the answer must be found. If several are, and their contents differ,
    that is an error, except that ``problem`` and the like come before prompts, and answers before solutions.
    The others are null unless every row has a value that can be used: ids are distinct, levels are integers.

    Args:
        rows: the first rows, at least one.
        fields: as configured.
        source: of the rows, for errors.
        group: group of the configuration, for errors.
        own: whether the text is also the prompt (``keep_prompt``), so prompts come before problems.

    Raises:
        ProblemError: nothing is found for the problem or the answer, or more than one.
    """
    columns = _Columns(rows, source, f"{group}.fields")
    found: dict[str, str | None] = {}
    if fields.text == AUTO:
        found["text"] = columns.one(
            "text", (_PROMPTS, _PROBLEMS) if own else (_PROBLEMS, _PROMPTS), chat_text
        )
    if fields.answer == AUTO:

        def answer(value: Any) -> str | None:
            return _answer(value, fields.answer_pattern)

        found["answer"] = columns.one("answer", (_ANSWERS, _SOLUTIONS), answer, lambda a: not unreadable(a))
    if fields.id == AUTO:
        found["id"] = columns.every(_IDS, _id, nullable=False, distinct=True)
    if fields.subject == AUTO:
        found["subject"] = columns.every(_SUBJECTS, _string)
    if fields.level == AUTO:
        found["level"] = columns.every(_LEVELS, as_level)
    return replace(fields, **found)  # type: ignore[arg-type]


def recognised(configured: FieldsConfig, resolved: FieldsConfig) -> dict[str, str]:
    """Return the names that were found for ``auto``, by role."""
    names = {role: getattr(resolved, role) for role in _ROLES if getattr(configured, role) == AUTO}
    return {role: name for role, name in names.items() if name is not None}


def settings(found: Mapping[str, str]) -> str:
    """Return fields as text in the form of settings."""
    return ", ".join(f"{role}={name}" for role, name in found.items())


def fields_line(found: Mapping[str, str]) -> str:
    """Return which fields were recognised, for the console."""
    return f"fields recognised: {settings(found)}"


def lookup(row: Mapping[str, Any], name: str) -> Any:
    """Return a field, or a nested field by its dotted name. Raises KeyError."""
    if name in row:
        return row[name]
    head, dot, rest = name.partition(".")
    if dot and isinstance(row.get(head), dict):
        return lookup(row[head], rest)
    raise KeyError(name)


def last_user_message(messages: list[Any]) -> Any:
    """Return the content of the last user message of a chat; ``messages`` itself if there is none."""
    contents = [m.get("content") for m in messages if isinstance(m, dict) and m.get("role") == "user"]
    return contents[-1] if contents else messages


def chat_text(value: Any) -> str | None:
    """Return a text, or the last user message of a chat, without white space around it; None if empty."""
    return _string(last_user_message(value) if isinstance(value, list) else value)


def as_level(value: Any) -> int | None:
    """Return an integer, or that of a string such as ``"3"`` or ``"Level 3"``; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _LEVEL.fullmatch(value.strip()) if isinstance(value, str) else None
    return None if match is None else int(match.group(1))


@dataclass(frozen=True)
class _Columns:
    """The rows in which fields are looked for; ``at`` is the group of the fields' settings, for errors."""

    rows: Sequence[Row]
    source: str
    at: str

    def one(
        self,
        role: str,
        ranks: Sequence[Sequence[str]],
        read: Callable[[Any], str | None],
        good: Callable[[str], bool] = lambda value: True,
    ) -> str:
        """Return the field of the first rank that has any. Raises ProblemError if it has none or several."""
        unread: list[str] = []  # their rows' own errors say why
        for names in ranks:
            columns = {name: [read(value) for value in self._column(name)] for name in self._present(names)}
            found = {name: column for name, column in columns.items() if any(column)}
            unread += columns
            if not found:
                continue
            well = {
                name: column
                for name, column in found.items()
                if all(value is not None and good(value) for value in column)
            }
            first, *others = well or found
            for other in others:
                self._refuse_different(role, (first, other), found)
            for other, column in found.items():
                right = [value if value is not None and good(value) else None for value in column]
                if well and other not in well and 2 * right.count(None) < len(right):  # few are of no use
                    self._refuse_different(role, (first, other), {**found, other: right})
            return first
        if unread:
            return unread[0]
        present = list(dict.fromkeys(name for _, row in self.rows for name in row))
        shown = ", ".join(present[:_SHOWN]) + (", ..." if len(present) > _SHOWN else "")
        raise ProblemError(
            f"{self.source}: {self.at}.{role}=auto knows none of the fields {shown}, but "
            f"{', '.join(name for names in ranks for name in names)}; give {self.at}.{role}=NAME"
        )

    def every(
        self,
        names: Sequence[str],
        read: Callable[[Any], Any],
        *,
        nullable: bool = True,
        distinct: bool = False,
    ) -> str | None:
        """Return the first field that can be read in every row and is not always null, or None."""
        for name in self._present(names):
            given = [value for value in self._column(name) if value is not None or not nullable]
            values = [read(value) for value in given]
            if values and None not in values and (not distinct or len(set(values)) == len(values)):
                return name
        return None

    def _present(self, names: Sequence[str]) -> list[str]:
        """The fields that some row has, in the order of ``names``; capitals do not matter."""
        spelt: dict[str, dict[str, None]] = {}
        for _, row in self.rows:
            for name in row:
                spelt.setdefault(name.lower(), {})[name] = None
        for name in names:
            if "." in name and any(value is not _ABSENT for value in self._column(name)):
                spelt.setdefault(name, {})[name] = None
        return [one for name in names for one in spelt.get(name, ())]

    def _column(self, name: str) -> list[Any]:
        values = []
        for _, row in self.rows:
            try:
                values.append(lookup(row, name))
            except KeyError:
                values.append(_ABSENT)
        return values

    def _refuse_different(
        self, role: str, names: tuple[str, str], found: Mapping[str, list[str | None]]
    ) -> None:
        columns = (found[name] for name in names)
        for (place, _), *values in zip(self.rows, *columns, strict=True):
            one, other = (value and value.strip("$ ") for value in values)
            if one and other and one != other:
                raise ProblemError(
                    f"{place}: {self.at}.{role}=auto: both {names[0]} and {names[1]} may be meant, and they "
                    f"differ ({one[:100]!r} and {other[:100]!r}); give {self.at}.{role}={names[0]} or "
                    f"{self.at}.{role}={names[1]}"
                )


def _answer(value: Any, pattern: str | None) -> str | None:
    text = _string(as_text(value))
    if text is None:
        return None
    return bare_answer(text)[0] if pattern is None else matched_answer(text, pattern)


def _id(value: Any) -> str | None:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _string(value)


def _string(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
