"""The model trains on what it writes itself: by its present weights, resumed bitwise, and the same on two ranks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from acclimate.training.checkpoint import load_checkpoint, save_checkpoint
from acclimate.training.loop import run_loop
from tests.data.test_ahead import threads
from tests.fixtures.live import FIRST, SHARES, Continued, live_training
from tests.fixtures.ranks import run_ranks


def test_rows_are_written_by_the_weights_of_their_step(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    training, write = live_training(pico_folder, corpora, tmp_path)
    deal = training.data.next_step
    for step in range(3):
        batches = deal()
        before = len(write.written)
        rows = {
            int(batch.document[b, 0]) - FIRST: batch.labels[b]
            for batch in batches
            for b in range(len(batch.labels))
            if batch.document[b, 0] >= FIRST
        }
        assert rows
        for number, labels in rows.items():  # as the model says it now, and not as it was a step ago
            ids = list(Continued(training.model)([number])[0].ids)
            assert ids[-8:] == labels[labels >= 0].tolist(), step
        assert len(write.written) == before
        with torch.no_grad():
            for master in training.weights.masters.values():
                master.mul_(-1 if step else 1.5)
        training.weights.publish()
    training.data.close()


@pytest.mark.parametrize("count", ["domain", "all", "self"])
def test_the_budget_counts_what_was_written(count: str, pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    training, _ = live_training(pico_folder, corpora, tmp_path, count=count)
    run_loop(training)
    progress = training.data.progress()
    tokens = {name: progress[f"trained_tokens/{name}"] for name in SHARES}
    total = sum(tokens.values())
    assert 0 <= (total if count == "all" else tokens[count]) - 5 * 128 <= 2 * 96
    for name, share in SHARES.items():
        assert abs(tokens[name] - share * total) <= 2 * 96
    assert threads() == []


def test_a_resumed_run_writes_and_learns_the_same(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    whole, _ = live_training(pico_folder, corpora, tmp_path)
    run_loop(whole)
    first, _ = live_training(pico_folder, corpora, tmp_path)
    first.total_steps = 2
    run_loop(first)
    save_checkpoint(first, tmp_path / "step-00000002")
    resumed, write = live_training(pico_folder, corpora, tmp_path)
    load_checkpoint(resumed, tmp_path / "step-00000002")
    run_loop(resumed)
    assert write.written[0][0] > 0
    for name, weight in whole.weights.state_dict().items():
        assert torch.equal(resumed.weights.state_dict()[name], weight), name
    assert resumed.data.state_dict() == whole.data.state_dict()


def test_two_ranks_share_the_writing(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    alone, write = live_training(pico_folder, corpora, tmp_path)
    run_loop(alone)
    run_ranks(2, "tests.parallel.live_worker", pico_folder, corpora, tmp_path)
    parts = [json.loads((tmp_path / f"written-{rank}.json").read_text()) for rank in range(2)]
    both = [(number, ids) for part in parts for number, ids in part]
    assert all((number, ids) in both for number, ids in write.written[:6])
    assert all(0.3 < len(part) / len(both) < 0.7 for part in parts)
    found = load_file(tmp_path / "weights.safetensors")
    for name, weight in alone.weights.state_dict().items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-9)
    progress = json.loads((tmp_path / "progress.json").read_text())
    assert progress["trained_tokens/self"] == alone.data.progress()["trained_tokens/self"] > 0
    assert (tmp_path / "fails-1").read_text().startswith("DataError: rank 1 cannot write document ")
    assert (tmp_path / "fails-0").read_text() == "PeerError: Rank 1 stopped with an error."
