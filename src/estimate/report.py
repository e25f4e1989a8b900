"""The estimate as tables, and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from src.config import Config
from src.estimate.advice import Advice
from src.estimate.hours import Hours
from src.estimate.machine import Machine
from src.estimate.memory import Memory, longest
from src.estimate.policy import Parameters


@dataclass(frozen=True)
class RunEstimate:
    """The whole estimate.

    Attributes:
        other: bytes of an update with the other setting of gradient checkpointing.
    """

    parameters: Parameters
    machine: Machine
    memory: Memory
    other: int
    hours: Hours
    advice: list[Advice]

    def json(self) -> dict[str, Any]:
        """Return the content of ``estimate.json``, in bytes, seconds and operations."""
        memory = self.memory
        return {
            "fits": memory.fits,
            "parameters": asdict(self.parameters),
            "machine": asdict(self.machine),
            "memory": asdict(memory)
            | {"update": memory.update, "rollout": memory.rollout, "needed": memory.needed},
            "hours": asdict(self.hours) | {"seconds_per_step": self.hours.step, "total": self.hours.total},
            "advice": [
                {"changes": advice.changes, "fits": advice.memory.fits, "needed": advice.memory.needed}
                for advice in self.advice
            ],
        }


def show_estimate(console: Console, cfg: Config, estimate: RunEstimate) -> None:
    """Print an estimate."""
    p, machine, memory = estimate.parameters, estimate.machine, estimate.memory
    console.print(
        f"{cfg.model.path}: {p.total:,} parameters, {p.trainable:,} trained; weights in {cfg.model.dtype}, "
        f"passes in {cfg.trainer.autocast or cfg.model.dtype}"
    )
    console.print(
        f"{machine.gpus} x {machine.name}, {machine.memory / 1e9:.1f} GB, {machine.flops / 1e12:.3g} TFLOP/s"
        + (" (measured by a matrix product)" if machine.timed else "")
    )
    console.print(_memory(memory, machine))
    _notes(console, cfg, estimate)
    console.print(_time(estimate.hours))
    console.print(
        f"At most {_short(estimate.hours.total)} hours for {estimate.hours.steps} rollout steps of at most "
        f"{estimate.hours.tokens:,} tokens: if every trajectory has the maximum length, with an MFU of "
        f"{cfg.hardware.sampling_mfu:.0%} in sampling and {cfg.hardware.training_mfu:.0%} otherwise "
        "(hardware.*_mfu). Program executions, grading and evaluations are not included."
    )
    verdict = f"{memory.needed / 1e9:.1f} of {memory.usable / 1e9:.1f} GB"
    if memory.fits:
        console.print(f"[bold green]fits: {verdict}")
        return
    console.print(f"[bold red]does not fit: {_reason(memory)} {verdict}")
    for advice in estimate.advice:
        console.print(f"  {advice}", highlight=False, markup=False)
    if not any(advice.memory.fits for advice in estimate.advice):
        console.print("  no combination of these is sufficient; use a smaller model or shorter trajectories")


def _reason(memory: Memory) -> str:
    if memory.needed <= memory.usable:
        return "vLLM has no room for one trajectory of the maximum length;"
    return "during the update," if memory.update >= memory.rollout else "during the rollout,"


def _memory(memory: Memory, machine: Machine) -> Table:
    table = Table(title=f"GB per {'GPU' if machine.gpu else 'process'}", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("", "update", "rollout", "note"):
        table.add_column(column, justify="right" if column in ("update", "rollout") else "left")
    for part in memory.parts:
        table.add_row(part.name, _gb(part.update), _gb(part.rollout), part.note)
    table.add_section()
    table.add_row("total", _gb(memory.update), _gb(memory.rollout), "", style="bold")
    return table


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f}" if size else "-"


def _notes(console: Console, cfg: Config, estimate: RunEstimate) -> None:
    on = cfg.trainer.gradient_checkpointing
    difference = (estimate.other - estimate.memory.update) * (1 if on else -1)
    console.print(
        f"trainer.gradient_checkpointing={'true' if on else 'false'}: "
        f"{'saves' if on else 'true would save'} {difference / 1e9:.2f} GB of an update."
    )
    vllm = estimate.memory.vllm
    if vllm is not None:
        parts = (vllm.weights, vllm.working, max(0, vllm.cache))
        weights, working, cache = (f"{part / 1e9:.2f} GB" for part in parts)
        console.print(
            f"vLLM: {weights} of weights, about {working} of working memory, and {cache} for the KV cache, "
            f"{vllm.per_token:,} bytes per token: room for {vllm.sequences} trajectories of {longest(cfg):,} "
            f"tokens at once, where engine.vllm.max_num_seqs={vllm.wanted}"
            + ("." if vllm.sequences >= vllm.wanted else "; other trajectories would wait.")
        )


def _time(hours: Hours) -> Table:
    table = Table(title="A rollout step, at most", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("", "PFLOP", "seconds"):
        table.add_column(column, justify="right" if column else "left")
    for phase in hours.phases:
        table.add_row(phase.name, _short(phase.flops / 1e15), _short(phase.seconds))
    table.add_section()
    flops = sum(phase.flops for phase in hours.phases)
    table.add_row("total", _short(flops / 1e15), _short(hours.step), style="bold")
    return table
