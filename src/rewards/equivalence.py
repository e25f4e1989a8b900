r"""Whether an answer equals the gold answer: math-verify, with corrections.

Used by the grading processes only (``src.rewards.grading_child``), since sympy never returns on some inputs.
Differences from plain ``math_verify.verify(parse(gold), parse(answer))``:

- The whole answer is parsed as one LaTeX expression. math-verify searches for an expression, and would
  accept the last number of a sentence.
- Numbers are compared exactly. A decimal is an exact number, so ``0.785398`` is not ``\frac{\pi}{4}``
  (math-verify rounds to six places, and treats any two numbers below 1e-15 as equal).
- Units are dropped only if they are typeset as text or are words after a number; math-verify would also turn
  ``3t`` into ``3``.
- Text answers are compared as text; math-verify multiplies their letters.
- Lists keep their repetitions, sets are no tuples, and names of points (``ABC``) are no products.
- ``\sin 30^\circ`` is a half, odd roots of negative numbers are real, and ``i`` is the imaginary unit in
  numbers and exponents.
- Relations are compared as relations (``src.rewards.relations``); math-verify treats any two that it cannot
  solve as equal.
- Python's ``**`` and ``pi``, Unicode signs, repeating decimals, percentages and numerals in a base are
  parsed.
"""

from __future__ import annotations

import re
from typing import Any

from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex
from latex2sympy2_extended.logic import And
from latex2sympy2_extended.sets import FiniteSet
from math_verify.grader import should_treat_as_complex
from math_verify.parser import get_last_eq
from sympy import Basic, Expr, Float, I, Interval, MatrixBase, Pow, Rational, Tuple, Union, exp
from sympy.core.relational import Relational

from src.rewards.angles import in_radians
from src.rewards.relations import same
from src.rewards.shapes import kind, names, same_collection
from src.rewards.values import evaluated

_NORMALIZATION = NormalizationConfig(
    basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="last", equations=False
)

_SIGNS = str.maketrans(
    {
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "\N{MULTIPLICATION SIGN}": r"\times ",
        "\N{MIDDLE DOT}": r"\cdot ",
        "\N{DIVISION SIGN}": "/",
        "\N{INFINITY}": r"\infty ",
        "\N{GREEK SMALL LETTER PI}": r"\pi ",
        "\N{PLUS-MINUS SIGN}": r"\pm ",
        "\N{LESS-THAN OR EQUAL TO}": r"\le ",
        "\N{GREATER-THAN OR EQUAL TO}": r"\ge ",
        "\N{UNION}": r"\cup ",
        "\N{INTERSECTION}": r"\cap ",
        "\N{EMPTY SET}": r"\emptyset ",
        "\N{DEGREE SIGN}": r"^\circ ",
        "\N{SUPERSCRIPT TWO}": "^2",
        "\N{SUPERSCRIPT THREE}": "^3",
        "\N{NO-BREAK SPACE}": " ",
    }
)


def _repeating(match: re.Match[str]) -> str:
    """Turn ``0.1\\overline{6}`` into a fraction."""
    whole, fixed, period = match[1] or "0", match[2], match[3]
    numerator = int(whole + fixed + period) - int(whole + fixed)
    return rf"\frac{{{numerator}}}{{{'9' * len(period)}{'0' * len(fixed)}}}"


