"""Reads problems from JSON Lines and Parquet files, with a field mapping. A malformed row is an error."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

from src.config import FieldsConfig
from src.problems.fields import SAMPLE, as_level, last_user_message, lookup, recognise, recognised, settings
from src.problems.gold import Unreadable, as_text, bare_answer, matched_answer, refuse, unreadable
from src.problems.problem import Problem, ProblemError, Row


def read_problems(
    path: str | Path,
    fields: FieldsConfig,
    group: str = "data",
    taken: Counter[str] | None = None,
    keep_prompt: bool = False,
    found: dict[str, str] | None = None,
    texts_only: bool = False,
) -> list[Problem]:
    """Read every problem of a ``.jsonl`` or ``.parquet`` file.

    Text and subject must be non-empty strings; the text may also be a list of chat messages, of which the
    last user message is used. An answer may also be a number, a list with one element, or a worked solution
    from which the answer is extracted; an id may be an integer; a level is an integer, or a string such as
    ``"3"`` or ``"Level 3"``. Named fields must exist in every row; a subject or level may be null. Blank
    lines of a JSON Lines file are skipped.

    Raises:
        ProblemError: the file does not exist, a row is malformed (names file, line or row, and field), or too
            many gold answers cannot be graded (``fields.max_unreadable``).
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ProblemError(f"{path}: this problem file does not exist")
    if path.suffix == ".jsonl":
        rows: Iterator[Row] = _json_lines(path)
    elif path.suffix == ".parquet":
        rows = _parquet(path)
    else:
        raise ProblemError(f"{path}: unknown type of problem file; use .jsonl or .parquet")
    return read_rows(rows, fields, path.stem, path.name, group, taken, keep_prompt, found, texts_only)


def read_rows(
    rows: Iterable[Row],
    fields: FieldsConfig,
    stem: str,
    source: str,
    group: str = "data",
    taken: Counter[str] | None = None,
    keep_prompt: bool = False,
    found: dict[str, str] | None = None,
    texts_only: bool = False,
) -> list[Problem]:
    """Turn rows into problems; see :func:`read_problems`.

    Args:
        rows: each with its location, for errors.
        fields: names of the fields.
        stem: ids are STEM-NUMBER if ``fields`` has no id.
        source: of the problems.
        group: group of the configuration, for errors.
        taken: counts the answers extracted from longer texts, by the form in which they were found.
        keep_prompt: whether the text, as the row has it, is also the prompt.
        found: gets the names of the fields that were recognised (:mod:`src.problems.fields`), by role.
        texts_only: whether only the text is read; it is also the answer.

    Raises:
        ProblemError: a row is malformed, there are no rows, a field cannot be recognised, ``fields.after`` or
            ``before`` occurs in none, or too many gold answers cannot be graded.
    """
    if texts_only:
        fields = FieldsConfig(None, fields.text, "", subject=None, level=None, max_unreadable=1)
    first = list(islice(rows := iter(rows), SAMPLE))
    names = recognise(first, fields, source, group, keep_prompt) if first else fields
    found = {} if found is None else found
    found |= recognised(fields, names)
    remedy = f"; recognised were {settings(found)}: {group}.fields.ROLE=NAME names another" if found else ""
    fields = replace(names, answer=names.text) if texts_only else names
    problems: list[Problem] = []
    places: dict[str, str] = {}
    taken = Counter() if taken is None else taken
    why: dict[str, str | None] = {}  # reason by answer: a cache, since many answers repeat
    cannot: list[Unreadable] = []
    marks = {role: getattr(fields, role) for role in ("after", "before") if getattr(fields, role)}
    for number, (place, row) in enumerate(chain(first, rows)):
        try:
            problem = _problem(row, fields, place, f"{stem}-{number}", source, group, taken)
        except ProblemError as error:
            raise ProblemError(f"{error}{remedy}") from None
        if keep_prompt:
            problem = replace(problem, prompt=_own_prompt(lookup(row, fields.text), place))
        if fields.after or fields.before:
            marks = {role: mark for role, mark in marks.items() if mark not in problem.text}
            problem = replace(problem, text=_inside(problem.text, fields, place, group))
        if problem.id in places:
            raise ProblemError(
                f"{place}: id {problem.id!r} was already used in {places[problem.id]}; "
                f"{group}.fields.id=null numbers the rows"
            )
        places[problem.id] = place
        if problem.answer not in why:
            why[problem.answer] = unreadable(problem.answer)
        if reason := why[problem.answer]:
            cannot.append(Unreadable(place, problem.answer, reason))
        problems.append(problem)
    if not problems:
        raise ProblemError(f"{source}: contains no problems")
    for role, mark in marks.items():
        raise ProblemError(
            f"{source}: no problem contains the text {mark!r} ({group}.fields.{role}); the first problem is "
            f"{problems[0].text[:300]!r}"
        )
    refuse(cannot, len(cannot), len(problems), fields, source, group)
    return problems


