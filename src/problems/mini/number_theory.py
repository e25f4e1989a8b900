"""Number Theory: powers modulo a number, common divisors and multiples, divisors, digits."""

from __future__ import annotations

from random import Random

from src.problems.mini.template import Exercise, Params, Template

SUBJECT = "Number Theory"


def _draw_power(rng: Random, level: int) -> Params:
    base = ((2, 7), (3, 12), (5, 30), (12, 99), (103, 999))[level - 1]
    exponent = ((2, 5), (6, 40), (40, 199), (100, 499), (200, 999))[level - 1]
    modulus = ((5, 13), (11, 30), (31, 99), (101, 499), (301, 999))[level - 1]
    while True:
        a, n, m = rng.randint(*base), rng.randint(*exponent), rng.randint(*modulus)
        if a % m > 1:
            return a, n, m


def _times(a: int, n: int, m: int) -> int:
    value = 1
    for _ in range(n):
        value = value * a % m
    return value


def _power(params: Params) -> Exercise:
    a, n, m = params
    half = n // 2
    root = _times(a, half, m)
    square = rf"{root} \cdot {root}" + (rf" \cdot {a}" if n % 2 else "")
    return Exercise(
        wordings=(
            f"Find the remainder when ${a}^{{{n}}}$ is divided by ${m}$.",
            rf"What is ${a}^{{{n}}} \bmod {m}$?",
        ),
        answer=str(_times(a, n, m)),
        steps=f"${a}^{{{half}}}$ leaves ${root}$, so we reduce ${square}$.",
        code=f"print(pow({a}, {n}, {m}))",
        errors=(("pow(", "power("), (f", {m}", f" {m}")),
        blunders=((f"pow({a}, {n}, {m})", f"{a}^{n} % {m}"),),
    )


def _draw_common(rng: Random, level: int) -> Params:
    kind = rng.randrange(2)
    top = ((6, 6), (20, 12), (40, 30), (15, 9), (40, 20))[level - 1][kind]
    common = rng.randint(2, ((6, 6), (20, 9), (40, 15), (40, 9), (90, 12))[level - 1][kind])
    count = 2 if level < 4 else 3
    numbers: list[int] = []
    while len(numbers) < count:
        number = common * rng.randint(2, top)
        if number not in numbers:
            numbers.append(number)
    return kind, *numbers


def _common(params: Params) -> Exercise:
    kind, *numbers = params
    divisor, multiple = numbers[0], numbers[0]
    for number in numbers[1:]:
        divisor = max(d for d in range(1, min(divisor, number) + 1) if divisor % d == number % d == 0)
        step = multiple
        while multiple % number:
            multiple += step
    listed = ", ".join(f"${number}$" for number in numbers[:-1]) + f" and ${numbers[-1]}$"
    name = ("gcd", "lcm")[kind]
    long = ("greatest common divisor", "least common multiple")[kind]
    arguments = ", ".join(map(str, numbers))
    quotients = ", ".join(str(number // divisor) for number in numbers)
    return Exercise(
        wordings=(f"Find the {long} of {listed}.", f"What is the {long} of {listed}?"),
        answer=str((divisor, multiple)[kind]),
        steps=f"All are multiples of ${divisor}$, namely by ${quotients}$.",
        code=f"from math import {name}\nprint({name}({arguments}))",
        errors=((f"{name}(", f"{long.split()[0]}("),),
        blunders=((f"{name}(", ("min(", "max(")[kind]),),
    )


def _draw_divisors(rng: Random, level: int) -> Params:
    low, high = ((5, 60), (60, 299), (200, 999), (800, 3999), (2000, 9999))[level - 1]
    step = (1, 2, 6, 6, 12)[level - 1]  # numbers with many divisors
    return rng.randrange(2), rng.randint(low // step + 1, high // step) * step


def _divisors(params: Params) -> Exercise:
    kind, n = params
    factors, rest, p = [], n, 2
    while rest > 1:
        power = 0
        while rest % p == 0:
            rest //= p
            power += 1
        if power:
            factors.append((p, power))
        p += 1
    answer = 1
    for p, power in factors:
        answer *= power + 1 if kind == 0 else (p ** (power + 1) - 1) // (p - 1)
    product = r" \cdot ".join(f"{p}^{{{power}}}" for p, power in factors)
    if kind == 0:
        wordings = (f"How many positive divisors does ${n}$ have?", f"Count the positive divisors of ${n}$.")
        expression = "1 for d in range(1, n + 1) if n % d == 0"
    else:
        wordings = (
            f"Find the sum of the positive divisors of ${n}$.",
            f"What is the sum of all positive divisors of ${n}$?",
        )
        expression = "d for d in range(1, n + 1) if n % d == 0"
    return Exercise(
        wordings=wordings,
        answer=str(answer),
        steps=f"${n} = {product}$.",
        code=f"n = {n}\nprint(sum({expression}))",
        errors=(("== 0", "= 0"), ("range(1, n + 1)", "n")),
        blunders=(("n + 1", "n"),),
    )


def _draw_digits(rng: Random, level: int) -> Params:
    base = ((2, 19), (2, 19), (6, 29), (11, 99), (101, 399))[level - 1]
    exponent = ((2, 4), (5, 12), (12, 30), (20, 49), (30, 99))[level - 1]
    a = rng.randint(*base)
    return a + (a % 10 == 0), rng.randint(*exponent)


def _digits(params: Params) -> Exercise:
    a, n = params
    rest, total, count = a**n, 0, 0
    while rest:
        rest, digit = divmod(rest, 10)
        total += digit
        count += 1
    power = f"{a}^{{{n}}}"
    return Exercise(
        wordings=(f"Find the sum of the digits of ${power}$.", f"What is the digit sum of ${power}$?"),
        answer=str(total),
        steps=f"${power}$ has ${count}$ digits.",
        code=f"print(sum(int(d) for d in str({a}**{n})))",
        errors=(("int(d)", "d"), (f"str({a}**{n})", f"{a}**{n}")),
        blunders=(("**", "^"),),
    )


TEMPLATES = (
    Template("modular_power", SUBJECT, _draw_power, _power),
    Template("gcd_lcm", SUBJECT, _draw_common, _common),
    Template("divisors", SUBJECT, _draw_divisors, _divisors),
    Template("digit_sum", SUBJECT, _draw_digits, _digits),
)
