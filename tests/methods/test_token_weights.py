"""dft, talr and asft against their formulas, token by token from full logits in float64."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from acclimate.build import build_objective, mix
from acclimate.build.plan import Composition, compose
from acclimate.config.load import parse_config
from acclimate.data.corpus import load_corpora
from acclimate.kernels.head import Head
from acclimate.model.causal import CausalModel
from acclimate.model.load import load_tokenizer
from acclimate.objective.objective import Objective
from acclimate.objective.step import Sums
from acclimate.types.central import IGNORE, Batch, Route
from acclimate.types.errors import ConfigError
from tests.fixtures.batches import packed
from tests.fixtures.runs import config

ROUTES = (Route("domain", "domain"), Route("general", "general"))
V, D = 40, 12


@dataclass
class Fixed:
    """A student or reference whose hidden states are given, by micro-batch."""

    states: list[Tensor]
    head: Head
    batches: list[Batch]
    calls: int = 0
    routing: None = None
    model: None = None

    def hidden(self, batch: Batch) -> Tensor:
        self.calls += 1
        return self.states[next(i for i, known in enumerate(self.batches) if known is batch)]

    __call__ = hidden

    @contextmanager
    def inference(self) -> Iterator[None]:
        with torch.no_grad():
            yield


def composed(method: Any, **sections: Any) -> Composition:
    sources = {"domain": {"path": "d.jsonl"}, "general": {"path": "g.jsonl"}}
    data = {"model": {"path": "m"}, "sources": sources, "budget": {"steps": 1}, "method": method}
    return compose(parse_config(data | sections))


def step() -> tuple[list[Batch], list[Tensor], list[Tensor], Head]:
    """Two micro-batches of unequal size, the hidden states of student and base, and a head."""
    batches = [
        packed([[(0, 9, 0), (1, 5, 0)], [(2, 11, 1)]], vocabulary=V, seed=1),
        packed([[(3, 30, 0)], [(4, 4, 0), (5, 8, 1)], [(6, 7, 0)]], vocabulary=V, seed=2),
    ]
    draw = torch.Generator().manual_seed(0)

    def states() -> list[Tensor]:
        return [torch.randn(*b.labels.shape, D, generator=draw, dtype=torch.float64) for b in batches]

    head = Head(torch.randn(V, D, generator=draw, dtype=torch.float64), None, 1.0, None)
    return batches, [state.requires_grad_() for state in states()], states(), head


def taken(method: Any, chunk_tokens: int = 7) -> tuple[Tensor, list[Tensor], Sums, int]:
    """Loss, gradients of the hidden states, sums and the first pass's forwards of one optimizer step."""
    batches, hidden, other, head = step()
    base = Fixed(other, head, batches)
    objective = Objective(composed(method).terms, ROUTES, {"base": cast(Any, base)}, chunk_tokens=chunk_tokens)
    taken = objective.step(batches)
    first = Fixed([h.detach() for h in hidden], head, batches)
    taken.observe(cast(CausalModel, first))
    student = cast(CausalModel, Fixed(hidden, head, batches))
    loss = taken.loss(student, batches[0]) + taken.loss(student, batches[1])
    loss.backward()  # type: ignore[no-untyped-call]
    assert taken.sums is not None
    return loss.detach(), [h.grad for h in hidden if h.grad is not None], taken.sums, first.calls


def tokens(route: int) -> Iterator[tuple[Tensor, Tensor, Tensor, int]]:
    """(log-probabilities of the student, of the base, label, piece) of every learned token of a route."""
    batches, hidden, other, head = step()
    piece = -1
    for batch, h, o in zip(batches, hidden, other, strict=True):
        for b in range(len(batch.labels)):
            for t in range(batch.labels.shape[1]):
                piece += int(batch.position_ids[b, t] == 0)
                if batch.labels[b, t] != IGNORE and batch.route[b, t] == route:
                    p, q = ((s[b, t].detach() @ head.weight.T).log_softmax(-1) for s in (h, o))
                    yield p, q, batch.labels[b, t], piece


