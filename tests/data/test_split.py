from __future__ import annotations

from collections import Counter

import pytest

from acclimate.data.records import Document, Part
from acclimate.data.split import held_out, subsample, without_duplicates
from acclimate.errors import ConfigError, DataError
from tests.data.samples import chat, section, text

HUNDRED = [text(f"document {i}") for i in range(100)]


def test_duplicates_are_dropped_within_and_across_sources() -> None:
    seen: dict[str, str] = {}
    first, second = Counter[str](), Counter[str]()
    pair = Document("law", "p", (Part("prompt", "a "), Part("completion", "b c")), templated=False)
    kept = without_duplicates([text("a b\nc", "law"), text(" a  b c ", "law"), text("A b c", "law"), pair], seen, first)
    assert [document.text for document in kept] == ["a b\nc", "A b c"]  # case is kept apart
    assert first == {"duplicate": 2}
    kept = without_duplicates([text("a b c", "web"), text("d", "web"), text("d ", "web")], seen, second)
    assert [document.text for document in kept] == ["d"]
    assert second == {"duplicate of law": 1, "duplicate": 1}


def test_a_chat_is_more_than_its_words() -> None:
    dropped = Counter[str]()
    documents = [chat(("user", "a"), ("assistant", "b")), chat(("user", "a"), ("tool", "b")), text("a\nb")]
    assert len(without_duplicates(documents, {}, dropped)) == 3
    assert len(without_duplicates([documents[0], documents[0]], {}, dropped)) == 1


def test_subsample_is_seeded_and_keeps_the_order() -> None:
    chosen = subsample(HUNDRED, 10, seed=1)
    assert len(chosen) == 10
    assert chosen == sorted(chosen, key=HUNDRED.index)
    assert chosen == subsample(HUNDRED, 10, seed=1)
    assert chosen != subsample(HUNDRED, 10, seed=2)
    assert subsample(HUNDRED, None, seed=1) == subsample(HUNDRED, 500, seed=1) == HUNDRED


def test_shares_and_counts() -> None:
    def count(heldout: float, documents: int = 100) -> int:
        indices = held_out(HUNDRED[:documents], "law", section(heldout=heldout), seed=0)
        assert indices == sorted(set(indices))
        return len(indices)

    assert [count(0), count(0.05), count(0.001), count(1), count(7), count(7.0), count(99)] == [0, 5, 1, 1, 7, 7, 99]
    assert count(0.5, documents=3) == 2


def test_the_split_follows_seed_and_content_alone() -> None:
    first = {HUNDRED[i].text for i in held_out(HUNDRED, "law", section(heldout=10), seed=0)}
    backwards = HUNDRED[::-1]
    assert first == {backwards[i].text for i in held_out(backwards, "web", section(heldout=10), seed=0)}
    assert first != {HUNDRED[i].text for i in held_out(HUNDRED, "law", section(heldout=10), seed=1)}
    # It is independent of the subsample, which must not eat the held-out documents first.
    assert first != {document.text for document in subsample(HUNDRED, 10, seed=0)}


@pytest.mark.parametrize(
    ("heldout", "documents", "sentence"),
    [
        (0.05, 1, "0.05 holds out 1 of 1 document, which"),
        (3, 3, "3 holds out 3 of 3 documents, which"),
        (0.9, 2, "0.9 holds out 2 of 2 documents, which"),
    ],
)
def test_something_must_be_left_to_train_on(heldout: float, documents: int, sentence: str) -> None:
    with pytest.raises(
        DataError,
        match=rf"^sources\.law\.heldout: {sentence} leaves none to train on; lower it, or set heldout: 0 and give more "
        r"or shorter documents\.$",
    ):
        held_out(HUNDRED[:documents], "law", section(heldout=heldout), seed=0)


def test_a_broken_count() -> None:
    with pytest.raises(
        ConfigError,
        match=r"^sources\.law\.heldout: 2\.5 is neither a share \(below 1\) nor a whole count of documents\.$",
    ):
        held_out(HUNDRED, "law", section(heldout=2.5), seed=0)
