"""Statements that a worker runs before it serves: they trigger lazy imports and fill sympy's caches.

``sandbox.warm`` chooses sets of statements. Other packages can still be imported, cold. scipy is a separate
set, not chosen by default, since its mappings make every fork slower.
"""

from __future__ import annotations

_STANDARD = [
    "import cmath, collections, decimal, fractions, functools, heapq, itertools, math, operator, random, re",
    "import statistics, string, time, traceback, threading",
]

# Each statement is executed in one namespace. The default sets take 0.5 s once per worker, and take 40 ms off
# every sympy program after that.
WARM_SETS = {
    "numpy": [
        "import numpy",
        "numpy.linalg.solve(numpy.eye(3), numpy.ones(3)); numpy.linalg.eigvals(numpy.eye(2))",
        "numpy.roots([1, -3, 2]); numpy.arange(5).sum(); str(numpy.ones(2))",
        "numpy.random.default_rng(0).random(3); numpy.random.rand(2)",
    ],
    "sympy": [
        "import sympy, mpmath",
        "from sympy import *",
        "x, y, z, n = symbols('x y z n'); a, b = symbols('a b', real=True)",
        "solve(x**2 - 2*x - 5, x); solve(x**2 - 5*x + 6, x); solve(x**2 + 1, x); solve(x**3 - 2*x + 1, x)",
        "solve([x + y - 3, x - y - 1], [x, y]); solve([x**2 + y**2 - 5, x - y - 1], [x, y])",
        "linsolve([x + y - 1], x, y)",
        "solve(Eq(sqrt(x + 1), 3), x); solve(Abs(a - 1) - 2, a); solve(2**x - 8, x); solve(x**2 < 4, x)",
        "solveset(x**2 - 4, x, S.Reals); solveset(x**2 - 3*x + 1, x)",
        "nsolve(cos(x) - x, 1); roots(x**2 - 2, x)",
        "factor(x**3 - 1); expand((x + y)**4)",
        "simplify((x**2 - 1)/(x - 1)); collect(x*y + x, x); cancel(x/x**2)",
        "apart(1/(x**2 - 1)); radsimp(1/(1 + sqrt(2))); sqrtdenest(sqrt(3 + 2*sqrt(2)))",
        "integrate(x*exp(x), x); integrate(1/(1 + x**2), (x, 0, 1))",
        "diff(sin(x)*x, x); limit(sin(x)/x, x, 0)",
        "summation(n**2, (n, 1, x)); Sum(1/n**2, (n, 1, oo)).doit()",
        "product(n, (n, 1, 5)); series(exp(x), x, 0, 4); together(1/x + 1/y)",
        "latex(sqrt(x)/2); str(Rational(1, 3)); N(sqrt(2), 30); sympify('1/3 + pi'); nsimplify(0.25)",
        "trigsimp(sin(x)**2 + cos(x)**2); (x**2).subs(x, 3)",
        "Poly(x**2 + x + 1, x).all_roots(); div(x**3, x + 1)",
        "factorint(360); list(primerange(2, 50)); isprime(97); divisors(36); totient(9); nextprime(7)",
        "binomial(10, 3); factorial(10); gcd(12, 18); lcm(4, 6); floor(S(7)/2); ceiling(S(7)/2); Mod(7, 3)",
        "Matrix([[1, 2], [3, 4]]).det()",
        "Matrix([[1, 2], [3, 4]]).eigenvals(); Matrix([[2, 1], [1, 3]]).inv()",
        "Point(0, 0).distance(Point(3, 4)); Piecewise((x, x > 0), (0, True))",
        "mpmath.mp.sqrt(2)",
    ],
    "scipy": [
        "import scipy, scipy.special, scipy.optimize, scipy.integrate, scipy.linalg, scipy.stats",
        "scipy.special.comb(5, 2, exact=True); scipy.integrate.quad(lambda t: t * t, 0, 1)",
        "scipy.optimize.brentq(lambda t: t * t - 2, 0, 2); scipy.optimize.fsolve(lambda t: t - 1, 0.5)",
        "scipy.optimize.minimize(lambda t: (t[0] - 1) ** 2, [0.0])",
        "scipy.linalg.inv([[2.0, 0.0], [0.0, 2.0]])",
        "scipy.stats.norm.cdf(0.0); scipy.stats.binom.pmf(1, 2, 0.5)",
    ],
}


def statements(names: list[str]) -> list[str]:
    """Return the statements of the sets ``names``, in order; without sets, nothing is imported."""
    return [*_STANDARD, *(line for name in names for line in WARM_SETS[name])] if names else []
