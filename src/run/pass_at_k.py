"""pass@k: the probability that at least one of k trajectories is correct."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from src.run.intervals import Floats

Integers = NDArray[np.int64]


def pass_at_k(n: Integers, c: Integers, k_max: int) -> Floats:
    r"""Return the unbiased estimate of pass@k of every problem for k = 1, ..., ``k_max``; (P, k_max).

    The probability that ``k`` of ``n`` trajectories, drawn without replacement, contain a correct one:
    :math:`1 - \binom{n-c}{k} / \binom{n}{k}` (Chen et al. 2021, arXiv 2107.03374, equation 1), as a running
    product, which neither overflows nor cancels.

    Args:
        n: number of trajectories of each problem, (P,).
        c: number of correct trajectories, (P,).
        k_max: largest k, at most the smallest ``n``.

    Raises:
        ValueError: ``k_max`` is too large, or some ``c`` is not between 0 and ``n``.
    """
    n, c = np.asarray(n, dtype=np.int64), np.asarray(c, dtype=np.int64)
    if ((c < 0) | (c > n)).any():
        raise ValueError("c: every count of correct trajectories must be between 0 and n")
    if not 1 <= k_max <= n.min():
        raise ValueError(
            f"k_max={k_max}: there are problems with {n.min()} trajectories; take 1 to {n.min()}"
        )
    drawn = np.arange(k_max)
    wrong = np.maximum((n - c)[:, None] - drawn, 0) / (n[:, None] - drawn)
    return 1.0 - np.cumprod(wrong, axis=1)
