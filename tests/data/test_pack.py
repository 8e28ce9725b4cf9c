from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.data.deal.pack import OPEN_ROWS, PackedSource, Row, build_batch, heldout_batches, label_bytes
from acclimate.data.deal.passes import Passes
from acclimate.types.central import IGNORE, PAD_DOCUMENT, Batch, Route
from acclimate.types.errors import DataError
from tests.data.samples import token_corpus
from tests.fixtures.sentences import refused

BOTH = np.array([True, True])
Documents = list[list[int]]
documents_strategy = st.lists(
    st.lists(st.sampled_from([-1, 0, 0, 1]), min_size=2, max_size=40), min_size=1, max_size=12
)


def batch_of(rows: Sequence[Row]) -> Batch:
    return build_batch(rows, pad_id=0)


def expected_labels(documents: Documents, active: tuple[int, ...] = (0, 1)) -> Counter[tuple[int, int, int, int]]:
    """(document, input, label, route) of every pair that is learned."""
    pairs: Counter[tuple[int, int, int, int]] = Counter()
    token = 0
    for number, routes in enumerate(documents):
        for i, route in enumerate(routes):
            token += 1  # ids count up from 1
            if i and route in active:
                pairs[(number, token - 1, token, route)] += 1
    return pairs


def learned_labels(batch: Batch, first: int = 0) -> Counter[tuple[int, int, int, int]]:
    where = batch.labels != IGNORE
    columns = (batch.document[where] - first, batch.input_ids[where], batch.labels[where], batch.route[where])
    return Counter(zip(*(column.tolist() for column in columns), strict=True))


@settings(max_examples=150, deadline=None)
@given(documents_strategy, st.integers(2, 16), st.integers(0, 3), st.sampled_from([(0,), (1,), (0, 1)]))
def test_every_label_once_per_epoch_and_no_document_is_crossed(
    documents: Documents, length: int, epoch: int, active: tuple[int, ...]
) -> None:
    expected = expected_labels(documents, active)
    mask = np.isin([0, 1], active)
    if not expected:
        with pytest.raises(DataError):
            Passes(PackedSource(token_corpus(documents), "law", length, mask, 0))
        return
    source = PackedSource(token_corpus(documents), "law", length, mask, 0, first_document_id=100)
    rows = source.rows(epoch)
    batch = batch_of(rows)
    assert learned_labels(batch, first=100) == expected
    assert source.trained_tokens == sum(row.trained for row in rows) == expected.total()
    assert batch.input_ids.shape[1] == max(row.length for row in rows) <= length
    for b, row in enumerate(rows):
        assert set(row.routes) == set(batch.route[b][batch.labels[b] != IGNORE].tolist())
        assert row.trained == int((batch.labels[b] != IGNORE).sum())
    starts = batch.position_ids == 0
    inside = ~starts[:, 1:]
    # Within a run of positions there is one document and, in this corpus, consecutive ids.
    assert (batch.document[:, 1:] == batch.document[:, :-1])[inside].all()
    assert (batch.position_ids[:, 1:] == batch.position_ids[:, :-1] + 1)[inside].all()
    real = inside & (batch.document[:, 1:] != PAD_DOCUMENT)
    assert (batch.input_ids[:, 1:] == batch.input_ids[:, :-1] + 1)[real].all()


def test_a_long_document_is_cut_and_nothing_is_lost_at_the_cut() -> None:
    source = PackedSource(token_corpus([[0] * 8]), "law", 3, BOTH, 0)
    rows = source.rows_in_order()
    assert [(piece.start, piece.length) for row in rows for piece in row.pieces] == [(0, 3), (3, 3), (6, 1)]
    batch = batch_of(rows)
    assert batch.input_ids.tolist() == [[1, 2, 3], [4, 5, 6], [7, 0, 0]]
    assert batch.labels.tolist() == [[2, 3, 4], [5, 6, 7], [8, IGNORE, IGNORE]]
    assert batch.position_ids.tolist() == [[0, 1, 2], [0, 1, 2], [0, 0, 1]]
    assert batch.document.tolist() == [[0, 0, 0], [0, 0, 0], [0, PAD_DOCUMENT, PAD_DOCUMENT]]
    assert batch.input_ids.dtype == batch.labels.dtype == batch.route.dtype == torch.int64


def test_inactive_routes_and_context_are_not_learned() -> None:
    source = PackedSource(token_corpus([[0, 1, -1, 0, 1]]), "law", 8, np.array([False, True]), 0)
    batch = batch_of(source.rows(0))
    assert batch.labels.tolist() == [[2, IGNORE, IGNORE, 5]]
    assert batch.route.tolist() == [[1, 0, 0, 1]]


