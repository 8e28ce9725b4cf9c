"""Which labels of a micro-batch each loss term learns, found on the host: a device that is asked makes it wait."""

from __future__ import annotations

import torch
from torch import Tensor

from acclimate.types.batch import Assignment
from acclimate.types.central import IGNORE, Batch


def assign(by: object, batch: Batch, selects: Tensor, average: str) -> Assignment:
    """The labels of ``batch``, which is in main memory.

    Args:
        by: the objective, which knows its assignments again.
        selects: [K, R] bool, term k sees route r.
        average: ``token`` or ``sequence``.
    """
    units = torch.stack([shares(batch, selected, average) for selected in selects])  # [K, P]
    chosen, route = units > 0, batch.route.flatten()
    tokens = torch.zeros(selects.shape, dtype=torch.float64)
    for k, here in enumerate(chosen):
        tokens[k].index_add_(0, route, here.double())
    # Tokens with the same set of terms are chunked together: no chunk computes logits that a term drops, and a
    # reference's product has the student's shape, so that equal hidden states give exactly equal logits.
    pattern = (chosen.long() * (2 ** torch.arange(len(selects)))[:, None]).sum(0)  # [P]
    groups = []
    for signature in torch.unique(pattern).tolist():
        members = tuple(k for k in range(len(selects)) if signature >> k & 1)
        if members:
            groups.append((members, (pattern == signature).nonzero().squeeze(1)))
    return Assignment(by, units, tokens, tuple(groups))


def shares(batch: Batch, selected: Tensor, average: str) -> Tensor:
    """[P] float64: 1 for each learned label on a selected route; under sequence averaging one over those of its piece.

    Args:
        selected: [R] bool.
    """
    learned = ((batch.labels != IGNORE) & selected[batch.route]).double().flatten()
    if average == "token":
        return learned
    piece, count = pieces(batch)
    return learned / by_piece(piece, count, learned).clamp_min(1)[piece]


def pieces(batch: Batch) -> tuple[Tensor, int]:
    """[P] number of each position's piece, and how many there are: every piece of a document restarts at position 0."""
    piece = (batch.position_ids == 0).flatten().cumsum(0) - 1
    return piece, int(piece[-1]) + 1


def by_piece(piece: Tensor, count: int, values: Tensor) -> Tensor:
    """[pieces] sums of ``values`` [P]."""
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add_(0, piece, values)
