"""Tokens of one's own."""

from __future__ import annotations

import pytest
import torch

import acclimate as ac
from acclimate.types.central import IGNORE
from acclimate.types.errors import UsageError


def test_long_documents_are_cut_and_learned_once() -> None:
    documents = [list(range(10, 31)), [40, 41, 42], [50]]
    batches = ac.pack(documents, length=8, rows=2)
    assert max(batch.input_ids.shape[1] for batch in batches) <= 8
    learned = torch.cat([batch.labels[batch.labels != IGNORE] for batch in batches]).tolist()
    assert sorted(learned) == [*range(11, 31), 41, 42]


def test_labels_say_what_is_context() -> None:
    chat = {"input_ids": [1, 2, 3, 4], "labels": [-100, -100, 3, 4]}
    (batch,) = ac.pack([chat], route="general")
    assert batch.labels.tolist() == [[IGNORE, 3, 4]]
    assert set(batch.route[batch.labels != IGNORE].tolist()) == {1}


@pytest.mark.parametrize(
    ("documents", "options", "says"),
    [
        ([[1, 2]], {"route": "genral"}, "accepted: domain or general. Did you mean 'general'"),
        ([[1]], {}, "no token is learned"),
        ([{"ids": [1]}], {}, "document 0 has no 'input_ids'; it has ids"),
        ([{"input_ids": [1, 2], "labels": [2, 3]}], {}, "a label of document 0 is another token"),
        ([{"input_ids": [1, 2], "labels": [2]}], {}, "2 input_ids and 1 labels"),
        (["text"], {}, "document 0 is no sequence of token ids"),
        ([[1, 2]], {"length": 0}, "length is 0"),
    ],
)
def test_what_is_wrong_is_said(documents: list[object], options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        ac.pack(documents, **options)