_REWRITES: list[tuple[re.Pattern[str], Any]] = [
    (re.compile(r"\\(?:displaystyle|textstyle|left|right|[bB]igg?[lr]?)(?![A-Za-z])"), ""),
    (re.compile(r"\\!\s*|(?<=\d)\\,\s*(?=\d{3}(?!\d))"), ""),  # 10,\!080 and 10\,080
    (re.compile(r"\\[,;:]|\\q?quad(?![A-Za-z])|~"), " "),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"(?<![\w.,/^}])(\d+)\s+(\d+)/(\d+)(?![\d/])"), r"\1\\frac{\2}{\3}"),  # 1 1/2
    (re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\\degree(?![A-Za-z])"), ""),
    (re.compile(r"\\varnothing(?![A-Za-z])"), r"\\emptyset"),
    (re.compile(r"\*\*\s*(?:\(([^()]*)\)|(-?\w+(?:\.\d+)?))"), lambda match: f"^{{{match[1] or match[2]}}}"),
    (re.compile(r"\N{SQUARE ROOT}\s*(\d+|[A-Za-z])"), r"\\sqrt{\1}"),
    (re.compile(r"\N{SQUARE ROOT}"), r"\\sqrt"),
    (re.compile(r"(?<![\\A-Za-z])pi(?![A-Za-z])"), r"\\pi "),
    (re.compile(r"(?<![\d.])(\d*)\.(\d*)\\overline\s*\{(\d+)\}"), _repeating),
]
_TEXT = r"\\(?:text(?:rm|bf|it|normal|sf)?|mathrm|mathbf|mathit|mbox)\s*"
_WRAPPED = re.compile(rf"{_TEXT}\{{([^{{}}]*)\}}")
_PERCENT = re.compile(rf"\\?%|{_TEXT}\{{\s*percent\s*\}}|\s+percent$")
_UNIT = re.compile(rf"(?<=\S)\s*{_TEXT}\{{[^{{}}]*\}}(?:\s*\^\s*\{{?\d\}}?)?$")
# Text after a number that is more than its unit: further numbers, relations, and words that change the value.
_NO_UNIT = re.compile(
    r"(?<![A-Za-z^{])\d|[=<>+?]|\b(?:and|but|by|divided|half|hundreds?|if|less|minus|more|no|not|of|or|over|plus|"
    r"than|thousands?|times|to|unless|when|[a-z]illions?|[inxyz])\b",
    re.IGNORECASE,
)
_UNIT_WORDS = re.compile(
    r"(.*[\d}])(?:\s+(?:[A-Za-z]{3,}|[ckm]m|ft|in|k?g|mg|lb|mi|hr|ml|sq)\.?(?:\^\{?\d\}?)?)+"
)
_SET_BUILDER = re.compile(
    r"\\\{\s*[A-Za-z]\s*(?::|\||\\mid(?![A-Za-z]))\s*([^{}]*)\\\}"
)  # stands for its condition
_HALF_DAY = re.compile(r"(?<![A-Za-z])([ap])\.?\s?m\W*$", re.IGNORECASE)
_NUMERAL = re.compile(r"(-?[0-9A-F.]*[0-9][0-9A-F.]*)_\{?(\d+)\}?")


def equivalent(gold: str, answer: str) -> bool:
    """Whether ``answer`` is correct for the ``gold`` answer, both bare LaTeX. Never returns on some inputs.

    Not symmetric: ``x = 5`` and ``5`` are accepted for each other, but a relation such as ``x < 2`` is
    converted to a set only in the answer, if the gold answer is a set.
    """
    gold, answer = _tidy(gold), _tidy(answer)
    if not gold or not answer:
        return False
    if _compact(_unwrap(gold)) == _compact(_unwrap(answer)):
        return True
    if _WRAPPED.fullmatch(gold) or _WRAPPED.fullmatch(answer):
        if _words(gold) == _words(answer) != "":
            return True
        if not any(map(str.isdigit, gold)) or not any(map(str.isdigit, answer)):
            return False
        gold, answer = _unwrap(gold), _unwrap(answer)
    numerals = _NUMERAL.fullmatch(gold), _NUMERAL.fullmatch(answer)
    if numerals[0] and numerals[1]:
        return numerals[0].groups() == numerals[1].groups()
    return _same_quantity(gold, answer)


def readable(gold: str) -> bool:
    """Whether an answer with different LaTeX could equal ``gold``: it parses, or it consists of words."""
    gold = _tidy(gold)
    if not gold:
        return False
    if _WRAPPED.search(gold) or "\\" not in gold:  # compared as text
        return bool(_words(gold))
    return _parse(_PERCENT.sub("", _without_unit(gold)).strip()) is not None


def _tidy(text: str) -> str:
    """Normalise spacing, size commands and alternative spellings of signs."""
    text = text.translate(_SIGNS)
    if "circ" in text or "degree" in text:
        text = in_radians(re.sub(r"\\left(?![A-Za-z])|\\right(?![A-Za-z])", "", text))
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = text.strip().strip("$").removesuffix(".").strip()
    return built[1] if (built := _SET_BUILDER.fullmatch(text)) else text


def _compact(text: str) -> str:
    """Drop spaces, except between two letters or digits."""
    return re.sub(r"(?<!\w)\s+|\s+(?!\w)", "", text)


def _unwrap(text: str) -> str:
    return _WRAPPED.sub(r"\1", text).strip()


def _words(text: str) -> str:
    return re.sub(r"[\s()\[\]{}'\"\\]|(?<!\d)[.,]|[.,](?!\d)", "", _unwrap(text)).casefold()


