"""Checks of tokenizer, boundary, chat template, sandbox and grading: on the real ones of the run."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import replace

from src.doctor.patient import ERROR, OK, WARNING, Finding, Patient
from src.rewards import Outcome, compose, extract_answer
from src.sandbox import ExecutionResult, Sandbox, Status, build_sandbox
from src.tools.base import Call

_TEXTS = (
    "def f(x):\n\treturn x ** 2  # squared\n\nprint(f(3))\n",
    "\\boxed{\\frac{1}{2}} \u2260 \u221a2, \u4e2d\u6587, \U0001f600\n",
    "  indented\r\n\t\ttabs and  spaces ",
)


def tokenizer(patient: Patient) -> Iterator[Finding]:
    """Text survives tokens and back, the end of text is known, and markup that a program prints is text."""
    codec = patient.environment.codec
    wrong = [text for text in _TEXTS if b"".join(map(codec.bytes_of, codec.encode(text))) != text.encode()]
    if patient.has("a tokenizer that changes text"):
        wrong = [_TEXTS[0]]
    if wrong:
        yield Finding(ERROR, f"{wrong[0]!r} is another text after tokenizing", "use a byte-level tokenizer")
    added = codec.tokenizer.get_added_vocab()
    marked = [text for text, index in added.items() if text.strip() and index in codec.encode(text)]
    if marked:
        yield Finding(ERROR, f"a program that prints {marked[0]!r} writes that control token", "report this")
    if not codec.eos_ids or patient.has("no end of text"):
        remedy = "set eos_token, or eos_token_id in generation_config.json"
        yield Finding(ERROR, "the tokenizer has no end of text", remedy)
    elif not wrong and not marked:
        yield Finding(
            OK, f"{len(codec)} tokens, {len(added)} of them added; {len(codec.eos_ids)} end the text"
        )


def boundary(patient: Patient) -> Iterator[Finding]:
    """Every token of the vocabulary that can end a call is watched, and ends it where the text does."""
    environment = patient.environment
    form, codec = environment.form, environment.codec
    name = next(iter(form.tools), None)
    if not patient.cfg.rollout.tools or name is None:
        yield Finding(OK, "not needed: the policy has no tools")
        return
    tool = form.tools[name]
    try:
        call = form.write(Call(name, {"code": "print(1)"} if name == "python" else {})).encode()
    except (KeyError, ValueError) as error:
        yield Finding(
            WARNING, f"not checked for the tool {tool.name}: {error}", "a tool with one text argument"
        )
        return
    before = [call[:cut] for cut in range(1, len(call))]
    closing, missed = 0, []
    for token in range(len(codec)):
        data = codec.bytes_of(token)
        fitting = [
            one for one in before if data and call[len(one) :].startswith(data[: len(call) - len(one)])
        ]
        for start in fitting:
            scanner = form.scanner()
            if scanner.feed(start) is None and scanner.feed(data) is not None:
                closing += 1
                if not form.may_close(data) or patient.has("a boundary that is missed"):
                    missed.append(data)
                break
    if missed:
        shown = ", ".join(map(repr, missed[:3]))
        yield Finding(ERROR, f"{len(missed)} tokens end a call unseen, such as {shown}", "use another format")
    elif not closing:
        yield Finding(ERROR, f"no token of the vocabulary can end the call {call!r}", "use another format")
    else:
        yield Finding(OK, f"{closing} of {len(codec)} tokens can end a call, and are watched")


def template(patient: Patient) -> Iterator[Finding]:
    """The chat template keeps what the policy has thought."""
    codec, style = patient.environment.codec, patient.environment.prompt_style
    planted = patient.has("a template that drops thinking")
    if not style.startswith("chat") and not planted:
        yield Finding(OK, f"not needed: prompts are {style}")
        return
    thought = "I have thought of seven."
    messages = [
        {"role": "user", "content": "How many?"},
        {"role": "assistant", "content": f"<think>\n{thought}\n</think>\n\nSeven."},
    ]
    shown = "" if planted else codec.tokenizer.apply_chat_template(messages, tokenize=False)
    if thought in shown:
        yield Finding(OK, "the chat template keeps thinking")
    else:
        yield Finding(
            WARNING,
            "the chat template drops the thinking of the last answer",
            "rollouts are not affected, since they are never put through it again; fine-tuning would be",
        )


def sandbox(patient: Patient) -> Iterator[Finding]:
    """The sandbox runs programs, and refuses a file, a socket, a process, and what exceeds a limit."""
    if not patient.cfg.rollout.tools:
        yield Finding(OK, "not needed: the policy has no tools")
    elif patient.has("a jail that leaks"):
        loose = replace(patient.cfg.sandbox, backend="local", jail="unconfined", workers=1, warm=[])
        with build_sandbox(loose) as leaking:
            yield from _attacks(leaking, loose.memory_mb)
    else:
        yield from _attacks(patient.environment.sandbox, patient.cfg.sandbox.memory_mb)


def _attacks(jail: Sandbox, memory_mb: int) -> Iterator[Finding]:
    secret = secrets.token_hex(16)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(secret)
        file.flush()
        programs = {
            "reading a file of the user's": f"print(open({file.name!r}).read())",
            "opening a socket": "import socket\nsocket.socket()\nprint('open')",
            "starting a process": "import os\npid = os.fork()\nif pid == 0: os._exit(0)\nprint('open')",
            "memory without end": f"x = bytearray({memory_mb + 64} << 20)\nprint('open')",
        }
        results = {name: jail.run(text, within=60.0) for name, text in programs.items()}
        right = jail.run("print(6 * 7)", within=60.0)
    remote = jail.jail == "sandbox_fusion"  # whose isolation is its own
    through = [name for name, one in results.items() if one.status is Status.OK or secret in one.stdout]
    if (right.status, right.stdout) != (Status.OK, "42\n"):
        yield Finding(
            ERROR, f"print(6 * 7) gives {_told(right)}", "look at sandbox.*, or choose another jail"
        )
    elif through and not remote:
        text = f"{jail.jail} lets a program through: {', '.join(through)}"
        yield Finding(ERROR, text, "do not run model-written code in it; choose sandbox=auto")
    else:
        yield Finding(
            OK, f"{jail.jail}, {jail.workers} workers: {len(results) - len(through)} attacks refused"
        )


def _told(result: ExecutionResult) -> str:
    return f"{result.status}: {result.error or result.stdout!r}"


def reward(patient: Patient) -> Iterator[Finding]:
    """The reward tells a right answer from a wrong one, a printed one, and the last of two."""
    environment = patient.environment
    form, cfg = environment.form, patient.cfg
    printed = form.write(Call("python", {"code": "print('\\\\boxed{4}')"})) if "python" in form.tools else "4"
    canaries = {
        "a right answer": ("so \\boxed{4}", True),
        "a wrong answer": ("so \\boxed{5}", False),
        "an answer that is only in a program": (printed, False),
        "two answers, the last wrong": ("\\boxed{4} or \\boxed{5}", False),
        "two answers, the last right": ("\\boxed{5} or \\boxed{4}", True),
        "another form of the answer": ("\\boxed{\\frac{8}{2}}", True),
    }
    wrong = []
    totals: dict[bool, list[float]] = {True: [], False: []}
    for name, (text, expected) in canaries.items():
        answer = extract_answer([text], form.spans)
        correct = environment.grader.submit("4", answer).result(timeout=60.0).correct
        if patient.has("a grader that accepts everything"):
            correct = True
        if patient.has("a grader that refuses everything"):
            correct = False
        outcome = Outcome(correct, answer, (text,), (), "answered", 10, cfg.rollout.max_tokens)
        total = compose(outcome, cfg.reward).total
        totals[expected].append(total)
        if correct != expected:
            wrong.append(f"{name}: reward {total:g}")
    if not wrong and min(totals[True]) <= max(totals[False]):
        wrong.append(f"a right answer gets {min(totals[True]):g}, a wrong one {max(totals[False]):g}")
    if wrong:
        yield Finding(ERROR, "; ".join(wrong), "look at reward.* and format")
    else:
        yield Finding(OK, f"{len(canaries)} answers are rewarded as they should be")