def test_pieces_without_labels_are_counted_not_emitted() -> None:
    source = PackedSource(token_corpus([[-1] * 9, [-1] * 5 + [0], [0, 0]]), "law", 4, BOTH, 0)
    assert source.skipped_pieces == 3  # both of the first document, the first of the second
    rows = source.rows(0)
    assert {piece.document for row in rows for piece in row.pieces} == {1, 2}
    assert all(row.trained for row in rows)


def test_nothing_on_an_active_route() -> None:
    with refused("Source 'law' has no token on a route …"):
        Passes(PackedSource(token_corpus([[0, 0]]), "law", 4, np.array([False, True]), 0))


def test_epochs_differ_and_repeat() -> None:
    corpus = token_corpus([[0] * (2 + i % 7) for i in range(50)])
    source = PackedSource(corpus, "law", 16, BOTH, seed=3)
    assert list(source.rows(0)) == list(PackedSource(corpus, "law", 16, BOTH, seed=3).rows(0))
    shuffles = [list(source.rows(0)), list(source.rows(1)), list(source.rows(0, 1))]
    shuffles.append(list(PackedSource(corpus, "web", 16, BOTH, seed=3).rows(0)))
    shuffles.append(list(PackedSource(corpus, "law", 16, BOTH, seed=4).rows(0)))
    assert all(a != b for i, a in enumerate(shuffles) for b in shuffles[:i])


def best_fit(lengths: list[int], space: int) -> list[list[int]]:
    """The packer once more, in plain words: into the fullest open row that has room; at most OPEN_ROWS stay open."""
    rows: list[list[int]] = []
    left: dict[int, int] = {}
    for item, length in enumerate(lengths):
        fitting = [row for row in left if left[row] >= length]
        if fitting:
            row = min(fitting, key=lambda row: (left[row], row))
        else:
            row = len(rows)
            rows.append([])
            left[row] = space
        rows[row].append(item)
        left[row] -= length
        if not left[row]:
            del left[row]
        if len(left) > OPEN_ROWS:
            del left[min(left, key=lambda row: (left[row], row))]
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_rows_are_those_of_a_plain_best_fit(seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(1, 50, 400).tolist()
    source = PackedSource(token_corpus([[0] * (n + 1) for n in lengths]), "law", 50, BOTH, 0)
    rows = source.rows_in_order()
    assert len(rows) > OPEN_ROWS
    assert [[piece.document for piece in row.pieces] for row in rows] == best_fit(lengths, 50)
    assert rows.trained.tolist() == [row.trained for row in rows]


def test_packing_is_tight() -> None:
    random = np.random.default_rng(0)
    corpus = token_corpus([[0] * int(n) for n in random.integers(2, 200, 600)])
    source = PackedSource(corpus, "law", 128, BOTH, 0)
    rows = source.rows(0)
    assert len(rows) > 2 * OPEN_ROWS  # rows had to be closed
    lengths = [row.length for row in rows]
    assert sum(lengths) > 0.97 * len(lengths) * max(lengths)


def test_heldout_batches_cover_every_learned_label_in_order() -> None:
    documents = [[0] * 5, [-1, 0, 1, -1], [1] * 12, [0, 0]]
    table = (Route("law", "law"), Route("law", "domain"))
    corpus = token_corpus(documents)
    batches = heldout_batches(corpus, 10, table, sequence_length=6, rows_per_batch=2)
    assert [len(batch.input_ids) for batch, _ in batches] == [2, 2]
    found = sum((learned_labels(batch, first=10) for batch, _ in batches), Counter())
    assert found == expected_labels(documents)
    for batch, token_bytes in batches:
        assert token_bytes.shape == batch.labels.shape
        assert token_bytes.dtype == torch.int64
        # The corpus gives token i the bytes 7 i.
        assert torch.equal(token_bytes, torch.where(batch.labels == IGNORE, 0, batch.labels * 7))
    again = heldout_batches(corpus, 10, table, sequence_length=6, rows_per_batch=2)
    assert all(torch.equal(a.labels, b.labels) for (a, _), (b, _) in zip(batches, again, strict=True))
    few = heldout_batches(corpus, 10, table, sequence_length=6, rows_per_batch=2, documents=np.arange(2))
    assert {d for batch, _ in few for d in batch.document.flatten().tolist()} == {PAD_DOCUMENT, 10, 11}
    assert list(heldout_batches(corpus.subset([]), 10, table, 6, 2)) == []


def test_label_bytes_leave_out_inactive_routes() -> None:
    source = PackedSource(token_corpus([[0, 1, -1, 0]]), "law", 8, np.array([True, False]), 0)
    assert label_bytes([source.rows(0)[0]]).tolist() == [[0, 0, 28]]
