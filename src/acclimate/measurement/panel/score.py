"""Log-likelihoods of choices, by model and base in the same pass, and how far the two are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from acclimate.kernels.attention import PACKED_SDPA
from acclimate.kernels.chunked import by_blocks
from acclimate.kernels.projection import Projection
from acclimate.kernels.varlen import PACKED_VARLEN
from acclimate.measurement.panel.encode import Encoded
from acclimate.measurement.panel.rows import Rows, batches, build, rows_of
from acclimate.model.causal import CausalModel
from acclimate.model.reference import Reference
from acclimate.objective.divergence import entropy, forward_kl, reverse_kl
from acclimate.paired.metrics import DRIFT, REVERSE_DRIFT

CHUNK_TOKENS = 512
BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Tokens of one forward, padding included."""
MASKS = ("sdpa", "eager", PACKED_SDPA, PACKED_VARLEN)
"""Kinds of attention that take a mask of any form."""
PROBE_ERROR = {torch.float32: 1e-3, torch.float64: 1e-9}


@dataclass(frozen=True)
class ChoiceScores:
    """Of all C choices of a set, in the order of its items; drift is of their tokens, summed."""

    tokens: NDArray[np.int64]  # [C]
    truncated: NDArray[np.bool_]  # [C] whether the context lost its beginning
    nats: NDArray[np.float64]  # [2, C] log-likelihood by model and by base, 0 or below
    greedy: NDArray[np.bool_]  # [2, C] whether each token is the likeliest one
    drift: NDArray[np.float64]  # [5, C] the sums that DRIFT_COLUMNS names; 0 for a choice that is not the right one


DRIFT_COLUMNS = (DRIFT, REVERSE_DRIFT, "agree", "entropy", "base_entropy")


def score_choices(model: CausalModel, base: Reference, items: Sequence[Encoded]) -> ChoiceScores:
    """Scores every choice of every item.

    ``log p(choice | context) = sum_t log p(choice_t | context, choice_<t)``. A context is run once for all choices of
    its item where the network takes a mask of any form, and the head only where a token is read.
    """
    counts = [len(item.choices) for item in items]
    right = np.cumsum(counts) - counts + np.array([item.right for item in items])
    tokens = np.array([len(choice) for item in items for choice in item.choices])
    sums = torch.zeros(9, len(tokens), dtype=torch.float64)  # nats, misses of model; of base; drift
    is_right = torch.zeros(len(tokens), dtype=torch.bool)
    is_right[torch.from_numpy(right)] = True
    with model.inference():
        with base.generator() as base_model:
            shared = min(longest_shared(model), longest_shared(base_model))
        dtype = torch.promote_types(model.dtype, torch.float32)
        heads = Projection(model.head, dtype), Projection(base.head, dtype)
        rooms = [head.buffer(CHUNK_TOKENS) for head in heads]
        rows = rows_of(items, min(model.positions, base.model.positions), shared)
        for part in batches(rows, BATCH_TOKENS.get(model.device.type, BATCH_TOKENS["cpu"])):
            batch = build(part)
            hidden = _hidden(model, batch)
            with base.generator() as base_model:
                base_hidden = _hidden(base_model, batch)
            for begin in range(0, len(batch.reads), CHUNK_TOKENS):
                chunk = slice(begin, begin + CHUNK_TOKENS)
                states = hidden[chunk], base_hidden[chunk]
                logits = [head.logits(s, room) for head, s, room in zip(heads, states, rooms, strict=True)]
                here = (batch.at >= begin) & (batch.at < begin + CHUNK_TOKENS)
                choice = batch.choice[here]
                sums.index_add_(
                    1,
                    choice,
                    _per_token(logits[0], logits[1], batch.at[here] - begin, batch.labels[here], is_right[choice]),
                )
    truncated = np.zeros(len(tokens), dtype=bool)
    for row in rows:
        truncated[row.first : row.first + len(row.choices)] = row.truncated
    columns = sums.numpy()
    return ChoiceScores(tokens, truncated, columns[[0, 2]], columns[[1, 3]] == 0, columns[4:])


def _per_token(logits: Tensor, base_logits: Tensor, at: Tensor, labels: Tensor, right: Tensor) -> Tensor:
    """[9, Q]: log-likelihood and miss of each token by model, by base, then drift of the tokens that are ``right`` [Q].

    ``logits`` [n, V] at the rows ``at`` [Q]. Drift walks over the vocabulary many times, so other rows are left out.
    """
    at, labels, right = (tensor.to(logits.device) for tensor in (at, labels, right))
    found = torch.zeros(9, len(at), dtype=torch.float64)
    for column, side in ((0, logits), (2, base_logits)):
        total, top = by_blocks(_total_and_top, side)
        found[column] = (side[at, labels] - total[at]).cpu()
        found[column + 1] = (top[at] != labels).double().cpu()
    rows, place = torch.unique(at[right], return_inverse=True)
    found[4:, right.cpu()] = by_blocks(_drift, logits[rows], base_logits[rows])[:, place].cpu()
    return found


def _total_and_top(logits: Tensor) -> Tensor:
    """[2, m]: the log of the summed exponentials, and the likeliest token, of logits [m, V]."""
    return torch.stack([logits.logsumexp(-1).double(), logits.argmax(-1).double()])


def _drift(logits: Tensor, base_logits: Tensor) -> Tensor:
    """[5, m]: what DRIFT_COLUMNS names, of logits [m, V]."""
    tuned, base = logits.log_softmax(-1), base_logits.log_softmax(-1)
    agree = tuned.argmax(-1) == base.argmax(-1)
    columns = (forward_kl(tuned, base), reverse_kl(tuned, base), agree, entropy(tuned), entropy(base))
    return torch.stack([column.double() for column in columns])


def longest_shared(model: CausalModel) -> int:
    """Positions up to which choices may share a row: 0 where attention takes no mask of ours or documents need rows of
    their own, a sliding window's length, or no limit. Call in inference mode."""
    config = model.network.config.get_text_config()
    masked = model.alone is None and model.network.config._attn_implementation in MASKS
    if not masked or not _obeys_masks(model):
        return 0
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return int(window or 2**20)


def _obeys_masks(model: CausalModel) -> bool:
    """Whether two choices after one context come out as each by itself does; a family may make its own masks."""
    item = [Encoded([1, 2, 3, 4, 5], [[6, 7, 8, 9], [10, 11, 12, 13]], 0, "probe")]
    together, apart = (build(rows_of(item, 100, shared)) for shared in (100, 0))
    one, two = _hidden(model, together), _hidden(model, apart)
    error = (one[together.at] - two[apart.at]).norm() / two[apart.at].norm()
    return bool(error < PROBE_ERROR.get(model.dtype, 0.05))


def _hidden(model: CausalModel, batch: Rows) -> Tensor:
    """[P, D] hidden states where tokens are read."""
    mask = batch.mask(model.dtype)
    hidden = model.rows(
        batch.input_ids.to(model.device),
        batch.position_ids.to(model.device),
        None if mask is None else mask.to(model.device),
    )
    return hidden.flatten(0, 1)[batch.reads.to(model.device)]
