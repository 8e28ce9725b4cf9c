"""The Fisher is the mean square of each sequence's own gradient, however rows are packed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from acclimate.data.deal.loader import Loader
from acclimate.stores.fisher import Fisher, _Draw, sequences_of
from acclimate.types.central import IGNORE, PAD_DOCUMENT
from tests.fixtures.batches import packed
from tests.fixtures.gradients import built
from tests.fixtures.pico import pico_model
from tests.fixtures.runs import config
from tests.fixtures.stores import taken

GENERAL = {"method": "sft", "data": {"sequence_length": 110}, "budget": {"batch_tokens": 150}}
TOKENS = 400


def naive(batches: list, network: torch.nn.Module, names: set[str]) -> tuple[dict[str, Tensor], int]:
    """A loop over documents in float64, each alone in a forward of the bare Hugging Face model."""
    weights = {n: p for n, p in network.named_parameters() if n in names}
    found, count = {n: torch.zeros_like(p) for n, p in weights.items()}, 0
    for batch in batches:
        for row in range(len(batch.input_ids)):
            starts = (batch.position_ids[row] == 0).nonzero().flatten().tolist()
            for begin, end in zip(starts, [*starts[1:], None], strict=True):
                if batch.document[row, begin] == PAD_DOCUMENT:
                    continue
                ids, labels = batch.input_ids[row, begin:end], batch.labels[row, begin:end]
                logits = network(ids[None]).logits[0]
                loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE)
                for name, grad in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
                    found[name] += grad**2
                count += 1
    return {n: f / count for n, f in found.items()}, count


@pytest.mark.parametrize("lora", [None, {"rank": 4, "target_modules": ["q_proj", "v_proj"]}], ids=["full", "lora"])
def test_equals_a_naive_loop_over_documents(
    lora: dict | None, pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list = []
    deal = Loader.prepared
    monkeypatch.setattr(Loader, "prepared", lambda self: seen.append(deal(self)) or seen[-1])
    store = taken(Fisher(), pico_folder, corpora, tmp_path / "store", TOKENS, lora=lora, **GENERAL)
    used = [batch for step in seen[: store.manifest["steps"]] for batch in step]  # one step more was made ahead
    assert any(len(set(row.tolist()) - {PAD_DOCUMENT}) > 1 for batch in used for row in batch.document)
    expected, count = naive(used, pico_model(dtype=torch.float64), set(store.tensors))
    assert store.facts["sequences"] == count > 5
    assert len(store.tensors) == (4 if lora else 20)
    for name, fisher in store.tensors.items():
        torch.testing.assert_close(fisher.double(), expected[name], rtol=2e-3, atol=1e-6 * expected[name].max().item())


def test_a_squared_batch_mean_is_another_quantity(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """What the naive loop above would not tell apart by scale alone: the micro-batch does not matter."""
    one = taken(Fisher(), pico_folder, corpora, tmp_path / "a", TOKENS, training={"micro_batch_size": 1}, **GENERAL)
    many = taken(Fisher(), pico_folder, corpora, tmp_path / "b", TOKENS, training={"micro_batch_size": 8}, **GENERAL)
    for name, fisher in one.tensors.items():
        torch.testing.assert_close(many.tensors[name], fisher, rtol=1e-3, atol=1e-9)


def test_sequences_of_a_packed_batch() -> None:
    batch = packed([[(0, 5, 0), (1, 3, 0)], [(2, 6, 0)]], ignored=0.0)
    batch.labels[0, 5:8] = IGNORE  # nothing is learned from document 1
    found = list(sequences_of(batch))
    assert [int(part.document.unique()) for part in found] == [0, 2]
    assert [part.input_ids.shape for part in found] == [(1, 5), (1, 6)]
    assert torch.equal(found[1].labels[0], batch.labels[1, :6])
    assert found[0].position_ids.tolist() == [[0, 1, 2, 3, 4]]


def test_sampled_labels_follow_the_model(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    training = built(config(pico_folder, corpora, tmp_path, method="sft"), torch.float32)
    batch = packed([[(0, 4, 0)]], ignored=0.0)
    batch.labels[0, 1] = IGNORE
    with torch.no_grad():
        logits = training.model.network(batch.input_ids).logits[0]
    expected = logits.softmax(-1)
    draws = 1500
    labels = torch.cat([_Draw(training.model, 0)([batch], step)[0].labels for step in range(draws)])
    assert (labels[:, 1] == IGNORE).all()
    for position in (0, 2, 3):
        counts = torch.bincount(labels[:, position], minlength=expected.shape[1]) / draws
        assert (counts - expected[position]).abs().max() < 4 * (0.25 / draws) ** 0.5
    again = [_Draw(training.model, 0)([batch], 3)[0].labels for _ in range(2)]
    assert torch.equal(*again)


def test_sampled_is_another_fisher(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    true = taken(Fisher("true"), pico_folder, corpora, tmp_path / "a", TOKENS, **GENERAL)
    sampled = taken(Fisher("sampled"), pico_folder, corpora, tmp_path / "b", TOKENS, **GENERAL)
    assert sampled.manifest["settings"]["labels"] == "sampled"
    assert sampled.facts["trace"] != true.facts["trace"]
