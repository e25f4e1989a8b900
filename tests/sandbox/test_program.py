"""What an honest program meets: echo, errors, exits, text of every kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from src.config import SandboxConfig
from src.sandbox import ExecutionResult, Status, build_sandbox

Attack = Callable[[str], ExecutionResult]

ECHO = {
    "1 + 1": "2\n",
    "x = 3\nx": "3\n",
    "x = 3": "",
    "None": "",
    "print(1)": "1\n",
    "print(1)\n'a'": "1\n'a'\n",
    "for i in range(2): i": "",
    "def f(): return 1\nf()": "1\n",
    "'doc'": "'doc'\n",
    "import sympy\nsympy.sqrt(8)": "2*sqrt(2)\n",
    "[1, 2]  # a comment": "[1, 2]\n",
    "": "",
    "# only a comment": "",
    "x = 1;": "",
    "(lambda: 5)()": "5\n",
    "import numpy as np\nnp.float64(0.5)": "0.5\n",
    "import numpy as np\nnp.arange(3).sum(), [np.bool_(True)], np.float32(0.1)": "(3, [True], 0.1)\n",
    "import numpy as np\nnp.arange(3) / 2": "array([0. , 0.5, 1. ])\n",
    # What a program prints is its own affair. A container may have numpy 1, whose scalars look like numbers.
    "import numpy as np\nprint(np.__version__ < '2' or str([np.int64(3)]) == '[np.int64(3)]')": "True\n",
    "import sys\nsys.modules['numpy'] = sys\n1": "1\n",
}


@pytest.mark.parametrize("code", ECHO)
def test_a_last_bare_expression_is_echoed(attack: Attack, code: str) -> None:
    result = attack(code)
    assert (result.status, result.stdout, result.error) == (Status.OK, ECHO[code], None)


@pytest.mark.parametrize("state", ["fresh", "session"])
def test_without_echo_only_what_is_printed_is_shown(each_jail: str, state: str) -> None:
    with build_sandbox(SandboxConfig(jail=each_jail, workers=1, warm=[], state=state, echo=False)) as sandbox:
        results = [sandbox.run(code) for code in ECHO if "sympy" not in code]
    printed = [
        "1\n" if code.startswith("print(1)") else text if "print(" in code else ""
        for code, text in ECHO.items()
        if "sympy" not in code
    ]
    assert [(one.status, one.stdout, one.error) for one in results] == [
        (Status.OK, text, None) for text in printed
    ]


ERRORS = {
    "x": "NameError: name 'x' is not defined",
    "1/0": "ZeroDivisionError: division by zero",
    "raise ValueError": "ValueError",
    "raise ValueError('a\\n\\nb')": "ValueError: a b",
    "assert 1 == 2": "AssertionError",
    "def f(:": "SyntaxError: invalid syntax",
    "if 1:\nx": "IndentationError: expected an indented block after 'if' statement on line 1",
    "print('a": "SyntaxError: unterminated string literal (detected at line 1)",
    "def f(): f()\nf()": "RecursionError: maximum recursion depth exceeded",
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "raise GeneratorExit('x')": "GeneratorExit: x",
    "class E(Exception): pass\nraise E(1, 2)": "E: (1, 2)",
    "e = ValueError('a')\ne.add_note('note')\nraise e": "ValueError: a",
    "try:\n    1/0\nexcept Exception as e:\n    raise ValueError('b') from e": "ValueError: b",
    "{}['k']": "KeyError: 'k'",
    "import nothing_like_it": "ModuleNotFoundError: No module named 'nothing_like_it'",
    "input()": "EOFError: EOF when reading a line",
    "class E(Exception):\n    def __str__(self): 1/0\nraise E": "E: <exception str() failed>",
}


@pytest.mark.parametrize("code", ERRORS)
def test_an_error_is_its_last_line(attack: Attack, code: str) -> None:
    result = attack(code)
    assert (result.status, result.error) == (Status.ERROR, ERRORS[code])


def test_output_before_an_error_is_kept(attack: Attack) -> None:
    result = attack("print('before')\n1/0")
    assert (result.status, result.stdout) == (Status.ERROR, "before\n")


def test_a_long_message_is_cut(attack: Attack) -> None:
    error = attack("raise ValueError('a' * 10**6 + 'end')").error or ""
    assert len(error) < 2100
    assert error.startswith("ValueError: aaa")
    assert error.endswith("aaaend")


STDERR = {
    "import sys\nprint('a', file=sys.stderr)": "a\n",
    "import sys\nprint('a', file=sys.stderr)\nprint(' ')": "a\n",
    "import sys\nprint('a', file=sys.stderr)\nprint('b')": "b\n",
    "import sys\nsys.stderr.write('a')\nsys.stderr.close()\nsys.exit()": "a",
    "import sys\nsys.stderr.write('\\ud800')\nNone": "\\ud800",
    "import sys\nn = sys.stderr.buffer.write(b'\\xff')": "\ufffd",
    "import sys\nn = sys.stderr.write('a' * 5000 + 'end')": f"{'a' * 1000} ... {'a' * 997}end",
    "import warnings\nwarnings.warn('old')": "<program>:2: UserWarning: old\n  warnings.warn('old')\n",
    "import logging\nlogging.warning('odd')": "WARNING:root:odd\n",
    "import sys\nsys.stderr.fileno()": "2\n",
}


@pytest.mark.parametrize("code", STDERR)
def test_stderr_is_shown_if_there_is_nothing_else(attack: Attack, code: str) -> None:
    result = attack(code)
    assert (result.status, result.stdout, result.error) == (Status.OK, STDERR[code], None)


def test_an_error_is_shown_without_stderr(attack: Attack) -> None:
    result = attack("import sys\nprint('a', file=sys.stderr)\n1/0")
    assert (result.stdout, result.error) == ("", "ZeroDivisionError: division by zero")


def test_megabytes_on_stderr_cost_nothing(attack: Attack) -> None:
    result = attack("import sys\nfor i in range(3000): sys.stderr.write('a' * 100_000)")
    assert (result.status, result.stdout) == (Status.OK, f"{'a' * 1000} ... {'a' * 1000}")


def test_a_program_can_read_its_own_source(attack: Attack) -> None:
    code = (
        "import inspect\ndef f(x):\n    # \u2028 is no line break\n    return x\nprint(inspect.getsource(f))"
    )
    assert attack(code).stdout == code.partition("\n")[2].rpartition("\n")[0] + "\n\n"
    traced = attack("import traceback\ntry:\n    1/0\nexcept Exception:\n    traceback.print_exc()")
    assert "line 3, in <module>\n    1/0\n" in traced.stdout


def test_time_zones_are_known_in_every_jail(attack: Attack) -> None:
    code = (
        "import datetime, zoneinfo\nat = datetime.datetime(2024, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo({!r}))\n"
    )
    for name, hours in (("America/New_York", -4), ("Asia/Tokyo", 9), ("UTC", 0)):
        said = attack(code.format(name) + "at.utcoffset().total_seconds() / 3600")
        assert (said.stdout, said.error) == (f"{hours:.1f}\n", None)
    assert attack("import zoneinfo\nlen(zoneinfo.available_timezones()) > 400").stdout == "True\n"


EXITS = {
    "raise SystemExit": (Status.OK, None),
    "import sys\nsys.exit()": (Status.OK, None),
    "import sys\nsys.exit(0)": (Status.OK, None),
    "exit()": (Status.OK, None),
    "quit()": (Status.OK, None),
    "import sys\nsys.exit(2)": (Status.ERROR, "SystemExit: 2"),
    "import sys\nsys.exit('why')": (Status.ERROR, "SystemExit: why"),
    "import os\nos._exit(0)": (Status.OK, None),
    "import os\nos._exit(3)": (Status.ERROR, "exited with code 3"),
}


@pytest.mark.parametrize("code", EXITS)
def test_leaving_early(attack: Attack, code: str) -> None:
    result = attack(f"print('before')\n{code}")
    assert (result.stdout, result.status, result.error) == ("before\n", *EXITS[code])


WAYS_TO_STAY = {
    "exit handler": "atexit.register(act)",
    "finaliser": "kept = A()\nweakref.finalize(kept, act)",
    "destructor": "A.__del__ = lambda self: act()\nkept = A()",
    "thread's exit": "threading._register_atexit(act)",
    "C exit handler": "libc.on_exit(callback, None)",
    "destructor of a module": "sys.modules['x'] = A()\nA.__del__ = lambda self: act()",
    "patched flush": "sys.stdout.close = act",
    "hook": "sys.excepthook = sys.unraisablehook = lambda *_: act()",
}


@pytest.mark.parametrize("handler", ["print('late')", "exec('while True: pass')", "exit_(7)"])
@pytest.mark.parametrize("way", WAYS_TO_STAY)
def test_exit_handlers_do_not_run(attack: Attack, way: str, handler: str) -> None:
    result = attack(
        f"""
