"""What an optimizer step is expected to hold of each source, route and loss term, known before any row is dealt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from acclimate.data.deal.pack import PackedSource
from acclimate.data.prepare.tokens import TokenCorpus

SURE_ROWS = 2
"""The mixer keeps every count within one row of its share, so a step that expects two rows of something holds some."""
LOOKED_AT = 1000
"""Steps that :meth:`Dealt.absent` looks at, at most."""


@dataclass(frozen=True)
class Dealt:
    """What the mixer deals to a step. What a step expects less than ``SURE_ROWS`` rows of is *sparse*: a step may hold
    none of it.

    - A sparse term divides by the count that a step expects, not by the step's own: then ``E[sum / expected]`` is
      the nominal pull, while steps without a token and the step's own count would lose their part of it.
    - The sources of a sparse route have shorter rows, so that most steps get some.

    Under moving shares ``tokens`` is the mean over the run, and each step's denominators are an :class:`Expectation` of
    what that step asks for.

    A term that learns from every trained token of the counted sources is never sparse, since a step ends with them.

    Args:
        corpora: by source, all that is trained on; of a stream, its beginning, which stands for the rest.
        tokens: by source, trained tokens that a step expects of it, or the mean of that over steps.
        counted: the sources whose tokens end a step.
        selects: [terms, routes of the run] term k sees route r.
        routes: [routes of the run] name of each.
        sequence_length: most positions in a row.
    """

    corpora: Mapping[str, TokenCorpus]
    tokens: Mapping[str, float]
    counted: Sequence[str]
    selects: NDArray[np.bool_]
    routes: Sequence[str]
    sequence_length: int

    @cached_property
    def active(self) -> NDArray[np.bool_]:
        """[routes] some term learns from this route."""
        return np.asarray(self.selects.any(0))

    def row_lengths(self) -> dict[str, int]:
        """By source, up to how many positions documents share a row: ``sequence_length``, or less where its route is
        sparse, so that a step expects ``SURE_ROWS`` rows of the route. No document is cut for it.

        Sources whose tokens are learned under the same names count together: a step needs rows of one of them.
        """
        kind = {name: frozenset(self.routes[r] for r in self._learned(name)) for name in self.corpora}
        step = dict.fromkeys(kind.values(), 0.0)
        for name, names in kind.items():
            step[names] += self.tokens[name]
        ending = {kind[name] for name in self.counted}
        sure = ending if len(ending) == 1 else set()
        return {
            name: self.sequence_length
            if kind[name] in sure
            else min(self.sequence_length, max(1, round(step[kind[name]] / SURE_ROWS / self._density(name))))
            for name in self.corpora
        }

    def expectation(self, average: str) -> Expectation:
        """What becomes of other tokens a step."""
        return Expectation(self, average)

    def sparse(self) -> list[bool]:
        """[terms] a step may hold no token of it."""
        return self.expectation("token").sparse(self.tokens)

    def denominators(self, average: str) -> list[float | None]:
        """[terms] what a step expects of each sparse term, in tokens, or with ``average: sequence`` in pieces of
        documents; None of the others, which divide by the step's own count."""
        return self.expectation(average)(self.tokens)

    def absent(
        self, row_lengths: Mapping[str, int], steps: int, seed: int, asked: Sequence[Mapping[str, float]] = ()
    ) -> list[float]:
        """[terms] part of the first ``LOOKED_AT`` steps that hold no token of it, by the first pass's rows.

        Args:
            asked: of these steps, where shares move: trained tokens by source. A step that asks for none is not absent.
        """
        if asked:
            return self._absent_while_moving(row_lengths, seed, asked)
        looked_at = min(steps, LOOKED_AT)
        held = np.zeros((len(self.selects), looked_at), dtype=bool)
        sparse = self.sparse()
        for name, corpus in self.corpora.items() if any(sparse) else ():
            packed = PackedSource(corpus, name, self.sequence_length, self.active, seed, row_length=row_lengths[name])
            rows = packed.rows(0)
            trained = rows.trained
            passes = -(-int(looked_at * self.tokens[name] + 1) // int(trained.sum()))
            before = np.cumsum(np.tile(trained, passes)) - np.tile(trained, passes)
            step = (before / self.tokens[name]).astype(np.int64)  # a row is dealt when its source is not ahead
            holds = np.tile(rows.holds, (passes, 1))[step < looked_at]
            for k, select in enumerate(self.selects):
                held[k, step[step < looked_at][holds[:, select[packed.routes]].any(1)]] = True
        return [float(1 - row.mean()) if can else 0.0 for row, can in zip(held, sparse, strict=True)]

    def _absent_while_moving(
        self, row_lengths: Mapping[str, int], seed: int, asked: Sequence[Mapping[str, float]]
    ) -> list[float]:
        held = np.zeros((len(self.selects), len(asked)), dtype=bool)
        wanted = np.zeros_like(held)
        expectation = self.expectation("token")
        sparse = [any(steps) for steps in zip(*(expectation.sparse(tokens) for tokens in asked), strict=True)]
        for name, corpus in self.corpora.items() if any(sparse) else ():
            packed = PackedSource(corpus, name, self.sequence_length, self.active, seed, row_length=row_lengths[name])
            rows, ends = packed.rows(0), np.cumsum([tokens[name] for tokens in asked])
            passes = -(-int(ends[-1] + 1) // int(rows.trained.sum()))
            trained, holds = np.tile(rows.trained, passes), np.tile(rows.holds, (passes, 1))
            step = np.searchsorted(ends, np.cumsum(trained) - trained, side="right")
            for k, select in enumerate(self.selects):
                reached = step[holds[:, select[packed.routes]].any(1)]
                held[k, reached[reached < len(asked)]] = True
                if self._trained(name, select):
                    wanted[k] |= np.diff(ends, prepend=0.0) > 0
        return [
            float(1 - (held[k] & wanted[k]).sum() / wanted[k].sum()) if sparse[k] and wanted[k].any() else 0.0
            for k in range(len(held))
        ]

    def _learned(self, name: str) -> list[int]:
        """Routes that some token of the source is learned under."""
        corpus = self.corpora[name]
        counts = corpus.route_counts(len(self.routes))
        return [int(r) for r in corpus.table if self.active[r] and counts[r] > 0]

    def _trained(self, name: str, select: NDArray[np.bool_]) -> int:
        return int(self.corpora[name].route_counts(len(self.routes))[select].sum())

    def _part(self, name: str, select: NDArray[np.bool_]) -> float:
        """Part of the source's trained tokens that the term sees."""
        return self._trained(name, select) / self._trained(name, self.active)

    def _density(self, name: str) -> float:
        """Trained tokens for each position of a row."""
        return self._trained(name, self.active) / int(np.maximum(self.corpora[name].lengths - 1, 0).sum())

    def _units(self, name: str, select: NDArray[np.bool_], average: str) -> float:
        """Tokens of the term, or pieces that hold some, for each trained token of the source."""
        if average == "token":
            return self._part(name, select)
        packed = PackedSource(self.corpora[name], name, self.sequence_length, self.active, seed=0)
        return int(packed.holds[:, select[packed.routes]].any(1).sum()) / packed.trained_tokens


class Expectation:
    """What a step expects of each term, as a function of the trained tokens that it asks for.

    Args:
        dealt: sources and terms.
        average: ``token`` or ``sequence``, whose unit it is in.
    """

    def __init__(self, dealt: Dealt, average: str) -> None:
        self._dealt = dealt
        counted = {r for name in dealt.counted for r in dealt._learned(name)}
        self._ends = [all(select[r] for r in counted) for select in dealt.selects]
        self._density = {name: dealt._density(name) for name in dealt.corpora}
        self._parts = [{name: dealt._part(name, select) for name in dealt.corpora} for select in dealt.selects]
        self._average = average
        self._units: dict[int, dict[str, float]] = {}

    def sparse(self, tokens: Mapping[str, float]) -> list[bool]:
        """[terms] a step of these tokens by source may hold none of it."""
        return [
            not ends
            and sum(part * tokens[name] / self._density[name] for name, part in parts.items())
            < SURE_ROWS * self._dealt.sequence_length * (1 - 1e-9)
            for ends, parts in zip(self._ends, self._parts, strict=True)
        ]

    def __call__(self, tokens: Mapping[str, float], row_lengths: Mapping[str, int] | None = None) -> list[float | None]:
        """[terms] the denominators of a step of these tokens by source; None where it is the step's own count.

        Args:
            row_lengths: of moving shares. No denominator is then less than what a row holds, or a mean step: where
                one asks for less, the term pulls in proportion, since otherwise a row would pull many times its weight.
        """
        found: list[float | None] = []
        for k, sparse in enumerate(self.sparse(tokens)):
            expected = self._expected(k, tokens) if sparse else None
            if expected is not None and row_lengths is not None:
                expected = max(expected, min(self._row(k, row_lengths), self._expected(k, self._dealt.tokens)))
            found.append(expected)
        return found

    def _expected(self, k: int, tokens: Mapping[str, float]) -> float:
        return sum(units * tokens[name] for name, units in self._of(k).items())

    def _row(self, k: int, row_lengths: Mapping[str, int]) -> float:
        return max(units * row_lengths[name] * self._density[name] for name, units in self._of(k).items())

    def _of(self, k: int) -> dict[str, float]:
        """By source, units of the term for each trained token."""
        if k not in self._units:
            dealt = self._dealt
            select = dealt.selects[k]
            self._units[k] = {name: dealt._units(name, select, self._average) for name in dealt.corpora}
        return self._units[k]
