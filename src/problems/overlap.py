"""Which training problems are problems of a benchmark.

A training problem counts as a benchmark problem if both have the same words (:mod:`src.problems.words`), or
if it holds at least a given share of the benchmark problem's n-grams and all of its numbers: text added
around a problem does not hide it, and the same wording with other numbers is another problem. Benchmark
problems of fewer than n words have no n-gram; only the same words are the same problem then. A paraphrase is
not found.
The usual n is 13 (Brown et al. 2020, arXiv 2005.14165, appendix C).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from src.problems.problem import Problem
from src.problems.words import ngrams, words


@dataclass(frozen=True)
class Match:
    """A benchmark problem, and the share of its n-grams that were found, from 0 to 1."""

    against: str
    id: str
    overlap: float


class Benchmarks:
    """The problems of benchmarks, by their words and by their n-grams.

    Args:
        problems: with the name of their benchmark; where a training problem matches several equally, the
            first is named.
        n: words of an n-gram.
        share: of a benchmark problem's n-grams that makes a match.
    """

    def __init__(self, problems: Iterable[tuple[str, Problem]], n: int, share: float) -> None:
        self._n, self._share = n, share
        self._problems: list[tuple[str, Problem]] = []
        self._sizes: list[int] = []  # number of different n-grams, of each
        self._numbers: list[Counter[str]] = []
        self._same: dict[tuple[str, ...], int] = {}
        self._having: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, (against, problem) in enumerate(problems):
            said = words(problem.text)
            grams = set(ngrams(said, n))
            self._problems.append((against, problem))
            self._sizes.append(len(grams))
            self._numbers.append(_numbers(said))
            self._same.setdefault(tuple(said), index)
            for gram in grams:
                self._having[gram].append(index)

    def find(self, said: Sequence[str]) -> Match | None:
        """Return the benchmark problem that a problem of these words is, if it is one."""
        same = self._same.get(tuple(said))
        if same is not None:
            return self._match(same, 1.0)
        found: Counter[int] = Counter()
        for gram in set(ngrams(said, self._n)) & self._having.keys():
            found.update(self._having[gram])
        shares = sorted((-number / self._sizes[index], index) for index, number in found.items())
        numbers = _numbers(said) if shares else Counter()
        for share, index in shares:
            if -share >= self._share and self._numbers[index] <= numbers:
                return self._match(index, -share)
        return None

    def _match(self, index: int, overlap: float) -> Match:
        against, problem = self._problems[index]
        return Match(against, problem.id, overlap)


def _numbers(said: Sequence[str]) -> Counter[str]:
    return Counter(word for word in said if word[0].isdigit())
