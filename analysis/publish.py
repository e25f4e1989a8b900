"""``python -m analysis.publish run=runs/A``: adds what was made after a run to its W&B run.

The viewer's page, and figures and tables of analyses, as artifacts; figures also as images. Without a network
this is logged offline, to be uploaded by ``wandb sync`` after the run itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.data import AnalysisError
from src.config.schema import option
from src.launch.entry import entry
from src.run.console import console
from src.run.records import CONFIG, STATE
from src.run.tracking.artifacts import Artifact
from src.run.tracking.wandb_backend import ID, log_artifact, start_run

NAME = "publish"
_KINDS = (".png", ".svg", ".csv", ".json", ".html", ".md", ".tex")


@dataclass
class PublishConfig:
    """Settings of this program."""

    run: str = option("???", "folder of a training run or of an evaluation that was logged to W&B")
    folders: list[str] = option([], "folders of analyses, whose figures and tables are added")
    viewer: bool = option(True, "write the viewer's page into the run's folder and add it")
    mode: str | None = option(None, "online or offline; null: as the run", choices=("online", "offline"))
    init_timeout: float = option(30.0, "seconds to reach W&B with mode=online", above=0)


def identity(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return the W&B id of a run and its settings of tracking. Raises AnalysisError if it has none."""
    try:
        state = json.loads((folder / STATE).read_text())
        tracking = json.loads((folder / CONFIG).read_text())["tracking"]
        return state[ID], tracking
    except (OSError, ValueError, KeyError):
        raise AnalysisError(
            f"run={folder}: is not the folder of a run that was logged to W&B (it has no {STATE} with "
            f"{ID}); give the folder of a run with tracking=wandb"
        ) from None


def viewer(folder: Path) -> Artifact:
    """Write the viewer's page of a run and return it."""
    from analysis.view import write_page

    page = folder / "view.html"
    write_page(folder, page)
    return Artifact("viewer", "viewer", {page.name: page})


def figures(folders: list[Path]) -> Artifact:
    """Return figures and tables of analyses, as FOLDER/FILE.

    Raises:
        AnalysisError: a folder has none, or two have the same name.
    """
    files: dict[str, Path] = {}
    for folder in folders:
        found = [path for path in sorted(folder.glob("*")) if path.suffix in _KINDS and path.is_file()]
        if not found:
            raise AnalysisError(f"folders: {folder} has no figures or tables; give the folder of an analysis")
        named = {f"{folder.resolve().name}/{path.name}": path for path in found}
        if twice := sorted(files.keys() & named.keys()):
            raise AnalysisError(
                f"folders: {files[twice[0]].parent} and {folder} have the same name; rename one, or publish "
                "them one after the other"
            )
        files |= named
    return Artifact("figures", "figures", files)


def publish(cfg: PublishConfig) -> int:
    """Log everything to the run; return the number of files. Raises AnalysisError."""
    folder = Path(cfg.run).expanduser()
    id, tracking = identity(folder)
    artifacts = [figures([Path(one).expanduser() for one in cfg.folders])] if cfg.folders else []
    if cfg.viewer:
        artifacts.append(viewer(folder))
    if not artifacts:
        raise AnalysisError("folders=[]: there is nothing to add; give folders=[FOLDER], or viewer=true")
    import wandb

    mode = cfg.mode or ("online" if tracking["mode"] == "online" else "offline")
    run = start_run(
        mode,
        folder,
        cfg.init_timeout,
        project=tracking["project"],
        entity=tracking["entity"],
        id=id,
        resume="allow",
    )
    images = {
        f"figures/{name.removesuffix('.png')}": wandb.Image(str(path))
        for one in artifacts
        for name, path in one.files.items()
        if path.suffix == ".png"
    }
    if images:
        run.log(images)
    for one in artifacts:
        log_artifact(run, one)
    run.finish()
    return sum(len(one.files) for one in artifacts)


@entry(f"analysis/{NAME}", PublishConfig)
def main(cfg: PublishConfig, folder: Path) -> None:
    """Add the files to the run."""
    console.print(f"{publish(cfg)} files added to the W&B run of {cfg.run}", markup=False)


if __name__ == "__main__":
    main()
