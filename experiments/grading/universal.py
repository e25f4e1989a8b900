r"""Is there an answer that is right for every problem? Candidates against gold answers of every shape.

    python -m experiments.grading.universal --path MATH_OAI.jsonl AIME24.jsonl amc23.jsonl

Each of :data:`CANDIDATES` is graded against each of :data:`GOLDS`, the gold answers of the mini family and
those of the files. None may pass for a gold that it does not equal; what is equal is listed by hand in
:data:`EQUAL`. Ends with status 1 if there is one, or if a listed pair does not pass.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from src.config import FieldsConfig
from src.problems.files import read_problems
from src.problems.mini import generate
from src.rewards import Grader

CANDIDATES = [
    # always true
    "0=0", "1=1", "2=2", "x=x", "y=y", "n=n", "a=a", "0=0.0", "1+1=2", "2=1+1", "x+1=x+1", "x-x=0", "0=x-x",
    "2x=x+x", "(x+1)^2=x^2+2x+1", "f(x)=f(x)", "f(1)=f(1)", "0\\cdot x=0", "\\sin^2 x+\\cos^2 x=1", "0<1",
    "1>0", "1\\le 1", "0\\le 0", "x\\le x", "x\\ge x", "x^2\\ge 0", "x^2+1>0", "0\\ne 1", "|x|\\ge 0",
    "0<1<2", "0=0=0", "x=x=x", "\\infty=\\infty", "1=1, 2=2", "x=x, y=y", "0=0, 0=0", "x<\\infty",
    "-\\infty<\\infty", "x\\in\\mathbb{R}", "x\\in\\{x\\}", "1\\in\\{1\\}",
    # never true
    "1=2", "0=1", "1=0", "2=3", "x=x+1", "x+1=x", "0=5", "x-x=1", "0\\cdot x=1", "x<x", "x>x", "x\\ne x",
    "1<0", "0>1", "1\\ne 1", "x^2+1=0", "x^2<0", "x^2+1\\le 0", "|x|=-1", "\\sqrt{x}=-1", "2^x=0", "e^x=-1",
    "\\frac{1}{x}=0", "\\sin x=2", "f(1)=f(2)", "f(2)=6", "g(0)=1", "1=2=3", "1=2, 3=4", "0=1, 0=2", "1<0<2",
    "x\\in\\emptyset", "1\\in\\emptyset", "x=\\emptyset", "e=1", "\\pi=0", "i=0", "0=\\infty",
    # nothing, or no number
    "\\frac{1}{0}", "\\frac{0}{0}", "\\frac{x}{0}", "\\infty-\\infty", "0\\cdot\\infty", "\\log 0", "0^{-1}",
    "()", "[]", "\\{\\}", "\\emptyset", "\\{\\emptyset\\}", "(\\,)", "{}", "\\text{}", "=", "==", "<", ",",
    ";", ".", "?", "*", "_", "^", "\\\\", "\\ ", "-", "+", "\\pm", "\\$", "\\%", "\\circ", "\\cdot", "...",
    "\\ldots",
    # words and sets of everything
    "True", "\\text{True}", "False", "\\text{False}", "None", "nan", "\\text{NaN}", "any",
    "\\text{any number}", "\\text{all of the above}", "\\text{the answer}", "\\text{correct}", "\\mathbb{R}",
    "\\mathbb{C}", "\\mathbb{Z}", "\\mathbb{N}", "(-\\infty,\\infty)", "[-\\infty,\\infty]", "\\infty",
    "-\\infty", "\\{x\\}", "\\{x:x=x\\}", "x_1", "?=?", "*=*", "\\square", "\\boxed{}", "\\star",
    "\\text{gold}", "answer", "\\forall", "\\exists",
]  # fmt: skip

GOLDS = [
    # numbers
    "0", "1", "2", "5", "6", "-1", "-7", "12", "204", "1000", "10,080", "0.5", "3.14", "18.90", "1.5",
    "10^3", "2^{100}", "5!", "\\frac{1}{2}", "\\frac{3}{4}", "-\\frac{14}{3}", "\\dfrac{9}{7}",
    "1\\frac{1}{2}", "0.\\overline{3}", "\\sqrt{2}", "2\\sqrt{13}", "\\sqrt[3]{5}", "\\frac{\\sqrt{3}}{2}",
    "\\frac{1+\\sqrt{5}}{2}", "4\\sqrt{15}-14", "\\sqrt{2}+\\sqrt{3}", "\\pi", "12\\pi", "\\frac{\\pi}{4}",
    "e", "e^2", "e^{-1}", "\\ln 2", "\\frac{1}{2}\\ln 2", "\\log_2 3", "\\sin 20^\\circ", "\\arctan 2",
    "\\binom{10}{3}", "3+4i", "-i", "i", "\\frac{1-i}{2}", "e^{i\\pi/3}", "\\infty", "-\\infty", "90^\\circ",
    "50\\%", "\\$36", "10\\text{ cm}", "864 \\mbox{ inches}^2", "3.4\\text{ cm}", "11:00\\text{ a.m.}",
    "2516_8", "1011_2", "4:30",
    # expressions
    "x", "y", "n", "a", "2x+3", "x^2-7", "x^2-5x+6", "(x-2)(x-3)", "\\frac{x+2}{7}", "\\frac{1}{x}",
    "\\sqrt{x}", "x^3+3x-6", "p-q", "2ab", "\\pi r^2", "\\frac{n(n+1)}{2}", "2^n-1", "\\cot x", "\\sin x",
    "\\ln x", "|x|", "e^x+C", "x^2+y^2", "\\frac{a+b}{c}", "a_1", "f(2)", "f(x)", "\\sum_{k=1}^n k",
    "-2+7e^{it}",
    # equations
    "x=5", "x=0", "y=2x+3", "y=x", "2x-y=1", "x+y=5", "5=x", "f(2)=5", "f(1)=2", "f(x)=x+1", "f(x)=x",
    "P(A)=\\frac13", "a_n=2n+1", "e=\\frac{\\sqrt3}{2}", "e=2", "x^2-2x+10=0", "x^2-3x+2=0", "x^2+1=0",
    "x^2=-1", "x^2=4", "(x+1)^2=x^2+2x+2", "(x+1)^2=x^2+2x+1", "x=x+1", "x=x", "0=0", "1=2", "1+1=2",
    "x^2+y^2=4", "x^2+y^2=-1", "x^2+y^2=0", "\\frac{x^2}{4}+\\frac{y^2}{9}=1", "y=\\sqrt{x}", "y^2=x",
    "y=\\ln x", "y=e^x", "2^x=8", "2^x=-1", "\\log_2 x=3", "\\sin x=2", "\\sin x=\\frac12", "|x|=2",
    "|x|=-1", "\\sqrt{x}=-1", "\\frac{1}{x}=0", "\\frac{x}{y}=2", "|z|=2",
    "\\frac{x-1}{2}=\\frac{y}{3}=\\frac{z}{4}", "x=y=z", "x=y=2", "A=\\pi r^2=9\\pi", "r=2\\sin\\theta",
    "z=3+4i", "x\\ne 3", "x\\ne 0", "y=f(x)", "f(x)=f(-x)", "f(f(x))=x", "x=\\pm 2", "x=2\\pm\\sqrt3",
    "k=2n", "\\sin^2 x+\\cos^2 x=1", "x^3-1=0", "xy=1", "x=1=1", "a=b", "(x,y)=(1,2)", "AB=5",
    "\\angle A=30^\\circ",
    # inequalities
    "x>3", "x<2", "x\\ge 0", "x\\le -1", "1<x<2", "-2\\le x\\le 7", "x>y", "x+y>2", "a\\ge b", "x^2>4",
    "x^2\\ge 0", "x^2<0", "x^2+1>0", "x^2+1<0", "|x|\\le 2", "n\\ge 1", "0<a<1", "x<x", "x\\le x", "1<2",
    "f(x)>0", "0\\ne 1",
    # lists, sets, intervals, tuples, matrices
    "1,2", "1,-1", "0,1", "x=1, x=2", "x=1 \\text{ and } x=2", "x = 3 \\text{ or } x = -2", "x=1,y=2",
    "f(1)=2, f(2)=3", "1 \\pm \\sqrt{2}", "\\pm 3", "\\{1,2\\}", "\\{0\\}", "\\{1\\}", "\\emptyset",
    "\\{\\}", "(1,2)", "[1,2]", "(0,\\infty)", "[-2,7]", "(-\\infty,2)", "(-\\infty,\\infty)", "\\mathbb{R}",
    "(-\\infty,-2)\\cup(2,\\infty)", "[0,1)\\cup(1,2]", "(-\\infty,3)\\cup(3,\\infty)",
    "\\mathbb{R}\\setminus\\{0\\}", "x\\in[1,2]", "x\\in\\emptyset", "\\mathbb{Z}", "(3,\\frac{\\pi}{2})",
    "(1,2,3)", "(0,0)", "(3,4),(5,6)", "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}",
    "\\begin{pmatrix} 0 \\\\ 0 \\end{pmatrix}", "\\{2,3,5,7\\}", "1,2,3,4", "\\{x:x>2\\}",
    # words
    "\\text{Evelyn}", "\\text{even}", "\\text{odd}", "\\text{(A)}", "A", "B", "C", "\\text{no solution}",
    "\\text{none}", "\\text{June }20", "\\text{12 apples}", "\\text{True}", "\\text{yes}", "\\text{No}",
    "\\text{undefined}", "\\text{all real numbers}", "\\text{parabola}", "\\text{Tuesday}",
]  # fmt: skip

EQUAL = {  # gold, candidate
    # an equation stands for its right-hand side, be it true or not: whoever writes x-x=1 answers 1
    ("0", "0=x-x"), ("0", "0=0=0"), ("0", "i=0"), ("1", "\\sin^2 x+\\cos^2 x=1"), ("1", "x-x=1"),
    ("1", "0\\cdot x=1"), ("1", "g(0)=1"), ("1", "e=1"), ("2", "1+1=2"), ("2", "2=1+1"), ("2", "\\sin x=2"),
    ("6", "f(2)=6"), ("-1", "|x|=-1"), ("-1", "\\sqrt{x}=-1"), ("-1", "e^x=-1"), ("x", "x=x=x"),
    ("x", "x+1=x"), ("f(2)", "f(1)=f(2)"), ("x=0", "0=0=0"), ("y=x", "x=x=x"), ("f(x)=x", "x=x=x"),
    ("f(f(x))=x", "x=x=x"), ("\\{0\\}", "0=x-x"), ("\\{0\\}", "0=0=0"), ("\\{0\\}", "i=0"),
    ("\\{1\\}", "\\sin^2 x+\\cos^2 x=1"), ("\\{1\\}", "x-x=1"), ("\\{1\\}", "0\\cdot x=1"),
    ("\\{1\\}", "g(0)=1"), ("\\{1\\}", "e=1"),
    # both sides are the same, as they are, evaluated or exchanged
    ("x^2=-1", "x^2+1=0"), ("x=x+1", "x+1=x"), ("0=0", "0=0.0"), ("0=0", "x-x=0"), ("0=0", "0=x-x"),
    ("0=0", "0\\cdot x=0"), ("1+1=2", "2=2"), ("1+1=2", "2=1+1"), ("\\sin^2 x+\\cos^2 x=1", "1=1"),
    ("x<x", "x>x"), ("x\\le x", "x\\ge x"),
    ("x=x", "\\{x:x=x\\}"),
    # one and the only element of a set
    ("x", "x\\in\\{x\\}"), ("x", "\\{x\\}"), ("y=x", "\\{x\\}"), ("f(x)=x", "\\{x\\}"),
    ("x=x", "x\\in\\{x\\}"), ("f(f(x))=x", "\\{x\\}"),
    # the same set, the same words
    ("\\emptyset", "x\\in\\emptyset"), ("\\emptyset", "x=\\emptyset"), ("\\emptyset", "\\{\\}"),
    ("\\emptyset", "{}"), ("\\{\\}", "x\\in\\emptyset"), ("\\{\\}", "x=\\emptyset"),
    ("\\{\\}", "\\emptyset"), ("\\{\\}", "{}"), ("(-\\infty,\\infty)", "x\\in\\mathbb{R}"),
    ("(-\\infty,\\infty)", "\\mathbb{R}"), ("(-\\infty,\\infty)", "[-\\infty,\\infty]"),
    ("\\mathbb{R}", "x\\in\\mathbb{R}"), ("\\mathbb{R}", "(-\\infty,\\infty)"),
    ("\\mathbb{R}", "[-\\infty,\\infty]"), ("x\\in\\emptyset", "x=\\emptyset"),
    ("x\\in\\emptyset", "\\{\\}"), ("x\\in\\emptyset", "\\emptyset"), ("x\\in\\emptyset", "{}"),
    ("\\text{none}", "None"), ("\\text{True}", "True"),
}  # fmt: skip


def unequal(golds: list[str], candidates: list[str], workers: int, seconds: float) -> list[tuple[str, str]]:
    """Return the pairs of gold and candidate that are graded otherwise than :data:`EQUAL` says."""
    pairs = [(gold, candidate) for gold in dict.fromkeys(golds) for candidate in candidates]
    with Grader(workers, seconds) as grader:
        grades = grader.grade(pairs)
        print(
            f"{len(pairs)} pairs", *(f"{name} {number}" for name, number in grader.stats().items()), sep=", "
        )
    return [
        pair
        for pair, grade in zip(pairs, grades, strict=True)
        if grade.correct != (pair in EQUAL or pair[0] == pair[1])
    ]


def main() -> int:
    """Print what is wrong; return 0 if nothing is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--path", type=Path, nargs="*", default=[], help="problem files, with field answer or solution"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="limit per pair")
    parser.add_argument("--mini", type=int, default=400, help="problems of the mini family")
    arguments = parser.parse_args()
    golds = list(GOLDS) + [problem.answer for problem in generate(arguments.mini, 0, "heldout")]
    for path in arguments.path:
        name = "answer" if '"answer":' in path.read_text().partition("\n")[0] else "solution"
        golds += [problem.answer for problem in read_problems(path, FieldsConfig(answer=name))]
    start = time.perf_counter()
    wrong = unequal(golds, CANDIDATES, arguments.workers, arguments.seconds)
    for gold, candidate in wrong:
        print(f"    {gold!r}  {candidate!r}")
    print(f"{len(set(golds))} gold answers, {len(CANDIDATES)} candidates, {len(wrong)} pairs graded wrongly")
    print(f"{time.perf_counter() - start:.0f} s")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
