"""What a trainer's collator gives -> the batch that the objective reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from acclimate.trl.tags import COLUMN, untag
from acclimate.types.central import IGNORE, PAD_DOCUMENT, Batch, Route
from acclimate.types.errors import DataError, listed

OWN = ("input_ids", "labels", "position_ids", "document", "route")
"""Columns of rows that are packed by acclimate, with labels that are shifted already."""
BEYOND_TEXT = ("pixel_values", "inputs_embeds", "input_features", "image_grid_thw", "token_type_ids", "shift_labels")


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """A trainer's ``data_collator`` for rows with the columns of :class:`~acclimate.types.central.Batch`, padded to the
    longest; ``remove_unused_columns=False`` keeps them.

    >>> row = {"input_ids": [5, 6], "labels": [6, 7], "position_ids": [0, 1], "document": [3, 3], "route": [0, 0]}
    >>> collate([row, {name: values[:1] for name, values in row.items()}])["document"]
    tensor([[ 3,  3],
            [ 3, -1]])
    """
    padding = {"labels": IGNORE, "document": PAD_DOCUMENT}
    found = {}
    for name in OWN:
        if any(name not in row for row in rows):
            raise DataError(f"collate: a row has no '{name}'; its columns: {listed(sorted(rows[0]))}.")
        columns = [torch.as_tensor(row[name]) for row in rows]
        padded = torch.nn.utils.rnn.pad_sequence(columns, batch_first=True, padding_value=padding.get(name, 0))
        if name == "position_ids":  # padding is a document of its own
            for row, column in zip(padded, columns, strict=True):
                row[len(column) :] = torch.arange(len(row) - len(column))
        found[name] = padded
    return found


def batch_of(inputs: Mapping[str, Any], routes: Sequence[Route], limit: int) -> Batch:
    """
    Args:
        inputs: ``input_ids`` and ``labels`` [B, T], not shifted, whose routes are in the labels or in ``route`` ([B] or
            [B, T]); documents are told apart by ``position_ids`` or by the numbers of ``attention_mask``, and without
            both a row is one. Or the columns of a batch of ours, which is taken as it is.
        routes: of the objective.
        limit: positions of a row; one that is longer, as without padding, is cut between its documents.

    Raises:
        DataError: what cannot be read off it: documents, labels, routes.
    """
    if all(name in inputs for name in OWN):
        return Batch(**{name: inputs[name] for name in OWN})
    if beyond := next((name for name in BEYOND_TEXT if inputs.get(name) is not None), None):
        raise DataError(f"The batch holds '{beyond}', and the objective reads token ids alone; leave it out.")
    if (given := inputs.get("labels")) is None:
        raise DataError(
            f"The batch has no 'labels', so nothing says what is learned; it has {listed(sorted(inputs))}. A data set "
            "with a column 'labels' and a collator that keeps it are accepted."
        )
    labels, route = untag(given)
    if (column := inputs.get(COLUMN)) is not None:
        route = column[:, None].expand_as(labels) if column.dim() == 1 else column
    if (unknown := (labels != IGNORE) & ((route < 0) | (route >= len(routes)))).any():
        raise DataError(
            f"{int(unknown.sum())} of {int((labels != IGNORE).sum())} learned labels of a batch name no route of the "
            f"objective ({listed(route.name for route in routes)}). Give each row of the data set a column "
            f"'{COLUMN}', and use a collator that keeps labels: DataCollatorForLanguageModeling of transformers makes "
            "its own of the input, DataCollatorForSeq2Seq and those of TRL keep them."
        )
    position_ids, document = _documents(inputs)
    shifted, routed = torch.full_like(labels, IGNORE), torch.zeros_like(labels)
    inside = (document[:, 1:] == document[:, :-1]) & (document[:, 1:] != PAD_DOCUMENT)
    shifted[:, :-1] = torch.where(inside, labels[:, 1:], IGNORE)
    routed[:, :-1] = torch.where(shifted[:, :-1] != IGNORE, route[:, 1:], 0)
    batch = Batch(inputs["input_ids"], shifted, position_ids, document, routed)
    return in_rows(batch, limit) if len(shifted) == 1 and shifted.shape[1] > limit else batch


def _documents(inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Positions that restart at 0 at each document, and the number of each document, [B, T]."""
    ids, mask, positions = (inputs.get(name) for name in ("input_ids", "attention_mask", "position_ids"))
    assert ids is not None
    for name, given in (("attention_mask", mask), ("position_ids", positions)):
        if given is not None and (given.dim() != 2 or given.shape != ids.shape):
            raise DataError(
                f"The batch's {name} has the shape {tuple(given.shape)}, from which documents cannot be told apart; "
                f"accepted: {tuple(ids.shape)}, as input_ids."
            )
    starts = torch.zeros_like(ids, dtype=torch.bool)
    starts[:, 0] = True
    if mask is not None:
        starts[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    if positions is not None:
        starts[:, 1:] |= positions[:, 1:] != positions[:, :-1] + 1
    places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    own = places - torch.where(starts, places, 0).cummax(1).values
    document = (starts.flatten().cumsum(0) - 1).view_as(ids)
    return own, document if mask is None else torch.where(mask > 0, document, PAD_DOCUMENT)


def in_rows(batch: Batch, limit: int) -> Batch:
    """One long row -> rows of at most ``limit`` positions, or of one longer document, in the same order."""
    starts = (batch.position_ids[0] == 0).nonzero().squeeze(1).tolist()
    rows = list(_filled(starts, batch.input_ids.shape[1], limit))
    width = max(end - begin for begin, end in rows)
    empty = {"labels": IGNORE, "document": PAD_DOCUMENT}
    found = {}
    for name in OWN:
        row = getattr(batch, name)[0]
        shaped = row.new_full((len(rows), width), empty.get(name, 0))
        for b, (begin, end) in enumerate(rows):
            shaped[b, : end - begin] = row[begin:end]
            if name == "position_ids":
                shaped[b, end - begin :] = torch.arange(width - end + begin, device=row.device)
        found[name] = shaped
    return Batch(**found)


def _filled(starts: Sequence[int], length: int, limit: int) -> Iterator[tuple[int, int]]:
    """First and last position of rows that consecutive documents fill.

    >>> list(_filled([0, 3, 5, 9], 10, 5))
    [(0, 5), (5, 10)]
    """
    begin = 0
    for start, end in zip(starts, [*starts[1:], length], strict=True):
        if end - begin > limit and start > begin:
            yield begin, start
            begin = start
    yield begin, length
