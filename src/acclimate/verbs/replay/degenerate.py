"""Rows that are no text. Only they and duplicates are left out, since an anchor wants what the base writes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

PERIOD = 64
"""Tokens of the longest passage that is looked for again and again."""
REPEATS = 4
"""Times that a passage stands in a loop."""
SHORTEST = 32
"""Tokens of the shortest loop: shorter ones are rulers, refrains, digits."""
EMPTY, LOOP, SPECIAL, BROKEN = "empty", "a loop", "a special token inside", "bytes that are no text"
NO_END, REFUSED, LONG = "the user's turn did not end", "the template refuses the question", "the prompt is too long"
EQUAL, NEAR = "equal to another row", "near another row"


def loops(ids: Sequence[int]) -> bool:
    """Whether some passage of up to ``PERIOD`` tokens follows itself ``REPEATS`` times.

    >>> loops([1, 2, 3] * 20), loops(list(range(60))), loops([7] * 20)
    (True, False, False)
    """
    tokens = np.asarray(ids)
    for period in range(1, min(PERIOD, len(tokens) // REPEATS) + 1):
        wanted = max(SHORTEST, REPEATS * period) - period
        same = np.concatenate([[False], tokens[period:] == tokens[:-period], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        if len(edges) and int((edges[1::2] - edges[::2]).max()) >= wanted:
            return True
    return False


def why_degenerate(ids: Sequence[int], said: str | None, special: Collection[int]) -> str | None:
    """Why a row is left out by itself; None where it stays.

    Args:
        ids: what was written, without the token that ended it.
        said: the same as text; None where it is none.
        special: tokens that are no text.
    """
    if any(token in special for token in ids):
        return SPECIAL
    if said is None or "\N{REPLACEMENT CHARACTER}" in said:
        return BROKEN
    if not said.strip():
        return EMPTY
    return LOOP if loops(ids) else None
