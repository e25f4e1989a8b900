"""What the bits of an update depend on beside weights, trajectories and settings; kept in the token columns.

The random generators are those after the rollout: from them TRL draws the order of the trajectories in the
micro-batches, and torch the dropout. Sums depend on the number of threads, on the processor and on torch.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import torch


def conditions(device: torch.device) -> dict[str, Any]:
    """Return the present conditions, as JSON.

    Args:
        device: on which the update is computed.
    """
    generators = {"cpu": _packed(torch.get_rng_state())}
    if device.type == "cuda":
        generators["cuda"] = _packed(torch.cuda.get_rng_state(device))
    return {**machine(device), "generators": generators}


def machine(device: torch.device) -> dict[str, Any]:
    """Return the conditions in which two machines differ."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{device.type} {torch.backends.cpu.get_cpu_capability()}"
    return {"torch": str(torch.__version__), "device": name, "threads": torch.get_num_threads()}


def restore(found: Mapping[str, Any], device: torch.device) -> None:
    """Set the generators and the number of threads to recorded ones.

    The latter only if it is another: once it is set, MKL takes all threads where it would else take one for
    each physical core, and adds up in another order.
    """
    if torch.get_num_threads() != found["threads"]:
        torch.set_num_threads(found["threads"])
    torch.set_rng_state(_unpacked(found["generators"]["cpu"]))
    if device.type == "cuda" and "cuda" in found["generators"]:
        torch.cuda.set_rng_state(_unpacked(found["generators"]["cuda"]), device)


def _packed(state: torch.Tensor) -> str:
    return base64.b85encode(zlib.compress(bytes(state.tolist()))).decode()


def _unpacked(text: str) -> torch.Tensor:
    return torch.tensor(list(zlib.decompress(base64.b85decode(text))), dtype=torch.uint8)