def test_dft_weighs_each_token_by_its_probability() -> None:
    loss, gradients, sums, forwards = taken("dft")
    p = torch.stack([-log[label] for log, _, label, _ in tokens(0)])
    torch.testing.assert_close(loss, (torch.exp(-p) * p).mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(sums.nats[0, 0], p.sum(), rtol=1e-12, atol=0)  # reported unweighted
    torch.testing.assert_close(sums.weights[0, 0], torch.exp(-p).sum(), rtol=1e-12, atol=0)
    assert forwards == 0
    # the gradient of one token: p_y (p - e_y) W / n, as if its weight were a constant
    batches, hidden, _, head = step()
    t = int((batches[0].labels[0] != IGNORE).nonzero()[0])
    probabilities = (hidden[0][0, t].detach() @ head.weight.T).softmax(-1)
    label = batches[0].labels[0, t]
    expected = probabilities[label] * (probabilities @ head.weight - head.weight[label]) / len(p)
    torch.testing.assert_close(gradients[0][0, t], expected, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("tau", ["median", 4.0])
@pytest.mark.parametrize("w_min", [0.0, 0.3])
def test_talr_weighs_by_loss_over_tau_with_a_floor(tau: float | str, w_min: float) -> None:
    loss, _, sums, forwards = taken({"name": "talr", "tau": tau, "w_min": w_min})
    nats = [(-log[label].item(), piece) for log, _, label, piece in tokens(0)]
    means = [statistics.fmean(n for n, at in nats if at == piece) for piece in dict.fromkeys(at for _, at in nats)]
    assert len(means) == 5
    losses = torch.tensor([n for n, _ in nats], dtype=torch.float64)
    weights = torch.exp(-losses / (statistics.median(means) if isinstance(tau, str) else tau)).clamp_min(w_min)
    torch.testing.assert_close(loss, (weights * losses).mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(sums.weights[0, 0], weights.sum(), rtol=1e-12, atol=0)
    assert forwards == (2 if tau == "median" else 0)
    floored = (weights == w_min).sum()
    assert (floored > 0) == (w_min > 0)
    assert floored < len(weights)


def test_the_median_is_of_the_step_and_not_of_a_micro_batch() -> None:
    nats = [(-log[label].item(), piece) for log, _, label, piece in tokens(0)]
    by_piece = {piece: statistics.fmean(n for n, at in nats if at == piece) for _, piece in nats}
    first = [mean for piece, mean in by_piece.items() if piece <= 2]
    assert 0 < len(first) < len(by_piece)
    assert statistics.median(first) != statistics.median(by_piece.values())


@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_the_weight_of_mols_divergence(direction: str) -> None:
    loss = taken({"name": "mol", "kl_weight": 0.3, "direction": direction})[0]
    pairs = [(p, q) if direction == "reverse" else (q, p) for p, q, _, _ in tokens(1)]
    divergence = torch.stack([(p.exp() * (p - q)).sum() for p, q in pairs]).mean()
    torch.testing.assert_close(loss, taken("sft")[0] + 0.3 * divergence, rtol=1e-12, atol=0)


@pytest.mark.parametrize("method", ["talr", ["mol", "talr"], ["replay", "talr"]])
def test_a_step_without_a_token_of_the_weighted_term(method: Any) -> None:
    batches = [packed([[(0, 9, 1), (1, 5, 1)]], vocabulary=V, seed=1)]
    _, _, _, head = step()
    states = [torch.randn(*batches[0].labels.shape, D, dtype=torch.float64)]
    objective = Objective(composed(method).terms, ROUTES, {"base": cast(Any, Fixed(states, head, batches))})
    taken = objective.step(batches)
    student = cast(CausalModel, Fixed(states, head, batches))
    taken.observe(student)
    states[0].requires_grad_()
    assert torch.isfinite(taken.loss(student, batches[0]))
    assert not any(key.startswith(("loss/domain", "weight/domain")) for key in taken.report())


def test_asft_adds_the_divergence_from_the_base_on_the_same_tokens() -> None:
    dft, asft = taken("dft")[0], taken({"name": "asft", "kl_weight": 0.3})[0]
    divergence = torch.stack([(q.exp() * (q - p)).sum() for p, q, _, _ in tokens(0)]).mean()
    torch.testing.assert_close(asft, dft + 0.3 * divergence, rtol=1e-12, atol=0)


def test_a_weighting_joins_the_cross_entropy_of_another_method() -> None:
    loss = taken(["mol", "dft"])[0]
    divergence = torch.stack([(p.exp() * (p - q)).sum() for p, q, _, _ in tokens(1)]).mean()
    torch.testing.assert_close(loss, taken("dft")[0] + divergence, rtol=1e-12, atol=0)
    replay = taken(["replay", "dft"])[0]
    nats = torch.stack([-log[label] for route in (0, 1) for log, _, label, _ in tokens(route)])
    torch.testing.assert_close(replay, (torch.exp(-nats) * nats).mean(), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("method", "forwards"), [("sft", 0.0), ("talr", 1.0), ("mol", 0.5), (["mol", "talr"], 1.0), ("asft", 1.0)]
)
def test_validate_reckons_with_forwards_without_gradient(
    method: Any, forwards: float, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    settings = config(pico_folder, corpora, tmp_path, method=method)
    found = load_corpora(settings, load_tokenizer(settings.model))
    objective = build_objective(settings, compose(settings).terms, found)
    assert mix(settings, found, objective).forwards == forwards


def test_a_sources_own_terms_are_not_weighed() -> None:
    sources = {"domain": {"path": "d"}, "more": {"path": "m", "terms": {"cross_entropy": 1.0}}}
    terms = composed("dft", sources=sources).terms
    assert [(t.routes, t.weighting is None) for t in terms] == [(("domain",), False), (("more",), True)]
    assert len(composed("sft", sources=sources).terms) == 1  # unweighted, they share one denominator
    alone = {"domain": {"path": "d", "terms": {"cross_entropy": 1.0}}}
    with pytest.raises(ConfigError, match=r"'dft' weighs .* cross-entropy, but there is none"):
        composed("dft", sources=alone)
