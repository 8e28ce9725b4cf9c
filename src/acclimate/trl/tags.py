"""The route of a label, carried in the label itself.

A trainer's packing, cutting, padding and collating keep labels as they are, and drop every other column. So a label of
the route r is written as ``id + (r + 1) 2^24`` on its way to the objective, whatever stands between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from acclimate.types.central import IGNORE, Route
from acclimate.types.errors import DataError, listed, nearest

TAG = 2**24
"""More than any vocabulary has; with it the labels of 126 routes fit in 32 bits."""
COLUMN = "route"
"""Of a data set: the name of the route or of the source of a row, or one name for each of its tokens."""


def tag_routes(dataset: Any, routes: Sequence[Route], column: str = COLUMN) -> Any:
    """A tokenised data set whose labels say which route they are of; the column itself is taken away.

    Args:
        dataset: of ``datasets``, with ``labels`` beside ``input_ids`` or, without them, every token learned.
        routes: of the objective.
        column: a route's or source's name a row, or a list of them, one a token.

    Raises:
        DataError: a row without the column, or with a name that the objective does not know.
    """
    known = numbered(routes)

    def tagged(row: Mapping[str, Any], number: int) -> dict[str, list[int]]:
        labels = row["labels"] if row.get("labels") is not None else row["input_ids"]
        return {"labels": tag(labels, row.get(column), known, f"row {number} of the data set")}

    columns = dataset.column_names
    if columns is not None and "input_ids" not in columns:
        raise DataError(f"The data set has no 'input_ids'; tokenise it first. Its columns: {listed(columns)}.")
    return dataset.map(tagged, with_indices=True, remove_columns=[column])


def numbered(routes: Sequence[Route]) -> dict[str, int]:
    """Route and source names -> place in the table; a source's name goes before a route's.

    >>> numbered([Route("wiki", "general"), Route("medical", "domain")])
    {'general': 0, 'domain': 1, 'wiki': 0, 'medical': 1}
    """
    by_name = {route.name: number for number, route in reversed(list(enumerate(routes)))}
    return dict(reversed(by_name.items())) | {route.source: number for number, route in enumerate(routes)}


def tag(labels: Sequence[int], names: str | Sequence[str] | None, known: Mapping[str, int], where: str) -> list[int]:
    """
    >>> tag([-100, 7], "general", {"domain": 0, "general": 1}, "row 0")
    [-100, 33554439]
    """
    if names is None or (not isinstance(names, str) and len(names) != len(labels)):
        told = "nothing" if names is None else f"{len(names)} names for {len(labels)} tokens"
        raise DataError(f"{where}: '{COLUMN}' holds {told}; accepted: one of {listed(known)}, or one for each token.")
    each = [names] * len(labels) if isinstance(names, str) else names
    if wrong := next((name for name in each if name not in known), None):
        raise DataError(
            f"{where}: the route '{wrong}' is none of the objective's; accepted: {listed(known)}."
            f"{nearest(wrong, known)}"
        )
    return [
        label if label == IGNORE else label % TAG + TAG * (known[name] + 1)
        for label, name in zip(labels, each, strict=True)
    ]


def untag(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Labels as the tokenizer knows them, and the route of each; -1 where a learned label names none."""
    learned = labels != IGNORE
    route = torch.where(learned, torch.div(labels, TAG, rounding_mode="floor") - 1, 0)
    return torch.where(learned, labels.remainder(TAG), IGNORE), route
