"""Every term's gradient against an independent full-logits implementation in float64."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from acclimate.kernels import chunked
from acclimate.kernels.head import Head
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.divergence import Divergence
from acclimate.objective.objective import Objective
from acclimate.objective.weighting import Confidence
from acclimate.types.central import IGNORE, WEIGHTS, Batch, Chunk, Route, RoutedTerm
from acclimate.types.dials import Dial
from tests.fixtures.batches import packed
from tests.methods.test_token_weights import Fixed

ROUTES = (Route("domain", "domain"), Route("general", "general"), Route("tools", "tools"))
V, D = 259, 16


@dataclass
class FixedReference:
    """A reference whose hidden states are given."""

    states: Tensor
    head: Head
    calls: int = 0
    model: None = None

    def hidden(self, batch: Batch) -> Tensor:
        self.calls += 1
        return self.states


@dataclass
class FixedStudent:
    """A student whose hidden states are given."""

    states: Tensor
    head: Head
    routing: None = None

    def __call__(self, batch: Batch) -> Tensor:
        return self.states


def two_batches() -> list[Batch]:
    return [
        packed([[(0, 9, 0), (1, 12, 0)], [(2, 17, 1)], [(3, 5, 2), (4, 11, 2)]], seed=1),
        packed([[(5, 7, 1), (6, 6, 1)], [(7, 10, 0)]], seed=2),
    ]


def make_head(bias: bool, scale: float, softcap: float | None, seed: int = 0) -> Head:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(V, D, dtype=torch.float64, generator=generator).requires_grad_()
    offset = torch.randn(V, dtype=torch.float64, generator=generator).requires_grad_() if bias else None
    return Head(weight, offset, scale, softcap)


def naive_loss(
    terms: list[RoutedTerm], hiddens: list[Tensor], head: Head, references: list[Tensor], reference_head: Head,
    batches: list[Batch], normalise: str, average: str,
) -> Tensor:  # fmt: skip
    """The loss of a step, token by token, from full logits."""

    def logits(states: Tensor, h: Head) -> Tensor:
        out = states @ h.weight.T + (h.bias if h.bias is not None else 0)
        out = out * h.scale
        return out if h.softcap is None else h.softcap * torch.tanh(out / h.softcap)

    def unit(batch: Batch, b: int, t: int, names: set[str]) -> float:
        if average == "token":
            return 1.0
        same = [
            s for s in range(batch.labels.shape[1])
            if batch.document[b, s] == batch.document[b, t] and batch.labels[b, s] != IGNORE
            and ROUTES[batch.route[b, s]].name in names
        ]  # fmt: skip
        return 1.0 / len(same)

    every = {name for term in terms for name in term.routes}
    sums, counts, everything = [torch.zeros((), dtype=torch.float64) for _ in terms], [0.0] * len(terms), 0.0
    for hidden, reference, batch in zip(hiddens, references, batches, strict=True):
        p = logits(hidden, head).log_softmax(-1)
        q = logits(reference, reference_head).log_softmax(-1).detach()
        m = torch.log((p.exp() + q.exp()) / 2)
        for b, t in itertools.product(*map(range, batch.labels.shape)):
            name = ROUTES[batch.route[b, t]].name
            if batch.labels[b, t] == IGNORE:
                continue
            if name in every:
                everything += unit(batch, b, t, every)
            for k, term in enumerate(terms):
                if name not in term.routes:
                    continue
                pt, qt, mt = p[b, t], q[b, t], m[b, t]
                nats = {
                    "cross_entropy": lambda pt=pt, b=b, t=t, batch=batch: -pt[batch.labels[b, t]],
                    "reverse_kl": lambda pt=pt, qt=qt: (pt.exp() * (pt - qt)).sum(),
                    "forward_kl": lambda pt=pt, qt=qt: (qt.exp() * (qt - pt)).sum(),
                    "js": lambda pt=pt, qt=qt, mt=mt: (
                        0.5 * (pt.exp() * (pt - mt)).sum() + 0.5 * (qt.exp() * (qt - mt)).sum()
                    ),
                }[term.name]()
                u = unit(batch, b, t, set(term.routes))
                weight = batch.columns[WEIGHTS][b, t].item() if batch.columns else 1.0
                sums[k] = sums[k] + nats * u * weight
                counts[k] += u
    total = torch.zeros((), dtype=torch.float64)
    for term, nats_sum, count in zip(terms, sums, counts, strict=True):
        total = total + term.weight * nats_sum / (everything if normalise == "all" else count)
    return total


@pytest.mark.parametrize("direction", ["reverse", "forward", "js"])
@pytest.mark.parametrize(
    ("normalise", "average", "bias", "scale", "softcap", "chunk", "weighted", "shared"),
    [
        ("term", "token", False, 1.0, None, 256, False, False),
        ("term", "token", True, 0.5, 3.0, 5, False, True),
        ("all", "token", False, 1.0, 30.0, 7, True, False),
        ("term", "sequence", False, 2.0, None, 4, True, True),
        ("all", "sequence", True, 1.0, None, 3, False, False),
    ],
)
def test_gradient_equals_full_logits(
    direction: str, normalise: str, average: str, bias: bool, scale: float, softcap: float | None, chunk: int,
    weighted: bool, shared: bool, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(chunked, "BLOCK_BYTES", 2 * V * 8)  # two tokens a block, so that chunks have several
    divergence = Divergence(direction)  # type: ignore[arg-type]
    terms = [
        RoutedTerm("cross_entropy", CrossEntropy(), ("domain", "tools"), 0.7),
        RoutedTerm(divergence.name, divergence, ("general", "tools"), 1.3, "base"),
    ]
    batches = two_batches()
    if weighted:
        for batch in batches:
            draw = torch.Generator().manual_seed(3)
            batch.columns = {WEIGHTS: torch.rand(batch.labels.shape, generator=draw) + 0.1}
    head = make_head(bias, scale, softcap)
    reference_head = head if shared else make_head(bias, scale, softcap, seed=9)  # shared: one product for both
    generator = torch.Generator().manual_seed(5)
    hiddens = [torch.randn(*b.labels.shape, D, dtype=torch.float64, generator=generator) for b in batches]
    states = [h + torch.randn(h.shape, dtype=torch.float64, generator=generator) / 3 for h in hiddens]
    leaves = [h.requires_grad_() for h in hiddens] + [head.weight] + ([head.bias] if head.bias is not None else [])

    expected = naive_loss(terms, hiddens, head, states, reference_head, batches, normalise, average)
    expected_grads = torch.autograd.grad(expected, leaves)

    base = Fixed(states, reference_head, batches)
    objective = Objective(terms, ROUTES, {"base": base}, normalise=normalise, average=average, chunk_tokens=chunk)
    step, student = objective.step(batches), Fixed(hiddens, head, batches)
    total = sum((step.loss(student, batch) for batch in batches), torch.zeros((), dtype=torch.float64))
    grads = torch.autograd.grad(total, leaves)
    assert base.calls == len(batches)
    assert abs(total.item() - expected.item()) < 1e-10
    for found, wanted in zip(grads, expected_grads, strict=True):
        assert wanted.abs().max() > 1e-4  # the case is not empty
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


def test_references_run_before_the_student_keeps_its_activations() -> None:
    batch, order = packed([[(0, 8, 1)]]), []
    head = make_head(False, 1.0, None)

    class Reference(FixedReference):
        def hidden(self, batch: Batch) -> Tensor:
            order.append("reference")
            return super().hidden(batch)

    class Student(FixedStudent):
        def __call__(self, batch: Batch) -> Tensor:
            order.append("student")
            return super().__call__(batch)

    terms = [RoutedTerm("reverse_kl", Divergence(), ("general",), reference="base")]
    objective = Objective(terms, ROUTES, {"base": Reference(torch.zeros(1, 8, D).double(), head)})
    objective.step([batch]).loss(Student(torch.ones(1, 8, D).double().requires_grad_(), head), batch)
    assert order == ["reference", "student"]


def test_accumulation_does_not_change_the_gradient() -> None:
    """One batch or its rows one by one: the same step, although rows train different numbers of tokens."""
    batch = packed([[(0, 3, 0)], [(1, 19, 0)], [(2, 11, 1)], [(3, 4, 1)]])
    rows = [batch.map(lambda tensor, i=i: tensor[i : i + 1]) for i in range(4)]
    assert len({int((row.labels != IGNORE).sum()) for row in rows}) > 2
    head = make_head(False, 1.0, None)
    hidden = torch.randn(*batch.labels.shape, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    terms = [
        RoutedTerm("cross_entropy", CrossEntropy(), ("domain",)),
        RoutedTerm("reverse_kl", Divergence("reverse"), ("general",), reference="base"),
    ]

    def gradient(batches: list[Batch], states: list[Tensor]) -> Tensor:
        base = Fixed([state + 0.1 for state in states], head, batches)
        step, student = Objective(terms, ROUTES, {"base": base}).step(batches), Fixed(states, head, batches)
        return sum(torch.autograd.grad(step.loss(student, part), head.weight)[0] for part in batches)

    whole = gradient([batch], [hidden])
    torch.testing.assert_close(gradient(rows, list(hidden.split(1))), whole, rtol=0, atol=1e-12)


def test_reference_runs_only_where_a_token_needs_it() -> None:
    batch = packed([[(0, 8, 0)]])
    reference = FixedReference(torch.zeros(1, 8, D), make_head(False, 1.0, None))
    terms = [
        RoutedTerm("cross_entropy", CrossEntropy(), ("domain",)),
        RoutedTerm("reverse_kl", Divergence(), ("general",), reference="base"),
    ]
    objective = Objective(terms, ROUTES, {"base": reference})
    head = make_head(False, 1.0, None)
    student = FixedStudent(torch.randn(1, 8, D).double().requires_grad_(), head)
    step = objective.step([batch])
    assert step.loss(student, batch).isfinite()
    assert reference.calls == 0
    assert set(step.report()) == {"loss", "loss/domain/cross_entropy"}  # the absent term is absent


def test_terms_of_one_name_are_one_mean_over_the_tokens_of_both() -> None:
    """As dae's two teachers on a source whose roles have routes of their own."""
    routes = [replace(route, source="chat") for route in ROUTES]
    batch = packed([[(0, 12, 0), (1, 5, 1)]])
    terms = [RoutedTerm("cross_entropy", CrossEntropy(), (route.name,)) for route in routes[:2]]
    step, head = Objective(terms, routes, {}).step([batch]), make_head(False, 1.0, None)
    hidden = torch.randn(*batch.labels.shape, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    step.loss(FixedStudent(hidden.requires_grad_(), head), batch)
    sums = step.sums
    assert (sums.tokens.sum(1) > 0).all()
    assert sums.tokens[0].sum() != sums.tokens[1].sum()
    metrics = step.report()
    assert metrics["loss/chat/cross_entropy"] == pytest.approx((sums.nats.sum() / sums.tokens.sum()).item())
    assert set(metrics) == {"loss", "loss/chat/cross_entropy"}


def test_small_share_divides_by_its_expected_count() -> None:
    batch = packed([[(0, 30, 0)], [(1, 4, 1)]], ignored=0)
    terms = [
        RoutedTerm("cross_entropy", CrossEntropy(), ("domain",)),
        RoutedTerm("reverse_kl", Divergence(), ("general",), reference="base"),
    ]
    assert Objective(terms, ROUTES, {}).step([batch]).counts.tolist() == [30, 4]
    assert Objective(terms, ROUTES, {}, expected=[None, 12.5]).step([batch]).counts.tolist() == [30, 12.5]


@dataclass(frozen=True)
class TopK:
    """``sum_v q (log q - log p)`` over the few likeliest tokens of a reference whose log-probabilities were kept."""

    needs_reference: bool = False

    def __call__(self, chunk: Chunk) -> Tensor:
        ids, log_q = chunk.columns["ids"], chunk.columns["log_q"]  # [N, 3]
        return (log_q.exp() * (log_q - chunk.logits.log_softmax(-1).gather(1, ids))).sum(-1)


@pytest.mark.parametrize("tau", [None, "median"], ids=["plain", "with a first pass"])
def test_a_term_reads_columns_of_its_tokens(tau: str | None) -> None:
    generator, head = torch.Generator().manual_seed(0), make_head(False, 1.0, None)
    batches = two_batches()
    for batch in batches:
        shape = (*batch.labels.shape, 3)
        log_q = torch.randn(shape, dtype=torch.float64, generator=generator).log_softmax(-1)
        batch.columns = {"ids": torch.randint(V, shape, generator=generator), "log_q": log_q, "place": batch.labels}
    batches = [batch.to("cpu") for batch in batches]
    states = [torch.randn(*b.labels.shape, D, dtype=torch.float64, generator=generator) for b in batches]
    weighting = None if tau is None else Confidence(tau)
    terms = [RoutedTerm("top_k", TopK(), ("general", "tools"), 0.5, weighting=weighting)]
    step, student = Objective(terms, ROUTES, {}, chunk_tokens=4).step(batches), Fixed(states, head, batches)
    step.observe(student)
    (found,) = torch.autograd.grad(sum(step.loss(student, batch) for batch in batches), head.weight)
    nats, means = [], []
    for batch, hidden in zip(batches, states, strict=True):
        log_p = (hidden @ head.weight.T).log_softmax(-1).gather(-1, batch.columns["ids"])
        log_q, chosen = batch.columns["log_q"], (batch.labels != IGNORE) & (batch.route > 0)
        per_token = (log_q.exp() * (log_q - log_p)).sum(-1)
        nats.append(per_token[chosen])
        means += [per_token[chosen & (batch.document == d)].mean() for d in batch.document[chosen].unique()]
    every = torch.cat(nats)
    weight = 1.0 if weighting is None else weighting(every, torch.stack(means).detach())
    (wanted,) = torch.autograd.grad(0.5 * (every * weight).mean(), head.weight)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_a_dial_is_read_once_a_step() -> None:
    batch, head = packed([[(0, 8, 0)]]), make_head(False, 1.0, None)
    dial = Dial("weight", 1.0, low=0.0, high=4.0)
    student = FixedStudent(torch.randn(1, 8, D, dtype=torch.float64), head)
    objective = Objective([RoutedTerm("ce", CrossEntropy(), ("domain",), dial)], ROUTES, {})
    first = objective.step([batch])
    dial.move(3.0)
    losses = [step.loss(student, batch).item() for step in (first, objective.step([batch]))]
    assert losses[1] == pytest.approx(3 * losses[0], rel=1e-12)


def test_a_step_takes_its_own_micro_batches_only() -> None:
    one, two = two_batches()
    step = Objective([RoutedTerm("ce", CrossEntropy(), ("domain",))], ROUTES, {}).step([one])
    with pytest.raises(ValueError, match="none of those that the step was made of"):
        step.loss(FixedStudent(torch.randn(2, 17, D), make_head(False, 1.0, None)), two)


@pytest.mark.parametrize("direction", ["reverse", "forward", "js"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_divergence_of_equal_logits_is_exactly_zero(direction: str, dtype: torch.dtype) -> None:
    logits = (torch.randn(50, V, generator=torch.Generator().manual_seed(0)) * 8).to(dtype).requires_grad_()
    nats = Divergence(direction)(Chunk(logits, torch.zeros(50).long(), torch.zeros(50).long(), logits.detach()))  # type: ignore[arg-type]
    assert nats.abs().max() == 0
    (gradient,) = torch.autograd.grad(nats.sum(), logits)
    assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize("direction", ["reverse", "forward", "js"])
def test_divergence_gradcheck_and_bounds(direction: str) -> None:
    generator = torch.Generator().manual_seed(2)
    reference = torch.randn(4, 11, dtype=torch.float64, generator=generator) * 20
    student = (torch.randn(4, 11, dtype=torch.float64, generator=generator) * 20).requires_grad_()
    none = torch.zeros(4).long()

    def nats(logits: Tensor) -> Tensor:
        return Divergence(direction)(Chunk(logits, none, none, reference))  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(nats, student)
    assert (nats(student) > 0).all()
    if direction == "js":
        assert (nats(student) <= torch.log(torch.tensor(2.0))).all()
