"""The job script and the launcher of sweeps, with stand-ins for Slurm's commands that run jobs here."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from src.config.paths import ROOT
from src.run import checkpoints
from src.run.records import read_metrics

SCRIPT = ROOT / "conf" / "accelerate" / "train.sbatch"

# Runs the command once for each node, with the numbers that Slurm would give it.
SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do
    if [ "$1" = --output ] || [ "$1" = --error ]; then shift; fi
    shift
done
set -- "${@//%j/$SLURM_JOB_ID}"
for node in $(seq 0 $((SLURM_NNODES - 1))); do
    SLURM_NODEID=$node SLURM_PROCID=$node "$@" &
    pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || exit 1; done
"""
# Notes what it was given, and starts each job of the array.
SBATCH = """#!/bin/bash
cp "$1" "$JOBS/submitted.sh"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
for index in $(seq 0 "$last"); do
    SLURM_JOB_ID=77_$index SLURM_ARRAY_JOB_ID=77 SLURM_ARRAY_TASK_ID=$index SLURM_LOCALID=0 SLURM_NODEID=0 \\
        SLURM_NNODES=1 SLURM_JOB_NUM_NODES=1 SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_JOB_NODELIST=localhost \\
        "$JOBS/job" "$1" "$JOBS/$index" >"$JOBS/$index.log" 2>&1 &
done
echo "Submitted batch job 77"
"""
# A job that ended is no longer running, whether or not it left a result.
JOB = """#!/bin/bash
bash "$1"
echo "$?" >"$2.code"
"""
SACCT = """#!/bin/bash
echo "JobID|State|NodeList"
for index in 0 1; do
    state=RUNNING
    if [ -e "$JOBS/$index.code" ]; then
        state=FAILED
        if [ "$(cat "$JOBS/$index.code")" = 0 ]; then state=COMPLETED; fi
    fi
    echo "77_$index|$state|localhost"
done
"""


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH begins with the stand-ins."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    scontrol = "#!/bin/bash\necho 127.0.0.1\necho elsewhere\n"
    commands = {"srun": SRUN, "sbatch": SBATCH, "job": JOB, "sacct": SACCT, "scontrol": scontrol}
    for name, text in commands.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "JOBS": str(folder),
    }


def test_the_job_script_is_bash_and_asks_to_be_submitted() -> None:
    assert subprocess.run(["bash", "-n", SCRIPT], check=False).returncode == 0
    alone = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    ended = subprocess.run(["bash", SCRIPT], env=alone, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "start it with sbatch" in ended.stderr


@pytest.mark.long
def test_the_job_script_runs_on_two_nodes_and_goes_on_when_queued_again(
    tmp_path: Path, slurm: dict[str, str]
) -> None:
    """Two nodes of one process each; the second submission finds a complete checkpoint and resumes."""
    root = tmp_path / "tree"  # as the script expects it: with the packages in .venv
    root.mkdir()
    for name in ("src", "conf", "experiments"):
        (root / name).symlink_to(ROOT / name)
    (root / ".venv").symlink_to(Path(sys.executable).parents[1])
    run_dir = tmp_path / "run"
    job = {
        "SLURM_JOB_ID": "4242",
        "SLURM_NNODES": "2",
        "SLURM_JOB_NODELIST": "node[0-1]",
        "SLURM_SUBMIT_DIR": str(root),
        "CONFIG": "ddp",
        "GPUS": "1",
        "RUN": str(run_dir),
    }
    for steps in (1, 2):
        ended = subprocess.run(
            ["bash", SCRIPT, "+experiment=mini_debug", "tracking=none", "data.heldout_size=2",
             "evaluate.modes=[free]", f"trainer.steps={steps}"],
            env=slurm | job, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "2 processes" in ended.stdout
    assert [(row["step"], row["attempt"]) for row in read_metrics(run_dir / "metrics.jsonl")] == [
        (0, 0),
        (1, 1),
    ]
    assert json.loads((run_dir / "summary.json").read_text())["steps"] == 2

    # the time is up: SIGTERM to all processes of the step, and the launchers hand it on
    process = subprocess.Popen(
        ["bash", SCRIPT, "+experiment=mini_debug", "tracking=none", "data.heldout_size=2",
         "evaluate.modes=[free]", "trainer.steps=99", "trainer.checkpoint_every=0"],
        env=slurm | job, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while len(read_metrics(run_dir / "metrics.jsonl")) < 4:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for pid in running(process.pid, "src.train"):
        os.kill(pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    done = len(read_metrics(run_dir / "metrics.jsonl"))
    assert 4 <= done < 99
    assert checkpoints.step_of(checkpoints.resolve(run_dir)) == done, "it was not killed within its step"
    assert f"interrupted; it goes on from step {done} with: accelerate launch" in output


def running(ancestor: int, what: str) -> list[int]:
    """The descendants of a process whose command names ``what``."""
    parents, commands = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it ended meanwhile
    found = {ancestor}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return [pid for pid in found if what in commands[pid] and Path(commands[pid][0]).name != "bash"]


PROGRAM = """
from pathlib import Path

from src.config import Config
from src.launch.entry import entry


@entry("train", Config)
def main(cfg: Config, run_dir: Path) -> None:
    (run_dir / "done").write_text(str(cfg.trainer.seed))


if __name__ == "__main__":
    main()
"""


def test_a_sweep_is_a_job_array(tmp_path: Path, slurm: dict[str, str]) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, "-m", "program", "--multirun", "hydra/launcher=slurm",
         "hydra.launcher.partition=gpu", "trainer.seed=5,6", "hydra.sweep.dir=runs/sweep",
         f"model.path={ROOT / 'experiments' / 'mini_base'}"],
        cwd=tmp_path, env=slurm | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        tree = subprocess.run(
            ["ps", "-eo", "pid,ppid,stat,wchan:20,etimes,args"], capture_output=True, text=True
        )
        os.killpg(process.pid, signal.SIGKILL)
        logs = {path.name: path.read_text() for path in tmp_path.rglob("*.log")}
        raise AssertionError(f"{process.communicate()[0]}\n{logs}\n{tree.stdout}") from None
    assert process.returncode == 0, output + "".join(path.read_text() for path in tmp_path.rglob("*.log"))
    done = sorted((tmp_path / "runs" / "sweep").glob("*/done"))
    assert [path.read_text() for path in done] == ["5", "6"]
    asked = dict(
        re.findall(r"^#SBATCH --([\w-]+)=(.*)$", Path(slurm["JOBS"], "submitted.sh").read_text(), re.M)
    )
    assert asked["partition"] == "gpu"
    assert asked["gpus-per-node"] == "1"
    assert asked["array"].startswith("0-1")
    assert asked["time"] == "1440"
