"""``python -m experiments.performance.bench_viewer --run runs/A``: is the page fast and small enough?

Three pages are made of a run of the mini policy: of the run as it is, of the run with its training repeated
until there are more than 10,000 trajectories, and of one trajectory of 100,000 tokens made of the run's.
Chromium, which must be on PATH, opens each several times; the machine's pace only ever adds to the times.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from playwright.sync_api import Browser, Page, sync_playwright

from analysis.view import load
from analysis.viewer import page
from experiments.performance.result import end, write_result
from src.run.console import console, progress
from src.run.processes import Ranks
from src.run.provenance import commit
from src.run.records import CONFIG, RECORDS, RecordWriter, SegmentRecord, TrajectoryRecord, read_records
from src.run.token_columns import SCHEMA, TokenWriter, read_tokens, token_files

LEAST, LONG = 10_001, 100_000  # trajectories, tokens
QUERIES = {
    "filter by numbers": "correct=0 executions>1 step>=20",
    "filter by a text": 'subject="Geometry" problem~circle',
    "search a word": "sympy",
}
# Seconds, and bytes per trajectory.
TARGETS = {"open": 2.0, "long trajectory": 1.0, **dict.fromkeys(QUERIES, 0.2), "bytes": 3000.0}


def begin(run: Path, folder: Path) -> None:
    """Make a folder with settings and tokenizer of ``run``."""
    folder.mkdir()
    shutil.copy(run / CONFIG, folder)
    (folder / "checkpoints").symlink_to((run / "checkpoints").resolve())


def repeated(run: Path, folder: Path, least: int) -> None:
    """Write a run with the trajectories of ``run``, training repeated at later steps until they suffice."""
    records = read_records(run / RECORDS)
    train = [one for one in records if one.phase == "train"]
    steps, extra = 1 + max(one.step for one in train), 0
    begin(run, folder)
    with RecordWriter(folder / RECORDS) as writer:
        writer.write_records(records)
        while len(records) + extra * len(train) < least:
            extra += 1
            writer.write_records(replace(one, step=one.step + extra * steps) for one in train)
    tokens = TokenWriter(folder, Ranks())
    for again in range(extra + 1):
        for step in token_files(run):
            later = read_tokens(run, step).with_columns(pl.col("step") + again * steps)
            tokens.write(later.to_arrow().cast(SCHEMA), step + again * steps, 0)


def lengthened(run: Path, folder: Path, tokens: int) -> None:
    """Write a run with one trajectory: the segments of many of ``run``, one after the other."""
    records = {
        (one.step, one.problem_id, one.sample): one
        for one in read_records(run / RECORDS)
        if one.phase == "train"
    }
    begin(run, folder)
    first: TrajectoryRecord | None = None
    row: dict[str, Any] = {}
    segments: list[SegmentRecord] = []
    for one, more in _rows(run, records):
        if first is None:
            first, row = one, more
        else:
            for name, value in more.items():
                if isinstance(value, list):
                    row[name] += value[more["prompt_tokens"] :]
        segments += one.segments
        if len(row["token_ids"]) >= tokens:
            break
    assert first is not None
    long = replace(first, segments=segments, executions=[])
    with RecordWriter(folder / RECORDS) as writer:
        writer.write_records([long])
    TokenWriter(folder, Ranks()).write(pa.Table.from_pylist([row], SCHEMA), first.step, 0)


def _rows(
    run: Path, records: dict[Any, TrajectoryRecord]
) -> Iterator[tuple[TrajectoryRecord, dict[str, Any]]]:
    while True:
        for step in token_files(run):
            for row in read_tokens(run, step).iter_rows(named=True):
                yield records[row["step"], row["problem_id"], row["sample"]], row


def opened(browser: Browser, address: str) -> tuple[Page, float]:
    """Open an address in a new window; return it and the seconds until its view was drawn."""
    found = browser.new_page()
    found.goto(address)
    found.wait_for_selector("html[data-ready]", state="attached")
    return found, float(found.evaluate("performance.now()")) / 1000


def filtered(window: Page, query: str) -> float:
    """Filter the list; return the seconds until it was drawn."""
    milliseconds = window.evaluate(
        """async (q) => {
          const before = document.documentElement.dataset.drawn;
          const began = performance.now();
          main.go({ q });
          const drawn = () => document.documentElement.dataset.drawn !== before;
          while (!drawn()) await new Promise((done) => setTimeout(done, 0));
          return performance.now() - began;
        }""",
        query,
    )
    return float(milliseconds) / 1000


def measure(browser: Browser, name: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Write the page of a run and return what it takes to open and to filter it."""
    run = load(name, folder, None)
    file = folder / "view.html"
    page.write(file, [run])
    measured: dict[str, list[float]] = {"open": []} | {query: [] for query in QUERIES}
    window = None
    for _ in range(rounds):
        if window is not None:
            window.close()
        window, seconds = opened(browser, file.as_uri())
        measured["open"].append(seconds)
        window.wait_for_function("() => store.runs.every((run) => run.searched)")
        for query, text in QUERIES.items():
            measured[query].append(filtered(window, text))
    assert window is not None
    shown = int(window.evaluate("document.querySelectorAll('#rows tr').length"))
    window.close()
    empty = sum(map(len, page.parts()))
    return {
        "trajectories": len(run.rows),
        "bytes": file.stat().st_size,
        "bytes_per_trajectory": (file.stat().st_size - empty) / len(run.rows),
        "rows_drawn": shown,
        "seconds": measured,
    }