def _same_quantity(gold: str, answer: str) -> bool:
    """Compare two expressions that may carry units or percent signs."""
    halves = _HALF_DAY.search(gold), _HALF_DAY.search(answer)
    if halves[0] and halves[1] and halves[0][1].lower() != halves[1][1].lower():
        return False
    if points := names(gold, answer):
        return points[0] == points[1]
    gold, answer = _without_unit(gold), _without_unit(answer)
    gold = _without_unit_words(gold)
    if not re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", gold)):
        answer = _without_unit_words(answer)
    bare_gold, bare_answer = _PERCENT.sub("", gold).strip(), _PERCENT.sub("", answer).strip()
    if _same_value(bare_gold, bare_answer):
        return True  # 50 and 50 % are accepted for each other, as in math-verify
    if bare_gold != gold and bare_answer == answer:
        return _same_value(rf"\frac{{{bare_gold}}}{{100}}", answer)
    if bare_answer != answer and bare_gold == gold:
        return _same_value(gold, rf"\frac{{{bare_answer}}}{{100}}")
    return False


def _without_unit(text: str) -> str:
    unit = _UNIT.search(text)
    return text if unit is None or _NO_UNIT.search(_unwrap(unit[0])) else text[: unit.start()]


def _without_unit_words(text: str) -> str:
    words = _UNIT_WORDS.fullmatch(text)
    return text if words is None or _NO_UNIT.search(text[words.end(1) :]) else words[1]


def _same_value(gold: str, answer: str) -> bool:
    if _compact(gold) == _compact(answer):
        return True
    left = _parse(gold)
    right = _parse(answer) if left is not None else None
    if left is None or right is None:
        return False
    left, right = _exact(left), _exact(right)
    collections = same_collection(left, right, (kind(gold), kind(answer)), same)
    return same(left, right) if collections is None else collections


def _parse(latex: str) -> Any:
    """Return the sympy object of ``latex``, or None if it cannot be parsed."""
    text = normalize_latex(latex, _NORMALIZATION)
    for candidate in dict.fromkeys((text, get_last_eq(text))):
        try:
            value = latex2sympy(
                candidate,
                is_real=not should_treat_as_complex(candidate),
                convert_degrees=False,
                normalization_config=None,
            )
        except Exception:  # on invalid input the parser raises bare exceptions, and sympy anything
            continue
        if isinstance(value, (Basic, MatrixBase)):
            return value
    return None


def _exact(value: Any) -> Any:
    """Convert decimals to exact rational numbers, and evaluate rational expressions."""
    if isinstance(value, MatrixBase):
        return value.applyfunc(_exact)
    if isinstance(value, (FiniteSet, And)):
        return value.func(*map(_exact, value._unsorted_args))
    if isinstance(value, Tuple):
        return Tuple(*map(_exact, value.args))
    if isinstance(value, Interval):
        return Interval(_exact(value.start), _exact(value.end), value.left_open, value.right_open)
    if isinstance(value, Union):
        return Union(*map(_exact, value.args), evaluate=False)
    if isinstance(value, Relational):  # not evaluated: 2 + 3 = 5 would become 5 = 5
        sides = (_plain(side) if isinstance(side, Expr) else _exact(side) for side in value.args)
        return value.func(*sides, evaluate=False)
    return evaluated(_imaginary(_plain(value))) if isinstance(value, Expr) else value


def _plain(value: Expr) -> Expr:
    """Return ``value`` with exact decimals, real odd roots and the imaginary unit."""
    value = value.xreplace({decimal: Rational(str(decimal)) for decimal in value.atoms(Float)})
    if not value.is_Symbol:
        value = _imaginary(value)
    return value if value.has(I) else value.replace(_is_odd_root, _real_root)


def _imaginary(value: Expr) -> Expr:
    """Read ``i`` as the imaginary unit, unless it is one of several variables."""
    units = {symbol for symbol in value.free_symbols if symbol.name == "i"}
    if not units:
        return value
    exponents = (power.exp for power in value.atoms(exp, Pow))
    if value.free_symbols - units and not any(units & exponent.free_symbols for exponent in exponents):
        return value
    return value.xreplace(dict.fromkeys(units, I))


def _is_odd_root(part: Any) -> bool:
    if not isinstance(part, Pow) or not part.base.is_number or not part.exp.is_number:
        return False
    power = part.exp.doit()
    return bool(power.is_Rational and power.q % 2 == 1 and power.q > 1 and part.base.is_negative)


def _real_root(part: Any) -> Any:
    power = part.exp.doit()
    return (-1) ** int(power.p % 2) * Pow(-part.base, power)
