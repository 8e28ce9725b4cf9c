"""Bits per byte of two models with other tokens: over the same bytes, whichever way each cuts them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from acclimate.config.source_schema import SourceSection
from acclimate.data.deal.pack import heldout_batches
from acclimate.data.prepare.encoding import Encoder
from acclimate.data.prepare.routes import route_table
from acclimate.data.prepare.tokens import TokenCorpus, encoded_now
from acclimate.data.read.documents import Document, Part
from acclimate.measurement.apart import Reader, measure_apart, over_same_bytes
from acclimate.model.causal import CausalModel
from acclimate.model.changes import AddTokens
from tests.fixtures.pico import pico_model, pico_tokenizer

SECTION = SourceSection(path="a")
TABLE = route_table({"a": SECTION})
TEXTS = ["kidney and river", "a kidney", "kidney", "the bone", "é kidney é", "kid"]


def encoded(tokenizer: Any, texts: list[str], prompt: int = 0) -> TokenCorpus:
    """``prompt`` characters of each text are context."""
    documents = []
    for number, text in enumerate(texts):
        parts = (Part("text", text[:prompt], context=True), Part("text", text[prompt:])) if prompt else None
        documents.append(Document("a", str(number), parts or (Part("text", text),), templated=False))
    return encoded_now(documents, Encoder(tokenizer, "a", SECTION, TABLE), [document.where for document in documents])


def widened(tokens: list[str]) -> tuple[Any, Any]:
    network, tokenizer = pico_model(), pico_tokenizer()
    AddTokens.to(tokenizer, tokens).change_network(network)
    return network, tokenizer


def scored_bytes(corpus: TokenCorpus) -> list[int]:
    found = []
    for number in range(len(corpus)):
        _, routes, size = corpus.document(number)
        found.append(int(size[1:][routes[1:] >= 0].sum()))
    return found


def test_both_are_scored_over_the_same_bytes() -> None:
    """A text that begins with a long token gives the other model no label for its pieces either."""
    one, other = encoded(widened(["kidney", "river"])[1], TEXTS), encoded(pico_tokenizer(), TEXTS)
    assert scored_bytes(one) != scored_bytes(other)
    both = over_same_bytes(one, other)
    sizes = [len(text.encode()) for text in TEXTS]
    first = [6, 1, 6, 1, 1, 1]
    first[4] = 1  # é is two tokens of a byte each in both
    assert scored_bytes(both[0]) == scored_bytes(both[1]) == [n - k for n, k in zip(sizes, first, strict=True)]
    for corpus in both:
        labels = [int((corpus.document(i)[1][1:] >= 0).sum()) for i in range(len(corpus))]
        assert corpus.labels[:, 0].tolist() == labels
    for same in over_same_bytes(other, other):
        assert np.array_equal(same.labels, other.labels)


def test_a_token_across_the_end_of_a_prompt_takes_its_bytes_out_of_both() -> None:
    one, other = (encoded(t, ["my kidney is"], prompt=6) for t in (widened(["kidney"])[1], pico_tokenizer()))
    assert scored_bytes(one) == [9]  # kidney is learned whole, as soon as one character of it is
    assert scored_bytes(other) == [6]
    assert [scored_bytes(corpus) for corpus in over_same_bytes(one, other)] == [[3], [3]]


def test_other_bytes_are_left_out() -> None:
    one, other = encoded(pico_tokenizer(), ["a bone", "skin"]), encoded(pico_tokenizer(), ["a bone", "skins"])
    assert [scored_bytes(corpus) for corpus in over_same_bytes(one, other)] == [[5, 0], [5, 0]]


def test_nats_are_those_of_each_model_over_its_own_tokens() -> None:
    network, tokenizer = widened(["kidney", "river"])
    plain = CausalModel(pico_model(), pico_tokenizer())
    tuned = CausalModel(network, tokenizer)
    readers = [Reader(model, encoded(model.tokenizer, TEXTS[:3])) for model in (tuned, plain)]
    found = measure_apart(*readers, lambda corpus: heldout_batches(corpus, 0, TABLE, 96, 2))
    assert found is not None
    assert found[0].document.tolist() == found[1].document.tolist() == [0, 1]  # the third is one token
    assert found[0].bytes.tolist() == found[1].bytes.tolist() == [10.0, 7.0]
    assert found[0].kl_base_tuned is None
    for model, scores, skip in ((tuned, found[0], 1), (plain, found[1], 6)):
        ids = torch.tensor([model.tokenizer(TEXTS[0])["input_ids"]])
        with torch.no_grad():
            logs = model.network(input_ids=ids).logits.double().log_softmax(-1)
        nats = -logs[0, :-1].gather(1, ids[0, 1:, None]).squeeze(1)
        assert scores.nats[0] == pytest.approx(float(nats[skip - 1 :].sum()), rel=1e-5)
    assert (
        measure_apart(*(Reader(r.model, encoded(r.model.tokenizer, ["kidney"])) for r in readers), lambda c: ()) is None
    )
