"""Checks of the machine: Python, packages, disk, memory, kernel, GPU, vLLM, tracking."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from src.doctor.patient import ERROR, OK, WARNING, Finding, Patient
from src.launch.packages import PYTHONS, installed, installed_vllm, pins, vllm_pin

_STATE_BYTES = 12  # of a parameter in a checkpoint: float32 weights, and two moments of AdamW
_TOKEN_BYTES = 8  # of a sampled token in the records
_COLUMNS_BYTES = 16  # of a token in the token columns, compressed


def python(patient: Patient) -> Iterator[Finding]:
    """Python is one that the packages are pinned for."""
    found = (3, 9) if patient.has("old Python") else sys.version_info[:2]
    if found in PYTHONS:
        yield Finding(OK, f"Python {found[0]}.{found[1]}")
    else:
        yield Finding(
            ERROR, f"Python {found[0]}.{found[1]}", "use Python 3.11 or 3.12 (make setup PYTHON=...)"
        )


def packages(patient: Patient) -> Iterator[Finding]:
    """The installed packages are those of requirements.txt."""
    pinned = pins()
    different = []
    for name, pin in pinned.items():
        found = installed(name)
        if patient.has("another package") and name == "trl":
            found = "0.0.1"
        if found != pin:
            different.append(f"{name} {found or 'missing'} instead of {pin}")
    if different:
        yield Finding(ERROR, "; ".join(different), "pip install -r requirements.txt (make setup)")
    else:
        yield Finding(OK, f"{len(pinned)} packages as pinned")


def disk(patient: Patient) -> Iterator[Finding]:
    """There is room for checkpoints and records."""
    cfg = patient.cfg
    count = sum(one.numel() for one in patient.training.trainer.model.parameters())
    needed = count * _STATE_BYTES * (cfg.trainer.keep_checkpoints + 1)
    most = cfg.rollout.max_prompt_tokens + cfg.rollout.max_tokens
    tokens = cfg.trainer.steps * cfg.trainer.batch_size * most
    needed += tokens * (_TOKEN_BYTES + cfg.records.tokens * cfg.records.token_share * _COLUMNS_BYTES)
    place = next(one for one in (Path.cwd() / "runs", Path.cwd()) if one.is_dir())
    free = 0 if patient.has("full disk") else shutil.disk_usage(place).free
    text = f"{free / 1e9:.1f} GB free in {place}, {needed / 1e9:.1f} GB needed, more if programs print much"
    if free < needed:
        yield Finding(ERROR, text, "free some, fewer trainer.keep_checkpoints, or another hydra.run.dir")
    else:
        yield Finding(OK if free > 2 * needed else WARNING, text, "" if free > 2 * needed else "free some")


def memory(patient: Patient) -> Iterator[Finding]:
    """The run fits into memory, as far as can be estimated."""
    from src.estimate import estimate

    result = estimate(patient.cfg)
    fits = result.memory.fits and not patient.has("little memory")
    what = f"{result.machine.name}, {result.machine.memory / 1e9:.0f} GB"
    if fits:
        yield Finding(OK, f"the run fits ({what}, estimated)")
    else:
        yield Finding(ERROR, f"the run does not fit ({what}, estimated)", "see estimate=true for what would")


def shared_memory(patient: Patient) -> Iterator[Finding]:
    """There is room in /dev/shm for the sandbox, where it is used, and for processes that share tensors."""
    from src.sandbox.jails.base import writable_mb

    sandbox = patient.environment.sandbox
    needed = sandbox.workers * writable_mb(patient.cfg.sandbox) * 2**20
    if sandbox.jail not in ("sandlock", "unconfined") and not patient.has("no shared memory"):
        yield Finding(OK, f"{sandbox.jail} does not use /dev/shm")
        return
    free = 0 if patient.has("no shared memory") else shutil.disk_usage("/dev/shm").free
    text = f"{free / 1e6:.0f} MB free in /dev/shm, {needed / 1e6:.0f} MB needed at most"
    if free < needed:
        yield Finding(ERROR, text, "docker run --shm-size=..., fewer sandbox.workers, or sandbox=bubblewrap")
    else:
        yield Finding(OK, text)


def kernel(patient: Patient) -> Iterator[Finding]:
    """The kernel has what jails rest on."""
    from src.sandbox.landlock import abi

    found = 0 if patient.has("no Landlock") else abi()
    needed = patient.cfg.sandbox.state == "session" or patient.environment.sandbox.jail == "sandlock"
    if found:
        yield Finding(OK, f"Linux {os.uname().release}, Landlock {found}")
    else:
        yield Finding(
            ERROR if needed else WARNING,
            f"Linux {os.uname().release} without Landlock: programs can read what /proc shows to everyone",
            "Linux 5.13 or later with lsm=landlock; sandbox.state=session and sandlock need it",
        )
    if Path("/sys/fs/cgroup").is_dir():
        yield Finding(OK, "cgroups")
    else:
        yield Finding(
            WARNING, "no cgroups: memory is limited per program only", "mount them in the container"
        )


def gpu(patient: Patient) -> Iterator[Finding]:
    """There is a GPU that PyTorch can use, where one is needed."""
    import torch

    planted = patient.has("no GPU")
    needed = planted or patient.cfg.hardware.kind == "gpu" or patient.cfg.trainer.autocast is not None
    if torch.cuda.is_available() and not planted:
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        yield Finding(OK, f"{name}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free, CUDA {torch.version.cuda}")
        if free < 0.9 * total:
            yield Finding(WARNING, "another process uses the GPU", "nvidia-smi shows which")
    elif needed:
        yield Finding(
            WARNING if not planted and patient.cfg.hardware.kind != "gpu" else ERROR,
            f"no GPU for PyTorch {torch.__version__} (CUDA {torch.version.cuda})",
            "check nvidia-smi, and that PyTorch's CUDA is not newer than the driver's",
        )
    else:
        yield Finding(OK, "no GPU, and none is needed")


def vllm(patient: Patient) -> Iterator[Finding]:
    """The installed vLLM is the pinned one, where it is used."""
    planted = patient.has("another vLLM")
    if patient.training.kind != "vllm" and not planted:
        yield Finding(OK, f"not needed: the engine is {patient.training.kind}")
        return
    pin = vllm_pin()
    found = "0.1" if planted else installed_vllm()
    if found == pin:
        yield Finding(OK, f"vLLM {found}")
    else:
        yield Finding(ERROR, f"vLLM {found or 'missing'} instead of {pin}", "make setup-vllm")


def tracking(patient: Patient) -> Iterator[Finding]:
    """Weights & Biases can be written, and reached where that is asked for; so can TensorBoard."""
    cfg = patient.cfg.tracking
    mode = "online" if patient.has("no W&B key") else cfg.mode
    if mode == "none":
        yield Finding(OK, "tracking is off")
        return
    if "tensorboard" in cfg.backends:
        yield from _tensorboard()
    if "wandb" in cfg.backends:
        yield from _wandb(mode, planted=patient.has("no W&B key"))


def _tensorboard() -> Iterator[Finding]:
    found = installed("tensorboard")
    if found:
        yield Finding(OK, f"TensorBoard {found}")
    else:
        yield Finding(ERROR, "tensorboard is not installed", "pip install tensorboard, or tracking=none")


def _wandb(mode: str, *, planted: bool) -> Iterator[Finding]:
    try:
        import wandb
    except ImportError as error:
        yield Finding(ERROR, f"wandb cannot be imported: {error}", "pip install wandb, or tracking=none")
        return
    netrc = Path.home() / ".netrc"
    known = "WANDB_API_KEY" in os.environ or (netrc.is_file() and "wandb" in netrc.read_text())
    if mode == "online" and (planted or not known):
        yield Finding(ERROR, "no key for W&B", "wandb login, or tracking=wandb (offline, for wandb sync)")
    else:
        yield Finding(OK, f"W&B {wandb.__version__}, {mode}")
