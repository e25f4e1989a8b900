"""Reads what TensorBoard would show of a folder."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

_ALL = {"scalars": 0, "tensors": 0, "histograms": 0}


def loaded(folder: Path) -> EventAccumulator:
    """Return everything in the event files of a folder, without what a restart superseded."""
    events = EventAccumulator(str(folder), size_guidance=_ALL)
    events.Reload()
    return events


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the curve of each tag."""
    events = loaded(folder)
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def texts(folder: Path, tag: str) -> dict[int, str]:
    """Return the texts of a tag by step."""
    return {
        one.step: one.tensor_proto.string_val[0].decode()
        for one in loaded(folder).Tensors(f"{tag}/text_summary")
    }
