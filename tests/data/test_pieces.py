"""Documents that are longer than a row: what each piece reads, and that every label is learned once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.data.chat.pieces import cut, cuts
from acclimate.data.corpus import Corpora, load_corpora
from acclimate.data.deal.pack import PackedSource, build_batch, heldout_batches
from acclimate.data.prepare.tokens import TokenCorpus
from acclimate.measurement.measure import measure
from acclimate.model.causal import CausalModel
from acclimate.model.load import load_tokenizer
from acclimate.model.reference import FrozenCopy
from acclimate.types.central import IGNORE, PLACE, Route
from acclimate.types.errors import ConfigError
from acclimate.verbs.validate import validate
from tests.data.samples import run_config, token_corpus, write_records
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.fixtures.sentences import refused

ACTIVE = np.array([True])
LONG_CHAT = {
    "messages": [
        {"role": "user", "content": "KEY what of the kidney?"},
        {"role": "assistant", "content": "bone tissue " * 40},
    ]
}


def chats(turns: list[list[tuple[int, int]]], lead: int = 0) -> TokenCorpus:
    """Each document: ``lead`` tokens of the tokenizer, then turns of so many tokens of context and of answer."""
    routes = [[-1] * lead + [r for c, a in turn for r in [-1] * c + [0] * a] for turn in turns]
    documents = len(routes)
    return replace(token_corpus(routes), prompted=np.ones(documents, bool), lead=np.full(documents, lead, np.int32))


def read(corpus: TokenCorpus, length: int, overlap: int = 0) -> list[tuple[int, list[int], list[int]]]:
    """Of each piece: document, tokens read, and those of them that are learned, by their number in the document."""
    source = PackedSource(corpus, "law", length, ACTIVE, 0, overlap=overlap)
    found = []
    for row in source.rows_in_order():
        batch, at = build_batch([row]), 0
        for piece in row.pieces:
            here = slice(at, at + piece.length)
            first = int(corpus.bounds[piece.document, 0]) + 1  # ids count up from 1
            labels = batch.labels[0, here]
            last = labels[labels != IGNORE][-1:].tolist()
            tokens = [t - first for t in batch.input_ids[0, here].tolist()] + [t - first for t in last[:1]]
            assert batch.position_ids[0, here].tolist() == list(range(piece.length))
            found.append((piece.document, tokens, [t - first for t in labels[labels != IGNORE].tolist()]))
            at += piece.length
    return found


turns_strategy = st.lists(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 60)), min_size=1, max_size=5), min_size=1, max_size=5
)


@settings(max_examples=60, deadline=None)
@given(turns_strategy, st.integers(0, 2), st.integers(4, 40), st.integers(0, 12))
def test_no_piece_of_a_chat_is_learned_without_its_prompt(
    turns: list[list[tuple[int, int]]], lead: int, length: int, overlap: int
) -> None:
    corpus, learned = chats(turns, lead), []
    lead_kept = min(lead, length - 2)
    half = (length - lead_kept) // 2
    for document, tokens, labels in read(corpus, length, overlap):
        assert len(tokens) <= length + 1
        routes = corpus.document(document)[1]
        learned += [(document, label) for label in labels]
        assert tokens[:lead_kept] == list(range(lead_kept))
        for label in labels:
            answer = max(t for t in range(label + 1) if routes[t] < 0) + 1  # the first token of the answer
            question = max([t for t in range(answer) if routes[t] >= 0], default=lead_kept - 1) + 1
            # All of the question, or as much of it as half of a row holds, and the token before the label.
            assert set(range(max(question, answer - half), answer)) <= set(tokens)
            assert tokens[tokens.index(label) - 1] == label - 1 if label in tokens else True
        assert tokens == sorted(set(tokens))
    expected = [
        (i, t) for i in range(len(corpus)) for t, r in enumerate(corpus.document(i)[1].tolist()) if r >= 0 and t > 0
    ]
    assert sorted(learned) == expected


def test_an_answer_is_cut_only_where_no_row_holds_it_beside_its_prompt() -> None:
    pieces = cut(chats([[(4, 5), (3, 6), (2, 20), (1, 2)]]), 12)
    columns = zip(
        *(getattr(pieces, n).tolist() for n in ("prompt_start", "prompt", "start", "own", "stop")), strict=True
    )
    assert list(columns) == [
        (0, 0, 0, 4, 9),  # the second turn does not fit beside the first one
        (0, 0, 6, 12, 18),  # as much before it as fits in half a row, and its own question
        (0, 0, 14, 20, 27),  # the third answer fills a row
        (14, 6, 26, 27, 33),  # and goes on after the same prompt and the token before
        (14, 6, 32, 33, 39),
        (14, 6, 38, 39, 40),
        (0, 0, 35, 41, 43),
    ]


def test_plain_text_begins_anew_with_the_bos_that_the_tokenizer_puts() -> None:
    corpus = replace(token_corpus([[-1, *[0] * 9]]), lead=np.array([1], np.int32))
    assert [tokens for _, tokens, _ in read(corpus, 4)] == [[0, 1, 2, 3, 4], [0, 4, 5, 6, 7], [0, 7, 8, 9]]
    assert [labels for _, _, labels in read(corpus, 4)] == [[1, 2, 3, 4], [5, 6, 7], [8, 9]]


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 60), st.integers(2, 16), st.integers(0, 15), st.integers(0, 2))
def test_with_an_overlap_every_label_has_so_much_context(tokens: int, length: int, overlap: int, lead: int) -> None:
    corpus = replace(
        token_corpus([[-1] * lead + [0] * tokens]), lead=np.array([lead], np.int32), prompted=np.array([False])
    )
    found = read(corpus, length, overlap)
    lead = min(lead, length - 2)
    room = length - lead
    assert [label for _, _, labels in found for label in labels] == list(range(max(corpus.lead[0], 1), len(corpus.ids)))
    for number, (_, read_tokens, labels) in enumerate(found):
        assert len(read_tokens) <= length + 1
        if number:
            context = min(max(overlap, 1), room)
            assert read_tokens == [*range(lead), *range(labels[0] - context, labels[-1] + 1)]


def test_cuts_are_counted() -> None:
    corpus = chats([[(4, 5)], [(4, 20)], [(30, 4)]])
    found = cuts(corpus, 12)
    assert (found.documents, found.chats, found.prompts) == (2, 2, 1)
    assert found.labels == pytest.approx((20 - 9 + 4) / 29)
    plain = cuts(replace(corpus, prompted=np.zeros(3, bool)), 12)
    assert (plain.chats, plain.prompts) == (0, 0)


def loaded(tmp_path: Path, folder: Path, records: list[Any], **source: Any) -> tuple[Any, Corpora]:
    path = write_records(tmp_path / "rows.jsonl", records)
    found = run_config(
        tmp_path,
        {"domain": {"path": str(path), "heldout": 0, **source}},
        method="sft",
        model={"path": str(folder), "device": "cpu", "dtype": "float32"},
        data={"cache_dir": f"{tmp_path}/cache", "sequence_length": 96},
    )
    return found, load_corpora(found, load_tokenizer(found.model))


def spoken(corpora: Corpora, tokenizer: Any, length: int) -> list[str]:
    """What each piece of the training documents reads."""
    corpus = corpora.sources["domain"].train
    rows = PackedSource(corpus, "domain", length, np.ones(len(corpora.routes), bool), 0).rows_in_order()
    texts = []
    for row in rows:
        batch = build_batch([row])
        starts = [*(batch.position_ids[0] == 0).nonzero().flatten().tolist(), row.length]
        texts += [tokenizer.decode(batch.input_ids[0, a:b]) for a, b in pairwise(starts)]
    return texts


@pytest.mark.parametrize(
    "record",
    [LONG_CHAT, {"prompt": "KEY what of the kidney?", "completion": " bone" * 90}],
    ids=["chat", "pair"],
)
def test_a_long_answer_is_learned_after_its_question(record: Any, pico_folder: Path, tmp_path: Path) -> None:
    short = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    found, corpora = loaded(tmp_path, pico_folder, [record, short])
    texts = [text for text in spoken(corpora, pico_tokenizer(), 96) if "bone" in text]
    assert len(texts) > 1
    assert all("KEY what of the kidney?" in text for text in texts)
    notes = validate(found).warnings
    assert any("1 of 2 training documents are longer than a row" in n and "whole in all" in n for n in notes)
    dropped = found.sources["domain"].model_copy(update={"too_long": "drop"})
    without = found.model_copy(update={"sources": {"domain": dropped}})
    data = validate(without).data["sources"]["domain"]
    assert data["dropped"]["longer than a row"] == 1
    assert (data["train_documents"], data["cut_documents"]) == (1, 0)


def test_too_long_is_refused_where_nothing_has_a_prompt(pico_folder: Path, tmp_path: Path) -> None:
    with refused("sources.domain.too_long is 'drop', … no chats and no pairs …", ConfigError):
        loaded(tmp_path, pico_folder, [{"text": "bone"}, {"text": "skin"}], too_long="drop")


def test_measuring_with_an_overlap_is_a_sliding_window() -> None:
    """Every label has at least ``overlap`` tokens of context, against one forward a window by transformers."""
    network = pico_model().eval()
    length, overlap = 16, 8
    random = np.random.default_rng(0)
    corpus = token_corpus([[0] * 60, [0] * 9, [0] * 17])
    corpus = replace(corpus, ids=random.integers(1, network.config.vocab_size, len(corpus.ids)).astype(np.int32))
    nats = {}
    for d in range(3):
        ids = torch.tensor(corpus.document(d)[0].tolist())
        own = 1
        while own < len(ids):
            start = max(0, own - overlap) if own > 1 else 0
            window = ids[start : start + length + 1]
            with torch.no_grad():
                logits = network(window[None, :-1]).logits[0].double()
            found = torch.nn.functional.cross_entropy(logits, window[1:], reduction="none")
            nats[d] = nats.get(d, 0.0) + float(found[own - start - 1 :].sum())
            own = start + length + 1
    model = CausalModel(network, pico_tokenizer())
    scores = {}
    for width in (0, overlap):
        batches = heldout_batches(corpus, 0, (Route("law", "law"),), length, 2, overlap=width)
        scores[width], _ = measure(model, FrozenCopy.of(model), batches, [])
        assert scores[width].positions is not None
        assert scores[width].positions[0].tolist() == [[15, 44, 0, 0], [8, 0, 0, 0], [15, 1, 0, 0]]  # not of the pieces
        places = torch.cat([b.columns[PLACE][b.labels != IGNORE] for b, _ in batches])
        assert sorted(places.tolist()) == sorted(t for n in (60, 9, 17) for t in range(1, n))
    assert scores[overlap].nats == pytest.approx([nats[d] for d in range(3)], rel=1e-5)
    assert scores[0].nats[1] == scores[overlap].nats[1]
    assert scores[0].nats[0] != pytest.approx(scores[overlap].nats[0], rel=1e-5)
    assert scores[0].tokens.tolist() == scores[overlap].tokens.tolist()
