"""``python -m src.config.document``: writes ``docs/configuration.md`` from the schemas and from ``conf``.

What is said there of a setting is what its field says; nothing is written by hand. A test compares the file
with what would be written.
"""

from __future__ import annotations

import pkgutil
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf

from src.config.paths import CONF, ROOT
from src.config.schema import limits_of, show

FILE = ROOT / "docs" / "configuration.md"
# The settings of conf/NAME.yaml. By name: a program imports this package, not the other way round.
PROGRAMS = {
    "train": "src.config:Config",
    "evaluate": "src.config:EvaluationConfig",
    "merge": "src.merge:MergeConfig",
    "merge_adapter": "src.merge_adapter:MergeAdapterConfig",
    "prepare": "src.problems.prepare:PrepareConfig",
    "filter": "src.problems.filter:FilterConfig",
    "execute": "src.config:ExecuteConfig",
    "warm_start": "src.warm_start.config:WarmStartConfig",
    "reproduce": "experiments.reproduce.config:ReproduceConfig",
    "analysis/pass_at_k": "analysis.pass_at_k:PassAtKConfig",
    "analysis/subjects": "analysis.subjects:SubjectsConfig",
    "analysis/token_efficiency": "analysis.token_efficiency:TokenEfficiencyConfig",
    "analysis/training_curves": "analysis.training_curves:TrainingCurvesConfig",
    "analysis/error_feedback": "analysis.error_feedback:ErrorFeedbackConfig",
    "analysis/compare": "analysis.compare:CompareConfig",
    "analysis/ablation": "analysis.ablation:AblationConfig",
    "analysis/report": "analysis.report:ReportConfig",
}
# Options that no schema describes.
FILES = ("experiment", "hydra/output", "hydra/callbacks", "hydra/launcher", "accelerate")

_HEAD = """# Configuration

Made by `make docs` from `src/config` and `conf`: do not edit it.

An option is chosen by `GROUP=OPTION`, a value given by `GROUP.VALUE=...`, a list as `'GROUP.VALUE=[a,b]'`. An
option changes what is named beside it; all else has the default. A value without a default must be given. The
range of a list is that of its elements. All is checked before anything expensive starts, and a mistake is
named with its remedy.
"""


def document() -> str:
    """Return the text of ``docs/configuration.md``."""
    schemas = {name: pkgutil.resolve_name(place) for name, place in PROGRAMS.items()}
    groups = _groups(schemas.values())
    parts = [_HEAD, "## Programs\n"]
    for name, schema in schemas.items():
        parts.append(f"### Program {name}\n\n{_comment(CONF / f'{name}.yaml')}\n")
        chosen = _chosen(CONF / f"{name}.yaml")
        if chosen:
            listed = ", ".join(f"[{group}](#{group})={option}" for group, option in chosen.items())
            parts.append(f"Groups, and the options that they have by default: {listed}.\n")
        changed = _changes(CONF / f"{name}.yaml", values_only=True)
        if changed:
            parts.append(f"It changes {changed}.\n")
        own = [row for row in _rows(schema) if row[0].split(".")[0].strip("`") not in chosen]
        parts += [_values(own)] if own else []
    parts.append("## Groups\n")
    for group, schema in groups.items():
        parts.append(f"### {group}\n\n{_doc(schema)}\n\n{_options(group)}\n\n{_values(_rows(schema))}")
    training = schemas["train"]
    for one in fields(training):
        if get_origin(get_type_hints(training)[one.name]) is dict:  # a class by _target_, and its arguments
            parts.append(f"### {one.name}\n\n{one.metadata['help']}\n\n{_options(one.name)}\n")
    parts.append("## Other options\n")
    parts += [f"### {group}\n\n{_options(group)}\n" for group in FILES]
    return "\n".join(parts)


def _groups(schemas: Any) -> dict[str, Any]:
    """Return the schema of each folder of ``conf``."""
    found: dict[str, Any] = {}
    for schema in schemas:
        for name, hint in get_type_hints(schema).items():
            if is_dataclass(hint) and (CONF / name).is_dir():
                found.setdefault(name, hint)
    return found


def _chosen(path: Path) -> dict[str, str]:
    """Return the groups of a primary config with the options that it chooses."""
    content: Any = OmegaConf.load(path)
    defaults = [one for one in content.defaults if not isinstance(one, str)]
    return {
        str(group): option
        for one in defaults
        for group, option in one.items()
        if not str(group).startswith("override ")
    }


def _options(group: str) -> str:
    rows = []
    for path in sorted((CONF / group).glob("*.yaml")):
        link = f"[`{path.stem}`](../{path.relative_to(ROOT)})"
        rows.append((link, _comment(path), _changes(path)))
    return _table(("option", "what it is", "what it changes"), rows)


def _changes(path: Path, values_only: bool = False) -> str:
    """Return the differences that a file makes, as on a command line."""
    own: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    starts = own.pop("defaults", [])
    if values_only:
        starts = []
        own.pop("hydra", None)
    words = [f"as `{one}`" for one in starts if isinstance(one, str) and one != "_self_"]
    words += [
        f"`{name.removeprefix('override ').strip('/')}={option}`"
        for one in starts
        if isinstance(one, dict)
        for name, option in one.items()
    ]
    return "; ".join(words + [f"`{name}={show(value)}`" for name, value in _leaves(own)])


def _leaves(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _comment(path: Path) -> str:
    """Return what a file of ``conf`` says of itself in its first lines."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.lstrip("# ").removesuffix("\\").strip())
    return " ".join(lines)


def _rows(schema: type, prefix: str = "") -> Iterator[tuple[str, str, str, str, str]]:
    """Yield name, type, range, default and meaning of each value, those of inner dataclasses included."""
    hints = get_type_hints(schema)
    for one in fields(schema):
        name, hint = f"{prefix}{one.name}", hints[one.name]
        if is_dataclass(hint):
            yield f"`{name}.`", "", "", "", _doc(hint)
            yield from _rows(hint, f"{name}.")  # type: ignore[arg-type]
            continue
        words = ", ".join(f"`{choice}`" for choice in one.metadata.get("choices", ()))
        words += ", or a dotted path" if one.metadata.get("dotted") else ""
        meaning = one.metadata.get("help", "")
        yield f"`{name}`", _type(hint), words or limits_of(one.metadata), _default(one), meaning
        inner = get_args(hint)[0] if get_origin(hint) is list else None
        if is_dataclass(inner):
            yield from _rows(inner, f"{name}[].")  # type: ignore[arg-type]


def _default(one: Field[Any]) -> str:
    value: Any = one.default if one.default_factory is MISSING else one.default_factory()
    if value == "???":
        return "none"
    if isinstance(value, list):
        value = [asdict(item) if is_dataclass(item) else item for item in value]  # type: ignore[arg-type]
    return f"`{show(value)}`"


def _type(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join("null" if one is types.NoneType else _type(one) for one in get_args(hint))
    if get_origin(hint) is list:
        return f"list of {_type(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return f"names with {_type(get_args(hint)[1])}"
    if is_dataclass(hint):
        return "{" + ", ".join(one.name for one in fields(hint)) + "}"
    names: Mapping[Any, str] = {bool: "bool", int: "int", float: "float", str: "text", Any: "any"}
    return names[hint]


def _doc(schema: Any) -> str:
    return " ".join(str(schema.__doc__).replace("``", "`").split())


def _values(rows: Any) -> str:
    return _table(("value", "type", "range", "default", "meaning"), rows) + "\n"


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, ("---",) * len(head), *rows]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(document(), encoding="utf-8")
