from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.data.prepare.overlap import OverlapRow, find_overlap
from tests.data.samples import text

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=12).map(" ".join)


def test_counts_by_hand() -> None:
    train = {"law": [text("The Court, heard; the case twice")], "web": [text("nothing here")]}
    heldout = {"law": [text("the court heard a case"), text("unrelated words only")], "web": []}
    assert find_overlap(train, heldout, 3).rows == [
        OverlapRow("law", "law", documents=2, documents_hit=1, ngrams=4, ngrams_hit=1),
        OverlapRow("web", "law", documents=2, documents_hit=0, ngrams=4, ngrams_hit=0),
    ]


def test_a_short_document_is_one_ngram_of_its_own_length() -> None:
    heldout = {"law": [text("The court"), text("court the")]}
    rows = find_overlap({"law": [text("we saw the court today")]}, heldout, 13).rows
    assert rows == [OverlapRow("law", "law", documents=2, documents_hit=1, ngrams=2, ngrams_hit=1)]


def test_documents_without_words_have_no_ngrams() -> None:
    rows = find_overlap({"law": [text("...")]}, {"law": [text("?!"), text("a")]}, 2).rows
    assert rows == [OverlapRow("law", "law", documents=2, documents_hit=0, ngrams=1, ngrams_hit=0)]


def test_nothing_held_out() -> None:
    assert find_overlap({"law": [text("a")]}, {"law": []}, 2).rows == []


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(WORDS, min_size=1, max_size=4), st.integers(1, 5))
def test_agrees_with_sets_of_tuples(train: list[str], heldout: list[str], n: int) -> None:
    def grams(content: str, size: int) -> list[tuple[str, ...]]:
        words = content.split()
        return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]

    hits = ngrams = 0
    for content in heldout:
        size = min(n, max(len(content.split()), 1))
        known = {gram for document in train for gram in grams(document, size)}
        hits += sum(gram in known for gram in grams(content, size))
        ngrams += len(grams(content, size))
    (row,) = find_overlap({"a": [text(t) for t in train]}, {"b": [text(t) for t in heldout]}, n).rows
    assert (row.ngrams, row.ngrams_hit) == (ngrams, hits)
