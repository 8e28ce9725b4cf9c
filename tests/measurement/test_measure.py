"""Sums by document equal a naive full-logits computation; intervals cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from acclimate.measurement.measure import POSITIONS, Scores, measure
from acclimate.measurement.summary import bits_per_byte, change_records, records
from acclimate.model.causal import CausalModel
from acclimate.model.reference import FrozenCopy
from acclimate.paired.bootstrap import ratio_interval
from acclimate.types.central import IGNORE, PAD_DOCUMENT
from tests.fixtures.batches import packed
from tests.fixtures.pico import pico_model, pico_tokenizer


def test_scores_equal_full_logits() -> None:
    model = CausalModel(pico_model(seed=1, dtype=torch.float64), pico_tokenizer())
    base = FrozenCopy(CausalModel(pico_model(seed=2, dtype=torch.float64), pico_tokenizer()))
    batch = packed([[(4, 9, 0), (7, 300, 0)], [(5, 280, 0)], [(9, 31, 1)]], ignored=0.1)
    special = [int(batch.labels[0, 12])] if batch.labels[0, 12] != IGNORE else [int(batch.labels[0, 13])]
    sizes = torch.randint(1, 4, batch.labels.shape)
    tuned, before = measure(model, base, [(batch, sizes)], special)
    assert before is not None
    p = model.network(input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False).logits.log_softmax(
        -1
    )
    q = base.model.network(
        input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False
    ).logits.log_softmax(-1)
    assert tuned.document.tolist() == [4, 5, 7, 9]
    for row, document in enumerate(tuned.document.tolist()):
        here = (batch.document == document) & (batch.labels != IGNORE)
        text = here & ~torch.isin(batch.labels, torch.tensor(special))
        label = batch.labels.clamp_min(0)[..., None]
        expected = {
            "nats": -p.gather(-1, label)[..., 0][text].sum(),
            "bytes": sizes[text].sum(),
            "tokens": here.sum(),
            "kl_base_tuned": (q.exp() * (q - p)).sum(-1)[here].sum(),
            "kl_tuned_base": (p.exp() * (p - q)).sum(-1)[here].sum(),
            "entropy_change": ((q.exp() * q).sum(-1) - (p.exp() * p).sum(-1))[here].sum(),
            "agree": (p.argmax(-1) == q.argmax(-1))[here].sum(),
        }
        for name, value in expected.items():
            assert getattr(tuned, name)[row] == pytest.approx(value.item(), rel=1e-10), name
        assert before.nats[row] == pytest.approx(-q.gather(-1, label)[..., 0][text].sum().item(), rel=1e-10)
    assert (tuned.agree < tuned.tokens).all()
    assert PAD_DOCUMENT not in tuned.document
    total = sum(
        -p.gather(-1, label)[..., 0][(batch.labels != IGNORE) & ~torch.isin(batch.labels, torch.tensor(special))]
    )
    assert bits_per_byte(tuned) == pytest.approx(total.item() / math.log(2) / tuned.bytes.sum())


def test_drift_by_position_equals_a_loop() -> None:
    """Buckets of places in a document, whose sums are those of the documents; each interval holds its value."""
    model = CausalModel(pico_model(seed=1, dtype=torch.float64), pico_tokenizer())
    base = FrozenCopy(CausalModel(pico_model(seed=2, dtype=torch.float64), pico_tokenizer()))
    batch = packed([[(4, 90, 0), (7, 10, 0)], [(5, 280, 0)]], ignored=0.1)
    scores, _ = measure(model, base, [(batch, torch.ones(batch.labels.shape))], [])
    inputs = {"input_ids": batch.input_ids, "position_ids": batch.position_ids, "use_cache": False}
    p, q = (m.network(**inputs).logits.log_softmax(-1) for m in (model, base.model))
    kl = (q.exp() * (q - p)).sum(-1)
    place = {}
    for row, column in (batch.labels != IGNORE).nonzero().tolist():
        document = int(batch.document[row, column])
        first = (batch.document[row] == document).nonzero()[0].item()
        bucket = sum(column + 1 - first >= start for start in POSITIONS) - 1  # the label stands one further
        place.setdefault((document, bucket), []).append(kl[row, column].item())
    assert scores.positions is not None
    for row, document in enumerate(scores.document.tolist()):
        for bucket in range(4):
            here = place.get((document, bucket), [])
            assert scores.positions[0, row, bucket] == len(here)
            assert scores.positions[1, row, bucket] == pytest.approx(sum(here), rel=1e-10)
    found = {r["metric"]: r for r in records(scores, run="x", seed=0, set_name="s", role="chat")}
    buckets = found["kl_base_tuned"]["positions"]
    assert [(b["first"], b["last"], b["n"]) for b in buckets] == [(0, 15, 3), (16, 63, 2), (64, 255, 2), (256, None, 1)]
    assert buckets[0]["low"] <= buckets[0]["value"] <= buckets[0]["high"]
    assert all(b["low"] is None and b["high"] is None for b in buckets[1:])  # of two documents nothing is claimed
    for record in (record for record in found.values() if "positions" in record):
        total = sum(b["value"] * b["tokens"] for b in record["positions"])
        assert total / scores.tokens.sum() == pytest.approx(record["value"])
    assert set(found) - {"bits_per_byte"} == {m for m, r in found.items() if "positions" in r}


def test_a_model_has_no_drift_from_itself() -> None:
    model = CausalModel(pico_model(dtype=torch.bfloat16), pico_tokenizer())
    batches = [(packed([[(0, 40, 0)], [(1, 23, 0), (2, 17, 0)]]), torch.ones(2, 40))]
    tuned, before = measure(model, FrozenCopy.of(model), batches, [])
    assert before is not None
    assert tuned.kl_base_tuned is not None
    assert tuned.agree is not None
    assert tuned.kl_base_tuned.tolist() == tuned.kl_tuned_base.tolist() == [0, 0, 0]
    assert tuned.agree.tolist() == tuned.tokens.tolist()
    assert tuned.nats.tolist() == before.nats.tolist()
    found = {r["metric"]: r for r in records(tuned, run="x", seed=0, set_name="s", role="chat")}
    assert set(found) == {"bits_per_byte", "kl_base_tuned", "kl_tuned_base", "top1_agreement", "entropy_change"}
    assert found["top1_agreement"]["value"] == found["top1_agreement"]["low"] == 1.0


def test_a_change_of_two_documents_claims_nothing() -> None:
    def scores(*nats: float) -> Scores:
        n = len(nats)
        return Scores(np.arange(n), np.array(nats), np.full(n, 10.0), np.full(n, 4.0))

    identity = {"run": "mol", "seed": 0, "set_name": "s", "role": "domain"}
    (two,) = change_records(scores(3.0, 4.0), scores(5.0, 6.0), **identity)
    assert two["value"] == pytest.approx(-0.2 / math.log(2))
    assert [two[name] for name in ("low", "high", "n", "p", "mde")] == [None, None, 2, None, None]
    (three,) = change_records(scores(3.0, 4.0, 5.0), scores(5.0, 6.5, 7.0), **identity)
    assert three["low"] < three["value"] < three["high"] < 0
    assert three["unit"] == "bits/byte"


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Ratio of means 3 over documents of random length: 95 % intervals hold it in about 95 % of samples."""
    random = np.random.default_rng(0)
    hits = 0
    for trial in range(300):
        lengths = random.integers(20, 200, 60)
        sums = random.gamma(2.0, 1.5, 60) * lengths  # mean 3 a token, by document
        found = ratio_interval(sums, lengths, seed=trial)
        assert found.low <= found.value <= found.high
        hits += found.low <= 3.0 <= found.high
    assert 0.90 <= hits / 300 <= 0.98
