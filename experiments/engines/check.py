"""``python -m experiments.engines.check RUN``: did a run with vLLM train correctly?

Its final accuracy must match runs that sample with the trainer's own model, and at every step trainer and
vLLM must agree on the probabilities of sampled tokens: otherwise weights are stale or dtypes differ. Exits
with code 1 and prints what fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from src.run.records import read_metrics


def faults(run: Path, accuracy: float, difference: float) -> list[str]:
    """Return the failed checks of a run's folder.

    Args:
        run: with summary.json and metrics.jsonl.
        accuracy: minimum accuracy in free mode after training.
        difference: maximum mean absolute logprob difference of a step.
    """
    found = []
    summary = json.loads((run / "summary.json").read_text())
    if summary["settings"]["engine"] != "vllm":
        found.append(f"the run sampled with {summary['settings']['engine']}, not with vllm")
    after = summary["after"]["free"]["accuracy"]
    if after < accuracy:
        found.append(f"accuracy {after:.3f} after training, less than {accuracy}")
    rows = read_metrics(run / "metrics.jsonl")
    if len(rows) != summary["steps"]:
        found.append(f"{len(rows)} steps were recorded of {summary['steps']}")
    for row in rows:
        value = row["sampling/sampling_logp_difference/mean"]
        if not value < difference:  # also when it is nan
            found.append(f"step {row['step']}: mean logprob difference {value:.2e}, not below {difference:g}")
    worst = max((row["sampling/sampling_logp_difference/mean"] for row in rows), default=float("nan"))
    print(f"{len(rows)} steps, accuracy {after:.3f}, largest mean logprob difference of a step {worst:.2e}")
    return found


def main() -> None:
    """Parse the arguments, check, exit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--accuracy", type=float, default=0.75, help="least accuracy after training")
    parser.add_argument(
        "--difference", type=float, default=1e-4, help="most mean logprob difference of a step"
    )
    arguments = parser.parse_args()
    found = faults(arguments.run, arguments.accuracy, arguments.difference)
    for fault in found:
        print(fault, file=sys.stderr)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
