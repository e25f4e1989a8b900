"""``python -m src.doctor [overrides]``: checks the configuration of a run of src.train, and this machine.

Prints one line per check: ok, warning or error, and then the remedy. Exits with code 1 if there is an error.
``--list`` names the checks and the faults that can be planted; ``--plant FAULT`` plants one, to be found.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable

from rich.markup import escape

from src.config import Config
from src.config.schema import ConfigError
from src.doctor.patient import ERROR, OK, Check, Finding, Patient
from src.launch.entry import EXIT_CODE, composed
from src.run.console import console

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def checks() -> list[Check]:
    """Return all checks, in their order."""
    from src.doctor import checks_machine as machine
    from src.doctor import checks_policy as policy
    from src.doctor import checks_run as run

    return [
        Check("python", ("old Python",), machine.python),
        Check("packages", ("another package",), machine.packages),
        Check("disk", ("full disk",), machine.disk),
        Check("memory", ("little memory",), machine.memory),
        Check("shared memory", ("no shared memory",), machine.shared_memory),
        Check("kernel", ("no Landlock",), machine.kernel),
        Check("gpu", ("no GPU",), machine.gpu),
        Check("vllm", ("another vLLM",), machine.vllm),
        Check("tracking", ("no W&B key",), machine.tracking),
        Check("sandbox", ("a jail that leaks",), policy.sandbox),
        Check("tokenizer", ("a tokenizer that changes text", "no end of text"), policy.tokenizer),
        Check("boundary", ("a boundary that is missed",), policy.boundary),
        Check("template", ("a template that drops thinking",), policy.template),
        Check(
            "reward",
            ("a grader that accepts everything", "a grader that refuses everything"),
            policy.reward,
        ),
        Check("weights", ("stale weights",), run.weights),
        Check("adapter", ("an adapter that is not delivered",), run.adapter),
        Check("ranks", ("other settings in a process", "other weights in a process"), run.ranks),
        Check("resume", ("a damaged checkpoint",), run.resume),
    ]


def examine(patient: Patient, chosen: Iterable[Check]) -> dict[str, list[Finding]]:
    """Return the findings of each check, printed as they come. A check that fails is an error, too."""
    found: dict[str, list[Finding]] = {}
    for check in chosen:
        began = time.monotonic()
        try:
            with console.capture():  # what a run says of itself
                found[check.name] = list(check.find(patient))
        except Exception as error:  # whatever is wrong, the others say more of it
            text = f"the check failed: {type(error).__name__}: {error}"
            found[check.name] = [Finding(ERROR, text, "mend this, and run the doctor again")]
        seconds = time.monotonic() - began
        for one in found[check.name]:
            console.print(line(check.name, one) + (f" [dim]({seconds:.0f} s)[/dim]" if seconds > 5 else ""))
    return found


def line(name: str, finding: Finding) -> str:
    """Return a finding as a line with rich's markup."""
    style, remedy = _STYLES[finding.level], f" -> {finding.remedy}" if finding.remedy else ""
    level = f"[{style}]{finding.level:7}[/{style}]"
    return f"{level} {name:13} {escape(finding.text + remedy)}"


def main() -> None:
    """Examine, report, and exit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="as for src.train")
    parser.add_argument("--plant", metavar="FAULT", help="a fault of --list, which must be found")
    parser.add_argument("--list", action="store_true", help="name the checks and their faults")
    asked = parser.parse_intermixed_args()
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")
    known = {fault: check for check in checks() for fault in check.faults}
    if asked.list:
        for check in checks():
            about = (check.find.__doc__ or "").strip().splitlines()[0]
            console.print(f"{check.name:13} {about} [dim]{', '.join(check.faults)}[/dim]", highlight=False)
        return
    if asked.plant is not None and asked.plant not in known:
        sys.exit(f"error: --plant {asked.plant!r}: choose one of {', '.join(map(repr, known))}")
    try:
        cfg = composed("train", asked.overrides, Config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_CODE)
    from src.rollout.engines.vllm_variables import set_vllm_variables

    set_vllm_variables(cfg.engine)
    chosen = checks() if asked.plant is None else [known[asked.plant]]
    with Patient(cfg, asked.overrides, asked.plant) as patient:
        found = examine(patient, chosen)
    levels = [one.level for findings in found.values() for one in findings]
    console.print(
        f"{len(found)} checks: {levels.count(ERROR)} errors, "
        f"{len(levels) - levels.count(ERROR) - levels.count(OK)} warnings"
    )
    sys.exit(int(ERROR in levels))


if __name__ == "__main__":
    main()
