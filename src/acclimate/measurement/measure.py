"""Per-document sums over held-out rows: nats and bytes of the model, and its divergence from the base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from acclimate.kernels.chunked import by_blocks
from acclimate.kernels.head import Head
from acclimate.kernels.projection import Projection
from acclimate.model.causal import CausalModel
from acclimate.objective.divergence import entropy, forward_kl, reverse_kl
from acclimate.paired.metrics import DRIFT, REVERSE_DRIFT
from acclimate.parallel.shard import release
from acclimate.parallel.world import SOLO, World, in_turns
from acclimate.types.central import IGNORE, PLACE, Batch

CHUNK_TOKENS = 512
POSITIONS = (0, 16, 64, 256)
"""First position of each bucket of drift: a token's place in its document, wherever that is cut."""
DRIFT_COLUMNS = ("tokens", DRIFT, REVERSE_DRIFT, "agree", "entropy_change")


@dataclass(frozen=True)
class Scores:
    """One row a held-out document; sums over its tokens, so that any subset of documents can be aggregated.

    Drift columns are None when no base was given. Special tokens count towards drift, not towards bits per byte.
    """

    document: np.ndarray  # [M] int64, document ids
    nats: np.ndarray  # [M] float64, of the text tokens
    bytes: np.ndarray  # [M] float64, UTF-8 bytes of those tokens
    tokens: np.ndarray  # [M] float64, scored labels, special tokens included
    kl_base_tuned: np.ndarray | None = None  # [M] nats
    kl_tuned_base: np.ndarray | None = None  # [M] nats
    agree: np.ndarray | None = None  # [M] tokens whose most likely next token is the base's
    entropy_change: np.ndarray | None = None  # [M] nats, entropy of the model less the base's
    positions: np.ndarray | None = None  # [5, M, 4] the sums that DRIFT_COLUMNS names, by bucket of POSITIONS

    def columns(self, base: Scores | None) -> dict[str, np.ndarray]:
        """What is known of each document, [M] each, with the base's nats beside the model's own."""
        known = {name: value for name, value in vars(self).items() if value is not None and value.ndim == 1}
        return known | ({"base_nats": base.nats} if base is not None else {})


class Compared(Protocol):
    """What is measured against: a :class:`~acclimate.model.reference.Reference`, or what was kept of one."""

    @property
    def model(self) -> CausalModel: ...

    @property
    def head(self) -> Head:
        """Asked for after :meth:`hidden`, by all ranks."""
        ...

    def hidden(self, batch: Batch) -> Tensor:
        """[B, T, D], without gradient."""
        ...


def measure(
    model: CausalModel,
    base: Compared | None,
    batches: Sequence[tuple[Batch, Tensor]],
    special_ids: Sequence[int],
    world: World = SOLO,
    tick: Callable[[], None] = lambda: None,
) -> tuple[Scores, Scores | None]:
    """Scores held-out rows with the model, and with the base in the same pass.

    Args:
        batches: (batch, bytes of each label token [B, T]) pairs.
        special_ids: token ids that are no text; they are left out of bits per byte.
        world: its ranks share the batches; each gets all scores.
        tick: called after each batch of this rank.

    Returns:
        Scores of the model, with drift columns if there is a base, and the base's own scores; by document, in
        ascending document id.
    """
    documents = torch.unique(torch.cat([batch.document[batch.labels != IGNORE] for batch, _ in batches]))
    columns = torch.zeros(8, len(documents), dtype=torch.float64)
    by_position = torch.zeros(len(DRIFT_COLUMNS), len(documents) * len(POSITIONS), dtype=torch.float64)
    special = torch.tensor(sorted(special_ids), dtype=torch.int64)
    with model.inference():
        dtype = torch.promote_types(model.dtype, torch.float32)
        head, base_head, room, base_room = None, None, None, None
        for own in in_turns(world, range(world.rank, len(batches), world.size)):
            batch, token_bytes = batches[own or 0]  # a rank that has no more helps the others to gather weights
            moved = batch.to(model.device)
            hidden = model(moved).flatten(0, 1)
            base_hidden = base.hidden(moved).flatten(0, 1) if base is not None else None
            if head is None:  # after a forward, when its weights are whole
                head = Projection(model.head, dtype)
                room = head.buffer(CHUNK_TOKENS)
                if base is not None:
                    base_head = Projection(base.head, dtype)
                    base_room = base_head.buffer(CHUNK_TOKENS)
            if own is None:
                continue
            labels = batch.labels.flatten()
            positions = (labels != IGNORE).nonzero().squeeze(1)
            rows = torch.searchsorted(documents, batch.document.flatten()[positions])
            text = ~torch.isin(labels[positions], special)
            per_token = torch.zeros(8, len(positions), dtype=torch.float64)
            per_token[1] = token_bytes.flatten()[positions] * text
            per_token[2] = 1
            for part in torch.split(torch.arange(len(positions)), CHUNK_TOKENS):
                here = positions[part].to(model.device)
                label = moved.labels.flatten()[here, None]
                tuned = head.logits(hidden[here], room)  # [n, V]
                if base_hidden is None or base_head is None:
                    per_token[0, part] = by_blocks(_nats, tuned, label).cpu()[0] * text[part]
                    continue
                found = by_blocks(_nats_and_drift, tuned, base_head.logits(base_hidden[here], base_room), label).cpu()
                per_token[0, part] = found[0] * text[part]
                per_token[3:6, part] = found[1:4]
                per_token[6, part] = found[4] * text[part]
                per_token[7, part] = found[5]
            columns.index_add_(1, rows, per_token)
            place = (batch.columns[PLACE] if PLACE in batch.columns else batch.position_ids + 1).flatten()[positions]
            bucket = torch.bucketize(place, torch.tensor(POSITIONS[1:]), right=True)
            by_position.index_add_(1, rows * len(POSITIONS) + bucket, per_token[[2, 3, 4, 5, 7]])
            tick()
        for used in (model, *([base.model] if base is not None else [])):
            release(used)
    world.sum(columns)
    world.sum(by_position)
    nats, size, tokens, forward, reverse, agree, base_nats, change = columns.numpy()
    if base is None:
        return Scores(documents.numpy(), nats, size, tokens), None
    before = Scores(documents.numpy(), base_nats, size, tokens)
    places = by_position.view(len(DRIFT_COLUMNS), -1, len(POSITIONS)).numpy()
    return Scores(documents.numpy(), nats, size, tokens, forward, reverse, agree, change, places), before


def _nats(logits: Tensor, label: Tensor) -> Tensor:
    """[1, m] of logits [m, V] and labels [m, 1]."""
    return -logits.log_softmax(-1).gather(1, label).T.double()


def _nats_and_drift(logits: Tensor, base_logits: Tensor, label: Tensor) -> Tensor:
    """[6, m]: nats, KL(base || tuned), KL(tuned || base), agreement, the base's nats, change of entropy."""
    tuned, base = logits.log_softmax(-1), base_logits.log_softmax(-1)
    columns = (
        -tuned.gather(1, label).squeeze(1),
        forward_kl(tuned, base),
        reverse_kl(tuned, base),
        tuned.argmax(-1) == base.argmax(-1),
        -base.gather(1, label).squeeze(1),
        entropy(tuned) - entropy(base),
    )
    return torch.stack([column.double() for column in columns])
