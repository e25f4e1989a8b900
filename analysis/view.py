"""``python -m analysis.view run=runs/A``: what the policy did, token by token, as one HTML file.

It opens from disk in a browser and needs nothing else. ``serve=true`` shows large runs, and those that are
still being written, at an address of this machine instead. docs/viewer.md says how to use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from analysis.data import AnalysisError
from analysis.viewer import page, tokenizer
from analysis.viewer.run_data import RunData
from analysis.viewer.served import server
from src.config.schema import option
from src.launch.entry import entry
from src.run.console import console
from src.run.interrupts import end
from src.run.records import RECORDS, RecordError
from src.run.token_columns import token_files

NAME = "view"


@dataclass
class ViewConfig:
    """Settings of this program."""

    run: str | None = option(None, "folder of a run or of an evaluation")
    runs: dict[str, str] = option({}, "name -> folder, instead of run, to see several beside each other")
    out: str | None = option(None, "HTML file to write; null: view.html in the folder of the run")
    tokenizer: str | None = option(
        None, "folder of the runs' tokenizer; null: that of each run's last checkpoint or its model"
    )
    serve: bool = option(False, "serve the page instead of writing a file, until Ctrl-C")
    host: str = option("127.0.0.1", "address to serve at; anyone who reaches it can read the runs")
    port: int = option(8765, "port to serve at; 0: any that is free", at_least=0, at_most=65535)
    every: float = option(3.0, "seconds between two looks of the served page for new steps", at_least=0.2)


def folders(cfg: ViewConfig) -> dict[str, Path]:
    """Return the folder of each run. Raises AnalysisError if a setting is wrong."""
    if (cfg.run is None) == (not cfg.runs):
        raise AnalysisError(
            "run, runs: give one of them, run=FOLDER or 'runs={a: FOLDER, b: FOLDER}'"
            + (f", not run={cfg.run} and {len(cfg.runs)} runs" if cfg.runs else "")
        )
    given = cfg.runs if cfg.run is None else {Path(cfg.run).expanduser().resolve().name: cfg.run}
    found = {}
    for name, text in given.items():
        where = f"run={text}" if cfg.run is not None else f"runs.{name}={text}"
        folder = Path(text).expanduser()
        if not folder.is_dir():
            raise AnalysisError(f"{where}: this folder does not exist; give the folder of a run")
        if not (folder / RECORDS).is_file():
            raise AnalysisError(
                f"{where}: contains no {RECORDS}; give the folder of a run or of an evaluation, or wait "
                "until it has sampled"
            )
        found[name] = folder
    if cfg.tokenizer is not None and not Path(cfg.tokenizer).expanduser().is_dir():
        raise AnalysisError(
            f"tokenizer={cfg.tokenizer}: this folder does not exist; give one with a tokenizer.json, or null"
        )
    return found


def output(cfg: ViewConfig, runs: dict[str, Path]) -> Path:
    """Return the file to be written. Raises AnalysisError if it cannot be."""
    if cfg.out is None and cfg.run is None:
        raise AnalysisError("out=null: with runs, the file must be named; give out=FILE.html")
    file = next(iter(runs.values())) / "view.html" if cfg.out is None else Path(cfg.out).expanduser()
    if file.is_dir() or not file.parent.is_dir():
        raise AnalysisError(f"out={cfg.out}: give a file in a folder that exists, such as view.html")
    return file


def load(name: str, folder: Path, given: str | None, *, live: bool = False) -> RunData:
    """Return a run with all that is in its folder now; ``live``: it may get token columns later.

    Raises:
        AnalysisError: its files are damaged.
    """
    codec, why = tokenizer.load(folder, given) if live or token_files(folder) else (None, "")
    run = RunData(name, folder, codec, why)
    try:
        run.refresh()
    except RecordError as error:
        raise AnalysisError(str(error)) from None
    if why and token_files(folder):
        console.print(f"{name}: trajectories are shown by segment; {why}", style="bold yellow", markup=False)
    return run


def write_page(folder: Path, file: Path) -> None:
    """Write the page of the run in ``folder``. Raises AnalysisError if its files are missing or damaged."""
    found = folders(ViewConfig(run=str(folder)))
    page.write(file, [load(name, path, None) for name, path in found.items()])


@entry(f"analysis/{NAME}", ViewConfig)
def main(cfg: ViewConfig, folder: Path) -> None:
    """Write the file, or serve until Ctrl-C."""
    found = folders(cfg)
    file = None if cfg.serve else output(cfg, found)
    given = None if cfg.tokenizer is None else str(Path(cfg.tokenizer).expanduser())
    runs = [load(name, path, given, live=cfg.serve) for name, path in found.items()]
    if file is not None:
        page.write(file, runs)
        rows = sum(len(run.rows) for run in runs)
        console.print(
            f"written to {file}: {rows:,} trajectories, {file.stat().st_size / 1e6:.1f} MB", markup=False
        )
        return
    with server(runs, cfg.host, cfg.port, cfg.every) as serving:
        host, port = serving.server_address[:2]
        console.print(
            f"serving at http://{f'[{host}]' if ':' in host else host}:{port}/ until Ctrl-C", markup=False
        )
        try:
            serving.serve_forever()
        except KeyboardInterrupt as error:
            raise end(error) from None


if __name__ == "__main__":
    main()
