"""Finds training problems that are benchmark problems.

A training problem matches a benchmark problem if both have the same words (:mod:`src.problems.words`), or if
it contains at least a given fraction of the benchmark problem's n-grams and all of its numbers: text added
around a problem does not hide it, and the same wording with other numbers is a different problem. Benchmark
problems with fewer than n words have no n-gram and must match exactly. Paraphrases are not found.
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
    """A benchmark problem, and the fraction of its n-grams that were found, from 0 to 1."""

    against: str
    id: str
    overlap: float


class Benchmarks:
    """An index of benchmark problems by words and by n-grams.

    Args:
        problems: with the name of their benchmark; of several equal matches, the first is reported.
        n: length of an n-gram in words.
        share: fraction of a benchmark problem's n-grams from which it is a match.
    """

    def __init__(self, problems: Iterable[tuple[str, Problem]], n: int, share: float) -> None:
        self._n, self._share = n, share
        self._problems: list[tuple[str, Problem]] = []
        self._sizes: list[int] = []  # number of distinct n-grams of each problem
        self._numbers: list[Counter[str]] = []
        self._same: dict[tuple[str, ...], int] = {}
        self._having: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, (against, problem) in enumerate(problems):
            text_words = words(problem.text)
            grams = set(ngrams(text_words, n))
            self._problems.append((against, problem))
            self._sizes.append(len(grams))
            self._numbers.append(_numbers(text_words))
            self._same.setdefault(tuple(text_words), index)
            for gram in grams:
                self._having[gram].append(index)

    def find(self, text_words: Sequence[str]) -> Match | None:
        """Return the benchmark problem that matches a problem with these words, if any."""
        same = self._same.get(tuple(text_words))
        if same is not None:
            return self._match(same, 1.0)
        found: Counter[int] = Counter()
        for gram in set(ngrams(text_words, self._n)) & self._having.keys():
            found.update(self._having[gram])
        shares = sorted((-number / self._sizes[index], index) for index, number in found.items())
        numbers = _numbers(text_words) if shares else Counter()
        for share, index in shares:
            if -share >= self._share and self._numbers[index] <= numbers:
                return self._match(index, -share)
        return None

    def _match(self, index: int, overlap: float) -> Match:
        against, problem = self._problems[index]
        return Match(against, problem.id, overlap)


def _numbers(text_words: Sequence[str]) -> Counter[str]:
    return Counter(word for word in text_words if word[0].isdigit())
