"""Rows that hold a context once and all choices after it, each of which sees the context and itself alone.

positions  0 1 2 3 4 | 5 6 | 5 6 7        row = context, choice 1, choice 2, without the last token of each
sees       causal    | context, choice 1  | context, choice 2
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acclimate.measurement.panel.encode import Encoded
from acclimate.types.errors import DataError

PADDING = -1
ALIKE = 0.85
"""Of the longest row of a batch: a shorter one is much shorter."""


@dataclass(frozen=True)
class Row:
    """Some choices of one item after their context. ``first`` is the number of the first of them in the set."""

    context: list[int]
    choices: list[list[int]]
    first: int
    truncated: bool = False

    @property
    def length(self) -> int:
        return len(self.context) + sum(len(choice) - 1 for choice in self.choices)


@dataclass(frozen=True)
class Rows:
    """A batch, [B, T], and what is read of it: P positions, and Q tokens (position, label, choice)."""

    input_ids: Tensor  # [B, T]
    position_ids: Tensor  # [B, T]
    branch: Tensor  # [B, T] 0 in the context, then the number of the choice in its row; PADDING
    reads: Tensor  # [P] flat positions whose next token is read
    at: Tensor  # [Q] index into reads, of each token of each choice
    labels: Tensor  # [Q]
    choice: Tensor  # [Q] number of the choice in the set

    def mask(self, dtype: torch.dtype) -> Tensor | None:
        """[B, 1, T, T], 0 where row i may attend to column j and the lowest number elsewhere.

        None where rows hold one choice each: plain causal attention, or a sliding window's, is right for them.
        """
        if self.branch.max() <= 1:
            return None
        branch, length = self.branch, self.branch.shape[1]
        sees = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
        sees &= torch.ones(length, length, dtype=torch.bool).tril() & (branch[:, None, :] != PADDING)
        sees |= torch.eye(length, dtype=torch.bool)  # padding sees itself: a row of nothing would be NaN
        return torch.zeros(sees.shape, dtype=dtype).masked_fill_(~sees, torch.finfo(dtype).min)[:, None]


def rows_of(items: Sequence[Encoded], positions: int, shared: int) -> list[Row]:
    """One row an item, or one row a choice.

    Args:
        positions: that the model has. Where a context and a choice need more, the context loses its beginning, for
            each choice as much as it must, as in lm-eval.
        shared: longest context and choice that may share a row; 0 for none.

    Raises:
        DataError: a choice that is longer than the model's positions.
    """
    rows, first = [], 0
    for item in items:
        longest = max(map(len, item.choices))
        if longest > positions:
            raise DataError(
                f"{item.where}: a choice has {longest} tokens, the model {positions} positions; leave this item out."
            )
        if len(item.context) + longest - 1 <= min(positions, shared):
            rows.append(Row(item.context, item.choices, first))
        else:
            for number, choice in enumerate(item.choices, first):
                room = positions + 1 - len(choice)
                rows.append(Row(item.context[-room:], [choice], number, len(item.context) > room))
        first += len(item.choices)
    return rows


def batches(rows: Sequence[Row], tokens: int) -> Iterator[list[Row]]:
    """Rows of like length together, longest first, at most ``tokens`` with their padding; shared ones apart.

    From an eighth of that on, a row that is much shorter than the first begins a batch of its own: of short questions,
    half of the forward would be padding otherwise.
    """
    for shared in (True, False):
        kind = [row for row in rows if (len(row.choices) > 1) == shared]
        ordered = sorted(kind, key=lambda row: -row.length)
        begin = 0
        while begin < len(ordered):
            longest = ordered[begin].length
            most = begin + max(1, tokens // longest)
            end = min(most, begin + max(1, tokens // 8 // longest))
            while end < min(most, len(ordered)) and ordered[end].length >= ALIKE * longest:
                end += 1
            yield ordered[begin:end]
            begin = end


def build(rows: Sequence[Row]) -> Rows:
    """Rows as tensors, padded to the longest."""
    shape = (len(rows), max(row.length for row in rows))
    input_ids, branch = torch.zeros(shape, dtype=torch.int64), torch.full(shape, PADDING)
    position_ids = torch.arange(shape[1]).repeat(shape[0], 1)
    reads: list[int] = []
    tokens: list[tuple[int, int, int]] = []
    for b, row in enumerate(rows):
        start, at = len(row.context), len(row.context)
        input_ids[b, :start], branch[b, :start] = torch.tensor(row.context), 0
        shared = len(reads)
        reads.append(b * shape[1] + start - 1)
        for number, choice in enumerate(row.choices):
            end = at + len(choice) - 1
            input_ids[b, at:end] = torch.tensor(choice[:-1], dtype=torch.int64)
            branch[b, at:end] = number + 1
            position_ids[b, at:end] = torch.arange(start, start + len(choice) - 1)
            places = [shared, *range(len(reads), len(reads) + len(choice) - 1)]
            reads.extend(range(b * shape[1] + at, b * shape[1] + end))
            tokens.extend((place, label, row.first + number) for place, label in zip(places, choice, strict=True))
            at = end
        if len(row.choices) > 1:  # padding, which sees itself alone, stays within the model's positions
            position_ids[b, at:] = 0
    place, labels, choices = torch.tensor(tokens).unbind(1)
    return Rows(input_ids, position_ids, branch, torch.tensor(reads), place, labels, choices)