import atexit, ctypes, os, sys, threading, weakref
exit_, libc = os._exit, ctypes.CDLL(None)
class A: pass
def act(): {handler}
callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p)(lambda *_: act())
{WAYS_TO_STAY[way]}
print('end')
"""
    )
    assert (result.status, result.stdout) == (Status.OK, "end\n")


TEXTS = [
    "é λ 你好 🙂",
    "\\0 \\x1b[31m \\r\\n",
    "\\u202e\\u200b",
    "\\N{BOM}".replace("BOM", "ZERO WIDTH NO-BREAK SPACE"),
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_passes_unchanged(attack: Attack, text: str) -> None:
    assert attack(f'print("{text}", end="")').stdout == eval(f'"{text}"')


def test_lone_surrogates_do_no_harm(attack: Attack) -> None:
    assert attack("print('\\ud800')").stdout == "\\ud800\n"  # escaped rather than an error of the program's
    assert attack("raise ValueError('\\ud800')").error == "ValueError: \\ud800"
    result = attack("print('\ud800')")
    assert (result.status, "UnicodeEncodeError" in (result.error or "")) == (Status.ERROR, True)


def test_output_that_is_not_text_is_replaced(attack: Attack) -> None:
    result = attack("import os\nx = os.write(1, b'a\\xff\\xc3')")
    assert (result.status, result.stdout) == (Status.OK, "a\ufffd\ufffd")


@pytest.mark.parametrize("instead", ["print('late')", "exec('while True: pass')", "1/0"])
def test_who_takes_the_exit_away_ends_all_the_same(attack: Attack, instead: str) -> None:
    patch = f"def act(*_): {instead}\nos._exit = sys.exit = os.abort = act"
    result = attack(f"import os, sys\n{patch}\nprint('end')")
    assert (result.status in (Status.OK, Status.ERROR), result.stdout[:4]) == (True, "end\n")


NAMES = ["\\u202e.txt", "a\\nb", "\\ud800", "\\x1b[2J", "é" * 100, "..\\u2215x", "-", "~", "con", " "]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_every_kind_are_files(attack: Attack, name: str) -> None:
    code = f'import os\nname = "{name}".encode("utf-8", "surrogatepass")\nopen(name, "w").write("x")\n'
    assert attack(code + "print(os.listdir(b'.') == [name])").stdout == "True\n"
    assert attack("import os\nprint(os.listdir('.'))").stdout == "[]\n"


SOURCES = {
    "form feeds": "\f\nprint('fine')\f",
    "carriage returns": "x = 1\r\nprint('fine')\r",
    "utf-16 declared": "# -*- coding: utf-16 -*-\nprint('fine')",
    "rot13 declared": "# coding: rot13\nprint('fine')",
    "unknown coding": "# coding: nonsense\nprint('fine')",
    "wide letters": "𝓹𝓻𝓲𝓷𝓽('fine')",
    "right to left": "x = 'fine' # \u202e\u2066\nprint(x)",
    "combining": "a\u0301\u0302 = 'fine'\nprint(a\u0301\u0302)",
}


@pytest.mark.parametrize("kind", SOURCES)
def test_unusual_sources_run(attack: Attack, kind: str) -> None:
    """A source is text already: what it declares about bytes means nothing."""
    result = attack(SOURCES[kind])
    assert (result.status, result.stdout) == (Status.OK, "fine\n")


NOT_SOURCES = [
    "\0",
    "print(1)\0",
    "\ud800 = 1",
    "x = '\udfff'",
    "\u202e",
    "\u200b",
    "\x1bprint(1)",
    "１ = ２",
]


@pytest.mark.parametrize("source", NOT_SOURCES)
def test_what_is_no_source_is_an_error_of_the_programs(attack: Attack, source: str) -> None:
    result = attack(source)
    assert result.status is Status.ERROR
    kinds = ("SyntaxError", "UnicodeEncodeError", "ValueError: source")  # by version
    assert (result.error or "").startswith(kinds)


OUTPUTS = {
    "zeros": "b'\\0' * 1000",
    "every byte": "bytes(range(256))",
    "overlong": "b'\\xc0\\x80\\xe0\\x80\\xaf'",
    "half a letter at the cap": "b'a' * 65535 + 'é'.encode()",
    "surrogates": "b'\\xed\\xa0\\x80'",
    "terminal codes": "b'\\x1b]0;x\\x07\\x1b[2J\\x9b'",
    "marks": "b'\\xef\\xbb\\xbf\\xff\\xfe'",
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_bytes_of_every_kind_come_out_as_text(attack: Attack, kind: str) -> None:
    result = attack(f"import os\nx = os.write(1, {OUTPUTS[kind]})")
    expected = eval(OUTPUTS[kind])[:65536].decode("utf-8", errors="replace")
    assert (result.status, result.stdout) == (Status.OK, expected)


TEN_MEGABYTES = {
    "comment": "#" + "x" * 10**7 + "\nprint('fine')",
    "blank lines": "\n" * 10**7 + "print('fine')",
    "text": "x = '" + "a" * 10**7 + "'\nprint('fine')",
    "wide text": "x = '" + "🙂" * 2_500_000 + "'\nprint('fine')",
    "surrogates": "x = '" + "\ud800" * 1_700_000 + "'",
    "zeros": "\0" * 10**7,
    "statements": "x = 1\n" * 1_700_000,
    "brackets": "(" * 10**7,
    "names": "a " * 5_000_000,
    "one number": "x = " + "9" * 10**7,
    "one expression": "x = " + "1+" * 5_000_000 + "1",
    "classes": "class A: pass\n" * 700_000,
}


@pytest.mark.parametrize("kind", TEN_MEGABYTES)
def test_ten_megabytes_of_source(attack: Attack, kind: str) -> None:
    result = attack(TEN_MEGABYTES[kind])
    if "fine" in TEN_MEGABYTES[kind]:
        assert (result.status, result.stdout) == (Status.OK, "fine\n")
    else:
        assert result.status in (Status.ERROR, Status.TIMEOUT, Status.MEMORY, Status.KILLED)


def test_a_source_of_a_megabyte(attack: Attack) -> None:
    comment = "#" + "x" * 10**6
    assert attack(f"{comment}\nprint(1)").stdout == "1\n"
    assert attack(f"print(len({'a' * 10**6!r}))").stdout == "1000000\n"


def test_deeply_nested_source_is_contained(attack: Attack) -> None:
    for code in ("(" * 10**5, "-" * 10**6 + "1", "[" * 90 + "]" * 90, "a." * 10**5 + "a"):
        assert attack(code).status is not Status.INFRASTRUCTURE


def test_programs_run_as_main(attack: Attack) -> None:
    result = attack(
        """
from __future__ import annotations
import dataclasses, pickle, sys
@dataclasses.dataclass
class P:
    x: int
if __name__ == "__main__":
    print(pickle.loads(pickle.dumps(P(1))), sys.modules["__main__"].P is P, [P(i).x for i in range(2)])
"""
    )
    assert result.stdout == "P(x=1) True [0, 1]\n"


def test_the_same_program_gives_the_same_output(attack: Attack) -> None:
    code = "print(list({'alpha', 'beta', 'gamma', 'delta', 'epsilon'}))"
    assert attack(code).stdout == attack(code).stdout


def test_seconds_are_those_of_the_execution(attack: Attack) -> None:
    assert 0.3 <= attack("import time\ntime.sleep(0.3)").seconds < 1.6
