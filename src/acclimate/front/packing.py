"""Token ids of one's own as packed micro-batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from acclimate.data.deal.pack import PackedSource, build_batch
from acclimate.data.prepare.routes import NOT_LEARNED
from acclimate.data.prepare.tokens import TokenCorpus
from acclimate.types.central import IGNORE, METHOD_ROUTES, Batch
from acclimate.types.errors import UsageError, listed, nearest

Tokens = Sequence[int]


def pack(
    documents: Sequence[Tokens | Mapping[str, Any]],
    *,
    route: str = "domain",
    length: int = 512,
    rows: int = 8,
    routes: Sequence[str] = METHOD_ROUTES,
    pad_id: int = 0,
) -> list[Batch]:
    """Documents that are tokens already, as micro-batches of packed rows; nothing is shuffled or left out.

    A document longer than a row is cut into pieces, and each of its tokens but the first is learned once.

    Args:
        documents: token ids of each; or ``{"input_ids": ..., "labels": ...}`` as Hugging Face has them, where a label
            of -100 is context that is not learned.
        route: whose loss terms their tokens get.
        length: most positions in a row.
        rows: most rows in a micro-batch.
        routes: the table that ``Batch.route`` points into, that of ``Objective(routes=...)``.
        pad_id: input at padding.

    Raises:
        UsageError: nothing to learn, an unknown route, or labels that are other tokens than the inputs.

    >>> batch, = pack([[5, 6, 7], [8, 9]], route="general", length=8)
    >>> batch.input_ids.tolist(), batch.labels.tolist(), batch.route.tolist()
    ([[5, 6, 8]], [[6, 7, 9]], [[1, 1, 1]])
    """
    names = list(routes)
    if route not in names:
        raise UsageError(f"pack: the route is '{route}'; accepted: {listed(names)}.{nearest(route, names)}")
    for name, value in (("length", length), ("rows", rows)):
        if value < 1:
            raise UsageError(f"pack: {name} is {value}; accepted: 1 or more.")
    read = [_read(number, document) for number, document in enumerate(documents)]
    if not any(learned[1:].any() for _, learned in read):
        raise UsageError("pack: no token is learned; a document needs two tokens, the second of which has a label.")
    sizes = np.array([len(ids) for ids, _ in read], dtype=np.int64)
    ends = np.cumsum(sizes)
    ids, learned = (np.concatenate(parts) for parts in zip(*read, strict=True))
    corpus = TokenCorpus(
        ids=ids.astype(np.int32),
        routes=np.where(learned, 0, NOT_LEARNED).astype(np.int16),
        token_bytes=np.zeros(len(ids), dtype=np.int32),
        bounds=np.stack([ends - sizes, ends], axis=1),
        labels=np.array([[int(own[1:].sum())] for _, own in read], dtype=np.int32),
        where=[f"document {number}" for number in range(len(read))],
        table=np.array([names.index(route)], dtype=np.int64),
    )
    packed = PackedSource(corpus, "pack", length, np.ones(len(names), dtype=bool), seed=0).rows_in_order()
    starts = range(0, len(packed), rows)
    return [build_batch([packed[i] for i in range(at, min(at + rows, len(packed)))], pad_id) for at in starts]


def _read(number: int, document: Tokens | Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """ids, and whether each is learned."""
    if not isinstance(document, Mapping):
        ids = np.asarray(document)
        learned = np.ones(ids.shape, dtype=bool)
    else:
        if "input_ids" not in document:
            raise UsageError(f"pack: document {number} has no 'input_ids'; it has {listed(map(str, document))}.")
        ids = np.asarray(document["input_ids"])
        labels = np.asarray(document.get("labels", ids))
        if labels.shape != ids.shape:
            raise UsageError(f"pack: document {number} has {ids.size} input_ids and {labels.size} labels.")
        learned = labels != IGNORE
        if (ids[learned] != labels[learned]).any():
            raise UsageError(
                f"pack: a label of document {number} is another token than its input; accepted: the input itself, not "
                "shifted, or -100."
            )
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise UsageError(f"pack: document {number} is no sequence of token ids; tokenise it first.")
    return ids, learned
