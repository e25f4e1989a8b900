"""Restricts TRL's LM head to the positions that the loss needs, on every device.

TRL 1.16 computes logits only where there is a label, but on devices without Triton it computes them for
prompts and padding, too. With a vocabulary of 49,152 entries this is most of an update on a CPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from trl.trainer import utils


@contextlib.contextmanager
def only_labels() -> Iterator[None]:
    """Inside this context, a model given ``add_fused_lm_head`` scores only positions with a label."""
    original = utils._use_triton
    utils._use_triton = lambda device: True  # in this module it only decides on compaction
    try:
        yield
    finally:
        utils._use_triton = original
