"""What `heldout: auto` holds out: enough to judge by, and none where another source can be judged in its place."""

from __future__ import annotations

import pytest

from acclimate.config.schema import DataSection
from acclimate.data.reserved import JUDGED, MOST, Stock, reserved
from acclimate.paired.ratio import MINIMUM_DIVERGENCES, MINIMUM_DOCUMENTS
from tests.data.samples import section


def auto(role: str, documents: int) -> Stock:
    return Stock(section(heldout="auto"), role, documents)


@pytest.mark.parametrize(
    ("role", "documents", "count"),
    [
        ("domain", 1, 0), ("domain", 2, 0), ("domain", 30, 10), ("domain", 39, 13), ("domain", 40, 20),
        ("domain", 60, 24), ("domain", 1_000, 50), ("domain", 10**6, MOST), ("general", 100, 50), ("general", 150, 72),
        ("chat", 1_000, 72),
    ],
)  # fmt: skip
def test_enough_and_no_more(role: str, documents: int, count: int) -> None:
    assert reserved({"a": auto(role, documents)}, DataSection(), 0) == {"a": (count,)}


def test_enough_is_what_judges_want() -> None:
    assert JUDGED == MINIMUM_DOCUMENTS
    counts = reserved({role: auto(role, 10_000) for role in ("domain", "general", "chat")}, DataSection(), 0)
    assert min(counts["general"][0], counts["chat"][0]) > MINIMUM_DIVERGENCES
    assert counts["domain"][0] > MINIMUM_DOCUMENTS


def test_a_small_source_beside_one_that_can_be_judged_is_trained_on_whole() -> None:
    found = reserved(
        {"notes": auto("domain", 60), "faq": auto("domain", 20), "wiki": auto("general", 20)}, DataSection(), 0
    )
    assert found == {"notes": (24,), "faq": (0,), "wiki": (6,)}


def test_documents_for_choices_come_on_top() -> None:
    assert reserved({"a": auto("domain", 400)}, DataSection(), 32) == {"a": (56,)}
    assert reserved({"a": auto("domain", 60)}, DataSection(), 32) == {"a": (20,)}  # of so few a third


def test_a_choice_by_validation_documents_leaves_those_of_the_test_alone() -> None:
    """A trial holds the same documents out for the test as the run that it chooses for."""
    data = DataSection(split="validation")
    for documents in (30, 40, 60, 200, 10_000):
        (test,) = reserved({"a": auto("domain", documents)}, DataSection(), 0)["a"]
        same, again = reserved({"a": auto("domain", documents)}, data, 0)["a"]
        assert same == test
        assert 0 < again <= test
        assert documents - same - again >= documents // 4


def test_what_is_given_stays() -> None:
    stocks = {"a": Stock(section(heldout=0.05), "domain", 20), "b": Stock(section(heldout=7), "domain", 20)}
    assert reserved(stocks, DataSection(), 0) == {"a": (1,), "b": (7,)}
    assert reserved(stocks, DataSection(split="validation"), 0) == {"a": (1, 1), "b": (7, 7)}