def _inside(text: str, fields: FieldsConfig, place: str, group: str) -> str:
    """Return the text between the marks; without a mark, up to the start or end."""
    if fields.after and fields.after in text:
        text = text.partition(fields.after)[2]
    if fields.before and fields.before in text:
        text = text.rpartition(fields.before)[0]
    if not text.strip():
        raise ProblemError(f"{place}: nothing is left between {group}.fields.after and {group}.fields.before")
    return text.strip()


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            place = f"{path}, line {number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise ProblemError(f"{place}: not UTF-8 ({error})") from None
            except json.JSONDecodeError as error:
                raise ProblemError(f"{place}: not valid JSON ({error})") from None
            if not isinstance(row, dict):
                raise ProblemError(f"{place}: not a JSON object but {type(row).__name__}")
            yield place, row


def _parquet(path: Path) -> Iterator[Row]:
    import polars  # needed for this format only

    try:
        table = polars.read_parquet(path)
    except polars.exceptions.PolarsError as error:
        raise ProblemError(f"{path}: not a readable Parquet file ({error})") from None
    for number, row in enumerate(table.iter_rows(named=True), start=1):
        yield f"{path}, row {number}", row


def _problem(
    row: dict[str, Any],
    fields: FieldsConfig,
    place: str,
    default_id: str,
    source: str,
    group: str,
    taken: Counter[str],
) -> Problem:
    def get(role: str, name: str) -> Any:
        try:
            return lookup(row, name)
        except KeyError:
            raise ProblemError(
                f"{place}: field {name!r} is missing ({group}.fields.{role}={name}); "
                f"the row has {', '.join(row)}"
            ) from None

    def string(role: str, name: str, *, also: tuple[type, ...] = ()) -> str:
        value = get(role, name)
        if role == "text" and isinstance(value, list):
            value = last_user_message(value)
        if role == "answer":
            value = as_text(value)
        elif isinstance(value, also) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            kinds = " or ".join(["string", *(kind.__name__ for kind in also)])
            raise ProblemError(
                f"{place}: field {name!r} is {json.dumps(value, default=str)}, not a {kinds} "
                f"({group}.fields.{role}={name})"
            )
        if not value.strip():
            raise ProblemError(f"{place}: field {name!r} is empty ({group}.fields.{role}={name})")
        return value.strip()

    def answer() -> str:
        text = string("answer", fields.answer, also=(int, float))
        if fields.answer_pattern is None:
            found, how = bare_answer(text)
        else:
            matched, how = matched_answer(text, fields.answer_pattern), fields.answer_pattern
            if matched is None:
                raise ProblemError(
                    f"{place}: field {fields.answer!r} has no match of {group}.fields.answer_pattern="
                    f"{fields.answer_pattern}: {text[-300:]!r}; correct the pattern, or leave it null"
                )
            found = matched
        if how is not None and found != text:
            taken[how] += 1
        return found

    subject = None
    if fields.subject is not None and get("subject", fields.subject) is not None:
        subject = string("subject", fields.subject)
    return Problem(
        id=default_id if fields.id is None else string("id", fields.id, also=(int,)),
        text=string("text", fields.text),
        answer=answer(),
        subject=subject,
        level=None
        if fields.level is None
        else _level(get("level", fields.level), fields.level, place, group),
        source=source,
    )


def _own_prompt(value: Any, place: str) -> str | list[dict[str, str]]:
    """Return a row's prompt as it stands. Raises ProblemError if it is neither a text nor chat messages."""
    if isinstance(value, str):
        return value
    messages = [
        {"role": one["role"], "content": one["content"]}
        for one in value
        if isinstance(one, dict) and all(isinstance(one.get(key), str) for key in ("role", "content"))
    ]
    if len(messages) == len(value) and messages[-1]["role"] == "user":
        return messages
    raise ProblemError(
        f"{place}: its prompt is {json.dumps(value, default=str)[:300]}; with keep_prompt it must be a text, "
        "or a list of messages with role and content, the last one the user's"
    )


def _level(value: Any, name: str, place: str, group: str) -> int | None:
    if value is None:
        return None
    level = as_level(value)
    if level is None:
        raise ProblemError(
            f"{place}: field {name!r} is {json.dumps(value, default=str)}, not an integer "
            f'or a string such as "Level 3" ({group}.fields.level={name})'
        )
    return level


def write_problems(
    path: Path, problems: Iterable[Problem], more: Iterable[dict[str, Any]] | None = None
) -> None:
    """Write problems as JSON Lines for :func:`read_problems`, atomically.

    Args:
        path: ``.jsonl``.
        problems: in the order of the file.
        more: additional fields of each row.
    """
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        for problem, extra in zip(problems, more or repeat({}), strict=more is not None):
            row = {"problem": problem.text, **asdict(problem), **extra}
            del row["text"], row["max_prompt_tokens"]
            if problem.prompt is None:
                del row["prompt"]
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    partial.replace(path)
