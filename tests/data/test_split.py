from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from acclimate.config.schema import DataSection
from acclimate.data.prepare.split import Fingerprints, held_out, normalised, subsample, without_duplicates
from acclimate.data.read.records import Document, Part
from acclimate.types.errors import ConfigError, DataError
from tests.data.samples import chat, section, text
from tests.fixtures.sentences import refused

HUNDRED = [text(f"document {i}") for i in range(100)]


def unique(documents: Sequence[Document], seen: dict[str, NDArray[np.uint64]], dropped: Counter[str]) -> list[Document]:
    source = documents[0].source
    texts = np.array([normalised(document) for document in documents], dtype=np.uint64)
    kept, seen[source] = without_duplicates(texts, seen, dropped)
    assert seen[source].tolist() == sorted(texts[kept].tolist())
    return [documents[i] for i in kept]


def test_duplicates_are_dropped_within_and_across_sources() -> None:
    seen: dict[str, NDArray[np.uint64]] = {}
    first, second = Counter[str](), Counter[str]()
    pair = Document("law", "p", (Part("prompt", "a "), Part("completion", "b c")), templated=False)
    kept = unique([text("a b\nc", "law"), text(" a  b c ", "law"), text("A b c", "law"), pair], seen, first)
    assert [document.text for document in kept] == ["a b\nc", "A b c"]  # case is kept apart
    assert +first == {"duplicate": 2}
    kept = unique([text("a b c", "web"), text("d", "web"), text("d ", "web")], seen, second)
    assert [document.text for document in kept] == ["d"]
    assert +second == {"duplicate of law": 1, "duplicate": 1}


def test_a_chat_is_more_than_its_words() -> None:
    dropped = Counter[str]()
    documents = [chat(("user", "a"), ("assistant", "b")), chat(("user", "a"), ("tool", "b")), text("a\nb")]
    documents.append(replace(documents[0], tools=({"name": "add"},)))
    assert len(unique(documents, {}, dropped)) == 4
    assert len(unique([documents[0], documents[0]], {}, dropped)) == 1


def test_what_is_chosen_is_what_a_sort_by_hash_chooses(tmp_path: Path) -> None:
    """The definition, one document at a time; runs made before the choice was an array are continued by it."""

    def lowest(purpose: str, count: int) -> list[int]:
        rank = [hashlib.sha256(f"{purpose}:{document.fingerprint}".encode()).hexdigest() for document in HUNDRED]
        return sorted(sorted(range(100), key=lambda i: rank[i])[:count])

    known = Fingerprints.of(HUNDRED)
    settings = DataSection(split_seed=5, cache_dir=str(tmp_path))
    measured, apart = held_out(known, "law", section(heldout=0.3), settings)
    assert measured.tolist() == apart.tolist() == lowest("heldout:5", 30)
    assert subsample(known, 30, 5, str(tmp_path)).tolist() == lowest("subsample:5", 30)
    joined = "".join(document.fingerprint for document in HUNDRED)
    assert known.digest == hashlib.sha256(joined.encode()).hexdigest()


def test_subsample_is_seeded_and_keeps_the_order(tmp_path: Path) -> None:
    def chosen(count: int | None, seed: int) -> list[int]:
        return subsample(Fingerprints.of(HUNDRED), count, seed, str(tmp_path)).tolist()

    assert len(chosen(10, 1)) == 10
    assert chosen(10, 1) == sorted(chosen(10, 1))
    assert chosen(10, 1) != chosen(10, 2)
    assert chosen(None, 1) == chosen(500, 1) == list(range(100))


def test_shares_and_counts(tmp_path: Path) -> None:
    def count(heldout: float, documents: int = 100) -> int:
        known = Fingerprints.of(HUNDRED[:documents])
        indices = held_out(known, "law", section(heldout=heldout), DataSection(cache_dir=str(tmp_path)))[0].tolist()
        assert indices == sorted(set(indices))
        return len(indices)

    assert [count(0), count(0.05), count(0.001), count(1), count(7), count(7.0), count(99)] == [0, 5, 1, 1, 7, 7, 99]
    assert count(0.5, documents=3) == 2


def test_the_split_follows_seed_and_content_alone(tmp_path: Path) -> None:
    def held(documents: list[Document], seed: int = 0) -> set[str]:
        data = DataSection(split_seed=seed, cache_dir=str(tmp_path))
        chosen, _ = held_out(Fingerprints.of(documents), "law", section(heldout=10), data)
        return {documents[i].text for i in chosen}

    first = held(HUNDRED)
    assert first == held(HUNDRED[::-1])
    assert first != held(HUNDRED, seed=1)
    # It is independent of the subsample, which must not eat the held-out documents first.
    assert first != {HUNDRED[i].text for i in subsample(Fingerprints.of(HUNDRED), 10, 0, str(tmp_path))}


@pytest.mark.parametrize(
    ("heldout", "documents", "sentence"),
    [
        (0.05, 1, "0.05 holds out 1 of 1 document, which"),
        (3, 3, "3 holds out 3 of 3 documents, which"),
        (0.9, 2, "0.9 holds out 2 of 2 documents, which"),
    ],
)
def test_something_must_be_left_to_train_on(heldout: float, documents: int, sentence: str, tmp_path: Path) -> None:
    data = DataSection(cache_dir=str(tmp_path))
    with refused(f"sources.law.heldout: {sentence} leaves none …; lower it, or set heldout: 0 …"):
        held_out(Fingerprints.of(HUNDRED[:documents]), "law", section(heldout=heldout), data)


def test_a_broken_count(tmp_path: Path) -> None:
    with refused("sources.law.heldout: 2.5 is neither a share (below 1) nor a whole count …", ConfigError):
        held_out(Fingerprints.of(HUNDRED), "law", section(heldout=2.5), DataSection(cache_dir=str(tmp_path)))


def test_validation_documents_are_others_and_neither_part_is_trained_on(tmp_path: Path) -> None:
    known = Fingerprints.of(HUNDRED)
    test, test_apart = held_out(known, "law", section(heldout=7), DataSection(cache_dir=str(tmp_path)))
    data = DataSection(split="validation", cache_dir=str(tmp_path))
    validation, apart = held_out(known, "law", section(heldout=7), data)
    assert len(test) == len(validation) == 7
    assert not set(test) & set(validation)
    assert set(test_apart) == set(test)
    assert set(apart) == set(test) | set(validation)
    with pytest.raises(DataError, match="50 holds out 100 of 100 documents"):
        held_out(known, "law", section(heldout=50), data)
