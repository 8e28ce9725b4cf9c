"""What collators give, as the objective reads it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DataCollatorWithFlattening
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from acclimate.trl.batches import batch_of, in_rows
from acclimate.trl.tags import TAG, tag, tag_routes, untag
from acclimate.types.central import IGNORE, PAD_DOCUMENT, Route
from acclimate.types.errors import DataError
from tests.trl.loops import rows

TABLE = (Route("medical", "domain"), Route("wiki", "general"))
KNOWN = {"domain": 0, "general": 1}


def examples() -> list[dict[str, list[int]]]:
    return [{"input_ids": own, "labels": tag(own, name, KNOWN, "")} for own, name in zip(IDS, NAMES, strict=True)]


IDS, NAMES = [[5, 6, 7], [8, 9], [10, 11, 12, 13]], ["domain", "general", "domain"]


def same_documents(inputs: Any, limit: int = 100) -> None:
    """Every label is predicted from its own document, and has its route."""
    batch = batch_of(inputs, TABLE, limit)
    found = []
    for b, t in (batch.labels != IGNORE).nonzero().tolist():
        assert batch.document[b, t] != PAD_DOCUMENT
        start = t - int(batch.position_ids[b, t])
        found.append((batch.input_ids[b, start : t + 1].tolist(), int(batch.labels[b, t]), int(batch.route[b, t])))
    expected = [
        (own[:k], own[k], KNOWN[name]) for own, name in zip(IDS, NAMES, strict=True) for k in range(1, len(own))
    ]
    assert sorted(found) == sorted(expected)


def test_padded_rows() -> None:
    same_documents(DataCollatorForLanguageModeling(pad_token_id=0)(examples()))


def test_padded_rows_with_positions() -> None:
    same_documents(DataCollatorForLanguageModeling(pad_token_id=0, return_position_ids=True)(examples()))


def test_padding_on_the_left() -> None:
    ids = torch.tensor([[0, 5, 6, 7], [0, 0, 8, 9], [10, 11, 12, 13]])
    labels = torch.full((3, 4), IGNORE)
    for b, example in enumerate(examples()):
        labels[b, 4 - len(example["labels"]) :] = torch.tensor(example["labels"])
    same_documents({"input_ids": ids, "labels": labels, "attention_mask": (ids > 0).long()})


def test_without_padding() -> None:
    for collator in (DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True), DataCollatorWithFlattening()):
        same_documents(collator(examples()))
        same_documents(collator(examples()), limit=5)
        same_documents(collator(examples()), limit=3)


def test_numbers_in_the_mask() -> None:
    """As axolotl's and LLaMA-Factory's packing have it."""
    ids = torch.tensor([[5, 6, 7, 8, 9, 0], [10, 11, 12, 13, 0, 0]])
    labels = torch.full((2, 6), IGNORE)
    flat = [*examples()[0]["labels"], *examples()[1]["labels"]]
    labels[0, :5], labels[1, :4] = torch.tensor(flat), torch.tensor(examples()[2]["labels"])
    mask = torch.tensor([[1, 1, 1, 2, 2, 0], [1, 1, 1, 1, 0, 0]])
    same_documents({"input_ids": ids, "labels": labels, "attention_mask": mask})


def test_one_long_row_is_cut_between_documents() -> None:
    batch = in_rows(batch_of(DataCollatorWithFlattening()(examples()), TABLE, 100), 5)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9], [10, 11, 12, 13, 0]]
    assert batch.document[1, 4] == PAD_DOCUMENT


def test_a_column_of_ones_own() -> None:
    ids = torch.tensor([IDS[0], [8, 9, 7]])
    batch = batch_of({"input_ids": ids, "labels": ids, "route": torch.tensor([1, 0])}, TABLE, 100)
    assert batch.route[:, 0].tolist() == [1, 0]
    own = batch_of(vars(batch), TABLE, 1)
    assert own.labels is batch.labels


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": None}, "nothing says what is learned"),
        ({"pixel_values": torch.ones(1)}, "'pixel_values'"),
        ({"attention_mask": torch.ones(2, 1, 3, 3)}, r"attention_mask has the shape \(2, 1, 3, 3\)"),
        ({"position_ids": torch.ones(3, 2, 3)}, r"position_ids has the shape \(3, 2, 3\)"),
        ({}, "6 of 6 learned labels of a batch name no route"),
    ],
)
def test_refused(changed: dict[str, Any], words: str) -> None:
    ids = torch.tensor([IDS[0], [8, 9, 7]])
    labels = ids + TAG if changed else ids
    with pytest.raises(DataError, match=words):
        batch_of({"input_ids": ids, "labels": labels} | changed, TABLE, 100)


def test_routes_of_a_data_set() -> None:
    data = tag_routes(rows(), TABLE)
    assert data.column_names == ["input_ids", "labels"]
    labels, route = untag(torch.tensor(data[1]["labels"]))
    assert labels.tolist() == rows()[1]["labels"]
    assert set(route.tolist()) == {1}
    names = ["domain"] * 3 + ["wiki"] * (len(rows()[0]["labels"]) - 3)  # one a token; a source's name is as good
    mixed = tag_routes(rows().select([0]).map(lambda row: {"route": names}), TABLE)
    assert untag(torch.tensor(mixed[0]["labels"]))[1].tolist() == [0] * 3 + [1] * (len(names) - 3)


def test_wrong_routes_of_a_data_set() -> None:
    wrong = rows().map(lambda row: {"route": "genral" if row["route"] == "general" else "domain"})
    with pytest.raises(DataError, match=r"row 1 .*'genral'.*Did you mean 'general'"):
        tag_routes(wrong, TABLE)
    with pytest.raises(DataError, match=r"row 0 .* holds 1 names for"):
        tag_routes(rows().map(lambda row: {"route": ["domain"]}, remove_columns=["route"]), TABLE)
    with pytest.raises(DataError, match="no 'input_ids'; tokenise it first"):
        tag_routes(rows().remove_columns("input_ids"), TABLE)