def long(browser: Browser, folder: Path, rounds: int) -> dict[str, Any]:
    """Write the page of the long trajectory and return what it takes to open it by its address."""
    run = load("long", folder, None)
    file = folder / "view.html"
    page.write(file, [run])
    window, _ = opened(browser, file.as_uri())
    there = window.evaluate("store.runs[0].link(0)")
    window.close()
    seconds, everything = [], []
    for _ in range(rounds):
        window, took = opened(browser, file.as_uri() + there)
        seconds.append(took)
        everything.append(
            float(
                window.evaluate(
                    """() => {
                      const began = performance.now();
                      document.querySelector(".more-tokens button:last-child").click();
                      document.body.offsetHeight;
                      return performance.now() - began;
                    }"""
                )
            )
            / 1000
        )
        drawn = int(window.evaluate("document.querySelectorAll('.flow .t[data-i]').length"))
        window.close()
    return {"tokens": drawn, "seconds": {"long trajectory": seconds, "show all": everything}}


def missed(results: dict[str, dict[str, Any]]) -> list[str]:
    """Return the targets that the best round misses."""
    faults = []
    for name, result in results.items():
        for what, rounds in result["seconds"].items():
            if min(rounds) > TARGETS.get(what, float("inf")):
                faults.append(f"{name}, {what}: {min(rounds):.2f} s, more than {TARGETS[what]}")
        if result.get("bytes_per_trajectory", 0) > TARGETS["bytes"]:
            faults.append(f"{name}: {result['bytes_per_trajectory']:.0f} bytes a trajectory")
    return faults


def main() -> None:
    """Make the pages, measure, write; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="speed and size of the viewer's page")
    parser.add_argument("--run", type=Path, required=True, help="folder of a run of the mini policy")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("experiments/performance/viewer"))
    arguments = parser.parse_args()
    browser_path = shutil.which("chromium")
    if browser_path is None:
        sys.exit("there is no chromium on PATH, which this drives")
    if not token_files(arguments.run):
        sys.exit(f"--run={arguments.run}: has no token columns; give a run made with records.tokens=true")
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright, progress() as bar:
        task = bar.add_task("pages", total=3)
        root = os.geteuid() == 0
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"] * root)
        repeated(arguments.run, Path(name) / "run", 0)
        results["as it is"] = measure(browser, "run", Path(name) / "run", arguments.rounds)
        bar.advance(task)
        repeated(arguments.run, Path(name) / "more", LEAST)
        results["repeated"] = measure(browser, "more", Path(name) / "more", arguments.rounds)
        bar.advance(task)
        lengthened(arguments.run, Path(name) / "long", LONG)
        results["100,000 tokens"] = long(browser, Path(name) / "long", arguments.rounds)
        bar.advance(task)
        version = browser.version
        browser.close()
    summary = {"commit": commit(), "chromium": version, "results": results, "missed": missed(results)}
    write_result(summary, arguments.out / "viewer.json")
    for name, result in results.items():
        for measured, rounds in result["seconds"].items():
            console.print(f"{name}, {measured}: {', '.join(f'{one:.2f}' for one in rounds)} s")
        if "bytes_per_trajectory" in result:
            size = result["bytes_per_trajectory"]
            console.print(f"{name}: {result['trajectories']:,} trajectories, {size:.0f} bytes each")
    end(summary)


if __name__ == "__main__":
    main()
