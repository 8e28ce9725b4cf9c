"""The mean gradient, and the factors that it is kept in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from acclimate.build import build_training
from acclimate.stores.lowrank import Matrices, shortened
from acclimate.stores.mean_gradient import MeanGradient
from tests.fixtures.gradients import built
from tests.fixtures.runs import config
from tests.fixtures.stores import taken

STEPS = 5


def expected_gradients(model: Path, corpora: Path, output: Path) -> list[dict[str, torch.Tensor]]:
    """Gradients of the ordinary run on general text, of which none is applied."""
    general = {"path": str(corpora / "general.jsonl"), "share": 0.25, "heldout": 4, "route": "domain"}
    chat = {"path": str(corpora / "chat.jsonl"), "share": 0.25, "heldout": 4, "route": "domain"}
    unused = {"path": str(corpora / "domain.jsonl"), "route": "general"}
    settings = config(
        model, corpora, output, method="sft", budget={"count": "all", "steps": STEPS},
        sources={"general": general, "chat": chat, "domain": unused},
    )  # fmt: skip
    training = built(settings)
    found = []
    for _ in range(STEPS):
        batches = training.data.next_step()
        step = training.objective.step(batches)
        for batch in batches:
            step.loss(training.model, batch).backward()
        found.append({n: p.grad.clone() for n, p in training.weights.parameters.items()})
        training.weights.publish()
    training.data.close()
    return found


def test_is_the_mean_of_the_steps_gradients(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    store = taken(MeanGradient(dtype="float32"), pico_folder, corpora, tmp_path / "store", 128 * STEPS)
    assert store.manifest["steps"] == STEPS
    steps = expected_gradients(pico_folder, corpora, tmp_path)
    mean = {name: sum(step[name] for step in steps) / STEPS for name in steps[0]}
    for name, gradient in store.tensors.items():
        torch.testing.assert_close(gradient.double(), mean[name], rtol=1e-3, atol=1e-5)

    def flat(of: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([of[name].flatten() for name in mean])

    halves = [sum(flat(step) for step in steps[first::2]) for first in (0, 1)]
    assert store.facts["norm"] == pytest.approx(flat(mean).norm().item(), rel=1e-4)
    assert store.facts["split_half_cosine"] == pytest.approx(torch.cosine_similarity(*halves, dim=0).item(), rel=1e-3)
    assert store.facts["relative_error"] == pytest.approx(0, abs=1e-6)
    assert store.facts["stored_cosine"] == pytest.approx(1)


def test_the_weights_do_not_move(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {}

    def watched(*arguments, **options):
        built_ = build_training(*arguments, **options)
        kept["weights"] = built_[0].weights
        kept["before"] = {n: p.detach().clone() for n, p in kept["weights"].parameters.items()}
        return built_

    monkeypatch.setattr("acclimate.verbs.record.build_training", watched)
    taken(MeanGradient(), pico_folder, corpora, tmp_path / "s", optimizer={"weight_decay": 0.5, "learning_rate": 0.9})
    assert all(torch.equal(p, kept["before"][n]) for n, p in kept["weights"].parameters.items())


def test_low_rank_is_the_best_of_its_rank_and_dense_where_that_is_smaller() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(30, 20, generator=generator)
    short = shortened(matrix, 5, torch.float32)
    assert {suffix: tensor.shape for suffix, tensor in short.items()} == {"/left": (30, 5), "/right": (5, 20)}
    read = Matrices({"a" + suffix: tensor for suffix, tensor in short.items()} | {"b": matrix})
    assert list(read) == ["a", "b"]
    assert len(read) == 2
    error = (read["a"] - matrix).norm()
    torch.testing.assert_close(error, torch.linalg.svdvals(matrix)[5:].norm(), rtol=1e-4, atol=0)
    assert torch.equal(read["b"], matrix)
    assert shortened(matrix, 12, torch.float32).keys() == {""}  # 12 * 50 = 30 * 20
    assert shortened(matrix, 11, torch.float32).keys() == {"/left", "/right"}
    assert shortened(matrix[0], 1, torch.float32).keys() == {""}


def test_a_stored_rank_says_its_error(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    exact = taken(MeanGradient(dtype="float32"), pico_folder, corpora, tmp_path / "exact")
    short = taken(MeanGradient(rank=3, dtype="float32"), pico_folder, corpora, tmp_path / "short")
    read = Matrices(short.tensors)
    assert set(read) == set(exact.tensors)
    a, b = (torch.cat([of[name].flatten() for name in exact.tensors]).double() for of in (exact.tensors, read))
    assert short.facts["relative_error"] == pytest.approx(((a - b).norm() / a.norm()).item(), rel=1e-4)
    assert short.facts["stored_cosine"] == pytest.approx(torch.cosine_similarity(a, b, dim=0).item(), rel=1e-4)
    assert 0.05 < short.facts["relative_error"] < 0.9
