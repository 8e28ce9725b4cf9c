"""Rows that are made from the current weights, when a step is asked for.

The loader runs ahead of the training, so it cannot make them: they are asked for in the main thread, beside the rows of
a step that are there already, and their tokens are counted when they are made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from acclimate.data.deal.pack import PackedSource, Row
from acclimate.data.deal.passes import RowSource
from acclimate.data.deal.shares import Shares
from acclimate.data.prepare.routes import NOT_LEARNED
from acclimate.data.prepare.tokens import TokenCorpus
from acclimate.types.errors import DataError

T = TypeVar("T")
EMPTY = 1000
"""Documents in a row of which nothing is learned until a live source is given up."""


class Ranks(Protocol):
    """The processes that train together, of which a live source needs to know."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def gather(self, value: T) -> list[T]: ...

    def all_or_none(self) -> AbstractContextManager[None]: ...


class Live:
    """The live sources of a mixture. Beside every step they give rows until none is below its quota of the tokens, in
    all, to which the step's other rows belong: so a count is within one row of its quota, as that of any source.

    Args:
        sources: may be none.
        shares: of all sources.
        others: the sources that are not live.
    """

    def __init__(self, sources: Mapping[str, RowSource], shares: Shares, others: Iterable[str]) -> None:
        self.sources, self.shares, self._others = dict(sources), shares, tuple(others)
        self.trained = dict.fromkeys(sources, 0)

    def __bool__(self) -> bool:
        return bool(self.sources)

    def total(self, given: int) -> float:
        """Tokens of all sources to which so many of the others belong."""
        return self.shares.reached(given, *self._others) if self else given

    def others_until(self, tokens: float, count: str) -> float:
        """Tokens of the others when so many of ``count``, a live source or ``all``, are given out."""
        total = tokens if count == "all" else self.shares.reached(tokens, count)
        return self.shares.quota(total, *self._others)

    def rows(self, given: int) -> list[Row]:
        """Beside a step with which the others have given so many tokens; every rank gets the same rows."""
        rows = []
        total = self.total(given) * (1 - 1e-12)
        for name, source in self.sources.items():
            while self.trained[name] < self.shares.quota(total, name):
                rows.append(source.next_row())
                self.trained[name] += rows[-1].trained
            source.close()  # what was made and not taken is of these weights, and the next step has others
        return rows

    def progress(self) -> dict[str, float]:
        return {f"trained_tokens/{name}": float(count) for name, count in self.trained.items()}

    def state_dict(self) -> dict[str, Any]:
        return {name: source.state_dict() | {"trained": self.trained[name]} for name, source in self.sources.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, source in self.sources.items():
            source.load_state_dict(state[name])
            self.trained[name] = state[name]["trained"]


class Written(NamedTuple):
    """A document as tokens."""

    ids: Sequence[int]
    learned: Sequence[bool]  # [n] of each token; the first is no label


class LiveRows:
    """Documents that a model writes, a row each. Document n does not depend on how many ranks write.

    Args:
        name: of the source.
        write: the documents of these numbers, in their order, by the weights as they are now. Every rank calls it
            equally often, each for its own numbers.
        sequence_length: most positions of a row [tokens].
        route: index in the run's route table, under which all is learned.
        ranks: those that write.
        first_document_id: id of document 0 in the run.
        together: documents for which a rank is asked at once; those that a step has no room for are dropped.
    """

    live = True
    epochs = 0.0  # no document comes twice

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[int]], Sequence[Written]],
        sequence_length: int,
        route: int,
        ranks: Ranks,
        first_document_id: int = 0,
        together: int = 1,
    ) -> None:
        self.name, self.sequence_length, self.longest = name, sequence_length, sequence_length
        self._write, self._ranks, self._together = write, ranks, together
        self._route, self._first = route, first_document_id
        self._number = 0  # of the next document
        self._made: deque[Row | None] = deque()

    def next_row(self) -> Row:
        """The next document from which something is learned.

        Raises:
            DataError: of many documents not one is, or one is too long.
        """
        for _ in range(EMPTY):
            if not self._made:
                self._make()
            self._number += 1
            if (row := self._made.popleft()) is not None:
                return row
        raise DataError(f"Source '{self.name}' wrote {EMPTY} documents of which nothing is learned.")

    def state_dict(self) -> dict[str, Any]:
        return {"number": self._number}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.close()
        self._number = state["number"]

    def close(self) -> None:
        """Drops what was made and not taken."""
        self._made.clear()

    def _make(self) -> None:
        size, count = self._ranks.size, self._ranks.size * self._together
        with self._ranks.all_or_none():
            written = list(self._write(range(self._number + self._ranks.rank, self._number + count, size)))
        parts = self._ranks.gather(written)
        self._made.extend(self._row(self._number + i, parts[i % size][i // size]) for i in range(count))

    def _row(self, number: int, written: Written) -> Row | None:
        ids, learned = np.asarray(written.ids, dtype=np.int32), np.asarray(written.learned, dtype=bool)
        if len(ids) - 1 > self.sequence_length:
            raise DataError(
                f"Source '{self.name}' wrote a document of {len(ids)} tokens, but a row holds {self.sequence_length} "
                "and the last label; let it write shorter ones."
            )
        corpus = TokenCorpus(
            ids=ids,
            routes=np.where(learned, 0, NOT_LEARNED).astype(np.int16),
            token_bytes=np.zeros_like(ids),
            bounds=np.array([[0, len(ids)]]),
            labels=np.array([[learned[1:].sum()]], dtype=np.int32),
            where=[f"document {number} of source '{self.name}'"],
            table=np.array([self._route]),
        )
        active = np.arange(self._route + 1) == self._route
        rows = PackedSource(corpus, self.name, self.sequence_length, active, 0, self._first + number).rows_in_order()
        return rows[0] if len(rows) else None
