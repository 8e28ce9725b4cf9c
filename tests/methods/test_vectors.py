"""The small numbers that only the right form of each formula gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from acclimate.gradient.boost import Boost
from acclimate.gradient.chain import Chain
from acclimate.methods.stm import Stm
from acclimate.objective.divergence import Divergence
from acclimate.objective.objective import Objective
from acclimate.objective.weighting import Confidence
from acclimate.stores.fisher import SEQUENCES, Fisher
from acclimate.stores.path_integral import PathIntegral
from acclimate.types.central import Chunk
from tests.fixtures.batches import packed
from tests.methods.test_token_weights import ROUTES, Fixed, composed, step, taken, tokens


@dataclass(frozen=True)
class Given:
    """A term with known nats for every token of a document."""

    name: str
    by_document: Mapping[int, float]
    needs_reference: bool = False

    def __call__(self, chunk: Chunk) -> Tensor:
        nats = torch.tensor([self.by_document[int(d)] for d in chunk.document], dtype=chunk.logits.dtype)
        return nats + 0 * chunk.logits.sum(-1)


@pytest.mark.parametrize(
    ("objective", "loss"),
    [
        ({"normalise": "all", "average": "sequence"}, (1 + 3 + 0.5) / 3),  # as the authors restate it
        ({"normalise": "term", "average": "token"}, 13 / 11 + 0.5),  # the default
        ({"normalise": "all", "average": "token"}, (10 + 3 + 2) / 15),
        ({"normalise": "term", "average": "sequence"}, (1 + 3) / 2 + 0.5),
    ],
)
@pytest.mark.parametrize("expected", [None, 0.5])
def test_mol_as_restated_by_its_authors(objective: dict[str, Any], loss: float, expected: float | None) -> None:
    """Two domain sequences of 10 and 1 tokens with NLL 1 and 3, a general one of 4 tokens with KL 0.5."""
    batch = packed([[(0, 10, 0), (1, 1, 0)], [(2, 4, 1)]], vocabulary=40, ignored=0.0)
    nats = {0: 1.0, 1: 3.0, 2: 0.5}
    terms = [replace(routed, term=Given(routed.name, nats)) for routed in composed("mol").terms]
    state = torch.zeros(*batch.labels.shape, 12, dtype=torch.float64)
    head = step()[3]
    references = {"base": Fixed([state], head, [batch])}
    built = Objective(terms, ROUTES, cast(Any, references), expected=[None, expected], **objective)
    taken = built.step([batch])
    student = cast(Any, Fixed([state.requires_grad_()], head, [batch]))
    if expected is not None and objective["normalise"] == "term":  # of a term that a step expects half a unit of
        loss += 0.5 * (1 if objective["average"] == "sequence" else 4) / expected - 0.5
    assert taken.loss(student, batch).item() == pytest.approx(loss, abs=1e-12)


def test_dft() -> None:
    nats = -torch.tensor([0.5, 0.25], dtype=torch.float64).log()
    assert (Confidence()(nats, None) * nats).mean().item() == pytest.approx(0.346574, abs=5e-7)


@pytest.mark.parametrize(("tau", "weight"), [("batch", 0.1353), ("lower_median", 0.1353), ("median", 0.3679)])
def test_talrs_median(tau: Any, weight: float) -> None:
    means, nats = torch.tensor([1.0, 3.0], dtype=torch.float64), torch.tensor([2.0])
    assert Confidence(tau)(nats, means).item() == pytest.approx(weight, abs=5e-5)


def test_talrs_tau_of_a_micro_batch_is_its_lower_median() -> None:
    loss, _, sums, forwards = taken({"name": "talr", "tau": "batch", "w_min": 0.0})
    assert forwards == 0
    nats = [(-log[label].item(), piece) for log, _, label, piece in tokens(0)]
    weights = []
    for micro in ((0, 2), (3, 99)):  # pieces of the first micro-batch, and of the second
        here = [(n, piece) for n, piece in nats if micro[0] <= piece <= micro[1]]
        pieces = dict.fromkeys(piece for _, piece in here)
        means = sorted(sum(n for n, at in here if at == p) / sum(at == p for _, at in here) for p in pieces)
        weights += [np.exp(-n / means[(len(means) - 1) // 2]) for n, _ in here]
    assert loss.item() == pytest.approx(np.mean([w * n for w, (n, _) in zip(weights, nats, strict=True)]), rel=1e-12)
    assert sums.weights[0, 0].item() == pytest.approx(sum(weights), rel=1e-12)


def test_stm_masks_an_answers_first_token_only_by_its_own_perplexity() -> None:
    nats, first = np.array([0.2, 1.5, 0.1], dtype=np.float32), np.array([True, False, False])
    assert Stm(threshold=2.5)(nats, first).tolist() == [True, False, True]
    assert Stm(threshold=2.5, mask_first=True)(nats, first).tolist() == [False, False, True]
    assert Stm(percentile=100)(nats, first).all()


def test_dae() -> None:
    def divergence(expert: list[float], student: list[float]) -> tuple[float, Tensor]:
        logits = torch.tensor([student], dtype=torch.float64).log().requires_grad_()
        other = torch.tensor([expert], dtype=torch.float64).log()
        nats = Divergence("forward", 1.0)(Chunk(logits, torch.zeros(1).long(), torch.zeros(1).long(), other))
        return nats.item(), torch.autograd.grad(nats.sum(), logits)[0]

    assert divergence([0.9, 0.1], [0.5, 0.5])[0] == pytest.approx(0.368064, abs=5e-7)
    nats, gradient = divergence([0.9, 0.1], [0.9, 0.1])
    assert nats == 0
    assert gradient.abs().max() < 1e-15


@pytest.mark.parametrize(("steps", "total"), [(2000, 100.05), (200, 100.5), (100, 75.5)])
def test_dbas_gamma_sums_to_about_100_steps(steps: int, total: float) -> None:
    boost = Boost({"w": torch.zeros(1)}, 200 / steps, steps)
    assert sum(boost.gamma(t) for t in range(steps)) == pytest.approx(total, abs=1e-9)


def test_hlrs_path_integral_on_a_parabola() -> None:
    theta = torch.ones(1, dtype=torch.float64)
    recorder = PathIntegral(xi=1e-12)
    training: Any = SimpleNamespace(weights=SimpleNamespace(masters={"w": theta}, state_dict=lambda: {"w": theta}))
    chain = Chain([recorder], training.weights.masters)
    for at in range(100):
        grads = {"w": 2 * theta}
        chain.update(grads, at)
        theta -= 0.01 * grads["w"]
        recorder.on_step_end(training, {})
    omega, end = chain.states[0]["w"].item(), theta.item()
    assert omega == pytest.approx(0.992335, abs=5e-7)
    assert 1 - end**2 == pytest.approx(0.982412, abs=5e-7)
    assert end == pytest.approx(0.132620, abs=5e-7)
    assert recorder.result(training, chain.states[0]).statistic["w"].item() == pytest.approx(1.318983, abs=5e-7)


def test_ewcs_fisher_squares_each_sequence() -> None:
    """Sequences of gradient +1 and -1 give 1; the square of their mean would give 0."""
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    recorder = Fisher()
    stream: Any = SimpleNamespace(next_step=lambda: [packed([[(0, 3, 0)], [(1, 3, 0)]], ignored=0.0)], step=0)
    model: Any = SimpleNamespace(trainable=lambda: {"w": weight})
    state = recorder.init({"w": weight})
    plan = recorder.plan(model)
    assert plan.batches is not None
    assert plan.takes is not None
    assert len(plan.batches(stream).next_step()) == 2
    for sign in (1, -1):
        (sign * weight / 2).sum().backward()  # the loss divides by the step's sequences
        plan.takes["w"](weight.grad)
        weight.grad = None
    recorder.update({}, {}, cast(Any, state), 0)
    training: Any = SimpleNamespace(weights=SimpleNamespace(masters={"w": weight}))
    assert int(state[SEQUENCES]) == 2
    assert recorder.result(training, state).statistic["w"].tolist() == [1.0]
