"""The table of policies over benchmarks as text: on the terminal, in Markdown and in LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from analysis.published import PublishedConfig, differ
from src.run.console import console

MISSING = "missing"  # of ours; what a publication does not report is a dash
_SAMPLING = ("temperature", "top_p", "budget", "max_tokens", "prompt_style")
_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    sign: f"\\{sign}" for sign in "&%$#_{}"
}


@dataclass(frozen=True)
class Block:
    """The lines of one arm or of one publication; each has its heading and a cell for each column."""

    name: str
    lines: list[tuple[str, list[str]]] = field(default_factory=list)


@dataclass(frozen=True)
class Grid:
    """Columns, and the blocks of lines below them."""

    columns: list[str]
    blocks: list[Block]


def grid(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], benchmarks: list[str]) -> Grid:
    """Return the cells as text, in per cent.

    Args:
        ours: rows of ``analysis.table.cells``; a line of lenient accuracies is there if any arm has one.
        theirs: rows of ``analysis.table.published_cells``; those without any figure are left to the notes.
        benchmarks: the columns; the mean follows if there are several.
    """
    columns = [*benchmarks, *(["mean"] if len(benchmarks) > 1 else [])]
    graded = [
        name
        for name in dict.fromkeys(row["grading"] for row in ours)
        if name == "strict" or any("value" in row for row in ours if row["grading"] == name)
    ]
    blocks = []
    for name in dict.fromkeys(row["name"] for row in ours):
        mine = {(row["grading"], row["benchmark"]): row for row in ours if row["name"] == name}
        lines = [(one, [_measured(mine[one, column]) for column in columns]) for one in graded]
        sizes = [_size(mine["strict", column]) for column in columns]
        blocks.append(Block(name, [*lines, ("problems x k", sizes)]))
    for name in _with_figures(theirs):
        cells = {
            column: {row["state"]: row for row in theirs if (row["name"], row["benchmark"]) == (name, column)}
            for column in columns
        }
        blocks.append(Block(name, [("published", [_published(cells[column]) for column in columns])]))
    return Grid(columns, blocks)


def _with_figures(theirs: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["name"] for row in theirs if "value" in row))


def _measured(row: Mapping[str, Any]) -> str:
    if "value" not in row:
        return MISSING
    return f"{100 * row['value']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def _size(row: Mapping[str, Any]) -> str:
    return f"{row['n']} x {row['k']}" if "k" in row else ""


def _published(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a published figure; of a mean also the printed one, where it is another."""
    figures = {state: 100 * row["value"] for state, row in found.items() if "value" in row}
    mean, printed = figures.get("published"), figures.get("printed")
    if mean is None:
        return "-" if printed is None else f"{printed:.1f} (as printed)"
    if printed is not None and differ(mean, printed):
        return f"{mean:.1f} (printed: {printed:.1f})"
    return f"{mean:.1f}"


def notes_of(
    ours: list[dict[str, Any]],
    theirs: list[dict[str, Any]],
    published: PublishedConfig,
    runs: Mapping[str, Mapping[str, Any]],
    confidence: float,
) -> list[str]:
    """Return what must be read with the table: what a cell is, sampling, caveats, sources and their notes."""
    lenient = any("value" in row for row in ours if row["grading"] == "lenient")
    meant = "the last number or formula of a text counts, too, boxed or not"
    notes = [
        f"Accuracy in per cent with its {confidence:.0%} interval over problems. The mean is over the "
        "benchmarks, each with the same weight, and missing where one of them is.",
        f"Lenient: {meant}." if lenient else "None of these records was graded leniently (reward.lenient).",
    ]
    notes += _samplings(runs)
    for name, sources in runs.items():
        for benchmark, given in sources.items():
            for one in given if isinstance(given, list) else [given]:
                notes += [f"{name}, {benchmark}: {caveat}." for caveat in one.get("caveats", [])]
    names = _with_figures(theirs)
    rows = [row for row in published.rows if row.name in names]
    for key in dict.fromkeys(row.source for row in rows):
        source = published.sources[key]
        mine = [row for row in rows if row.source == key]
        notes.append(f"Published ({'; '.join(row.name for row in mine)}): {source}. {source.sampling}.")
        notes += [f"{row.name}: {note}." for row in mine for note in row.notes]
    unshown = [name for name in dict.fromkeys(row["name"] for row in theirs) if name not in names]
    if unshown:
        notes.append(f"Published rows without a figure for these benchmarks: {'; '.join(unshown)}.")
    return notes


def _samplings(runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return how each benchmark was sampled, and by which policies where they differ."""
    found: dict[str, dict[str, list[str]]] = {}  # sampling -> policy -> benchmarks
    for name, sources in runs.items():
        for benchmark, given in sources.items():
            for one in given if isinstance(given, list) else [given]:
                known = [f"{key} {one[key]}" for key in _SAMPLING if key in one]
                of = found.setdefault(", ".join(known) or "unknown", {}).setdefault(name, [])
                of += [] if benchmark in of else [benchmark]
    lines = []
    for sampling, policies in found.items():
        together: dict[str, list[str]] = {}
        for name, benchmarks in policies.items():
            together.setdefault(", ".join(benchmarks), []).append(name)
        of = "; ".join(f"{', '.join(names)} on {benchmarks}" for benchmarks, names in together.items())
        lines.append(f"Sampling of {of}: {sampling}.")
    return lines


def print_grid(table: Grid, notes: Sequence[str]) -> None:
    """Print the table; intervals have a line of their own."""
    shown = Table(box=SIMPLE_HEAD, title="accuracy", title_justify="left", pad_edge=False)
    for column in ("", *table.columns):
        shown.add_column(escape(column), overflow="fold")
    for block in table.blocks:
        shown.add_row(escape(block.name), style="bold")
        for heading, cells in block.lines:
            split = [cell.replace(" [", "\n[").replace(" (", "\n(") for cell in cells]
            shown.add_row(*map(escape, (f"  {heading}", *split)))
        shown.add_section()
    console.print(shown)
    for note in notes:
        console.print(note, markup=False, highlight=False)


def markdown(table: Grid, notes: Sequence[str]) -> str:
    """Return the table in Markdown, and the notes as a list."""
    rows = [["", "", *table.columns], ["---", "---", *("---:" for _ in table.columns)]]
    rows += [
        ["" if index else block.name, heading, *cells]
        for block in table.blocks
        for index, (heading, cells) in enumerate(block.lines)
    ]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def latex(table: Grid, notes: Sequence[str]) -> str:
    """Return the table in LaTeX, for the package booktabs; the notes are a paragraph below it."""
    lines = [rf"\begin{{tabular}}{{ll{'r' * len(table.columns)}}}", r"\toprule"]
    lines.append(" & ".join(["", "", *map(tex, table.columns)]) + r" \\")
    for block in table.blocks:
        lines.append(r"\midrule")
        lines += [
            " & ".join(map(tex, ("" if index else block.name, heading, *cells))) + r" \\"
            for index, (heading, cells) in enumerate(block.lines)
        ]
    lines += [r"\bottomrule", r"\end{tabular}", "", *(rf"\par\footnotesize {tex(note)}" for note in notes)]
    return "\n".join(lines) + "\n"


def tex(text: str) -> str:
    """Return ``text`` with LaTeX's signs escaped; ``x`` between numbers becomes a multiplication sign."""
    return "".join(_TEX.get(sign, sign) for sign in text).replace(" x ", r" $\times$ ")
