from __future__ import annotations

import json
import threading
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.config.schema import BudgetSection
from acclimate.data.deal.loader import Loader, epochs_goal, total_steps
from acclimate.data.deal.mix import Mixer
from acclimate.data.deal.pack import PackedSource
from acclimate.data.deal.passes import Passes
from acclimate.data.deal.prefetch import Prefetch
from acclimate.data.deal.shares import constant
from acclimate.types.central import IGNORE, PAD_DOCUMENT, Batch
from acclimate.types.errors import ConfigError
from tests.data.samples import token_corpus
from tests.fixtures.sentences import refused

ALL = np.array([True, True, True])
COMPARES = np.array([0, 1, 2])  # two references


def loader(count: str = "domain", batch_tokens: int = 64, micro: int = 2, mixed: bool = False, **ranks: int) -> Loader:
    """Routes: 0 domain, 1 general, 2 a route that general's documents may mix in."""
    random = np.random.default_rng(0)
    domain = [[0] * int(n) for n in random.integers(2, 60, 30)]
    general = [[-1, *([1] * int(n))] for n in random.integers(1, 30, 30)]
    if mixed:
        domain = [[0, 0, 2, *document] if i % 3 == 0 else document for i, document in enumerate(domain)]
    sources = {
        "domain": Passes(PackedSource(token_corpus(domain), "domain", 32, ALL, 0)),
        "general": Passes(PackedSource(token_corpus(general), "general", 32, ALL, 0, first_document_id=30)),
    }
    mixer = Mixer(sources, constant({"domain": 0.4, "general": 0.6}))
    return Loader(mixer, count, batch_tokens, micro, COMPARES, **ranks)


def trained(batches: list[Batch], routes: tuple[int, ...] = (0, 1, 2)) -> int:
    return sum(int(((b.labels != IGNORE) & torch.isin(b.route, torch.tensor(routes))).sum()) for b in batches)


def same(one: list[Batch], two: list[Batch]) -> bool:
    return len(one) == len(two) and all(
        torch.equal(getattr(a, name), getattr(b, name))
        for a, b in zip(one, two, strict=True)
        for name in ("input_ids", "labels", "position_ids", "document", "route")
    )


@pytest.mark.parametrize("count", ["domain", "general", "all"])
def test_the_budget_is_met_within_one_row(count: str) -> None:
    data = loader(count)
    routes = {"domain": (0,), "general": (1,), "all": (0, 1)}[count]
    total = 0
    for step in range(1, 40):
        batches = data.next_step()
        total += trained(batches, routes)
        assert data.counted == total
        assert 0 <= total - step * 64 < 32
        assert trained(batches, routes) > 0
    assert min(data.mixer.epochs.values()) > 1
    assert abs(data.mixer.trained["domain"] - 0.4 * sum(data.mixer.trained.values())) <= 32


@pytest.mark.parametrize("mixed", [False, True])
def test_the_rows_of_a_micro_batch_need_the_same_references(mixed: bool) -> None:
    data = loader(mixed=mixed)
    kinds: Counter[int] = Counter()
    rows_of_both = 0
    for _ in range(10):
        batches = data.next_step()
        for batch in batches:
            assert len(batch.input_ids) <= 2
            learned = batch.labels != IGNORE
            needs = [needed(batch.route[b][learned[b]]) for b in range(len(learned))]
            assert len(set(needs)) == 1
            kinds[needs[0]] += 1
            rows_of_both += sum(len(batch.route[b][learned[b]].unique()) == 2 for b in range(len(learned)))
    assert set(kinds) == ({0, 1, 2} if mixed else {0, 1})
    assert (rows_of_both > 0) == mixed


def needed(routes: torch.Tensor) -> int:
    return int(np.bitwise_or.reduce(COMPARES[routes.numpy()]))


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_ranks_share_the_step(world_size: int) -> None:
    alone = loader(batch_tokens=96)
    ranks = [loader(batch_tokens=96, rank=rank, world_size=world_size) for rank in range(world_size)]
    dummies = 0
    for _ in range(8):
        whole, parts = alone.next_step(), [rank.next_step() for rank in ranks]
        assert len({len(part) for part in parts}) == 1
        pairs: Counter[Any] = Counter()
        for batch in (batch for part in parts for batch in part):
            pairs.update(zip(batch.document.flatten().tolist(), batch.labels.flatten().tolist(), strict=True))
        expected: Counter[Any] = Counter()
        for batch in whole:
            expected.update(zip(batch.document.flatten().tolist(), batch.labels.flatten().tolist(), strict=True))
        for counter in (pairs, expected):
            counter.pop((PAD_DOCUMENT, IGNORE), None)
        assert pairs == expected
        for batches in zip(*parts, strict=True):  # the same micro-batch on every rank
            assert len({needed(batch.route[batch.labels != IGNORE]) for batch in batches if trained([batch])}) == 1
        empty = [batch for part in parts for batch in part if not trained([batch])]
        assert all((batch.document == PAD_DOCUMENT).all() for batch in empty)
        dummies += len(empty)
    if world_size == 7:
        assert dummies > 0  # some step had a rank without rows


@pytest.mark.parametrize("taken", [0, 1, 5, 17])
def test_resume_gives_the_same_batches_twice(taken: int) -> None:
    straight = loader()
    for _ in range(taken):
        straight.next_step()
    state = json.loads(json.dumps(straight.state_dict(), sort_keys=True))
    if taken == 5:
        assert any(0 < epoch % 1 < 1 for epoch in straight.mixer.epochs.values())  # in the middle of an epoch
    after = [straight.next_step() for _ in range(6)]
    for _ in range(2):
        resumed = loader()
        resumed.load_state_dict(state)
        assert all(same(resumed.next_step(), batches) for batches in after)
        assert resumed.state_dict() == straight.state_dict()
    # Resume, stop again half-way, and resume from there.
    first = loader()
    first.load_state_dict(state)
    assert all(same(first.next_step(), batches) for batches in after[:3])
    second = loader()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert all(same(second.next_step(), batches) for batches in after[3:])


def test_rows_of_like_length_share_a_micro_batch() -> None:
    data = loader(batch_tokens=320, micro=4)
    for batch in data.next_step():
        lengths = (batch.document != PAD_DOCUMENT).sum(1).tolist()
        assert lengths == sorted(lengths, reverse=True)
        assert lengths[0] == batch.input_ids.shape[1]


def test_whole_rows_have_few_shapes() -> None:
    """As on a GPU: the same rows, padded to the length that they were filled up to; a batch's padding is a document."""
    plain, whole = loader(batch_tokens=256), loader(batch_tokens=256, whole_rows=True)
    cut, shapes = set(), set()
    for _ in range(6):
        for one, other in zip(plain.next_step(), whole.next_step(), strict=True):
            width = one.input_ids.shape[1]
            cut.add(width)
            shapes.add(other.input_ids.shape[1])
            for name in ("input_ids", "labels", "position_ids", "document", "route"):
                assert torch.equal(getattr(one, name), getattr(other, name)[:, :width]) or name == "position_ids"
            behind = other.document[:, width:]
            assert (behind == PAD_DOCUMENT).all()
            assert (other.labels[:, width:] == IGNORE).all()
            assert (other.position_ids >= 0).all()
    assert shapes == {32}
    assert len(cut) > 1


def test_what_batches_hold_is_found_ahead() -> None:
    seen: list[tuple[int, str]] = []
    made = loader()
    made.ahead = lambda batch: seen.append((id(batch), threading.current_thread().name))
    ahead = Prefetch(made)
    batches = ahead.next_step()
    assert [number for number, _ in seen[: len(batches)]] == [id(batch) for batch in batches]
    assert threading.current_thread().name not in {name for _, name in seen}
    ahead.close()


def test_a_source_that_is_not_trained_cannot_be_counted() -> None:
    with refused("budget.count is 'talk', … learns nothing …; accepted: domain, general or all.", ConfigError):
        loader("talk")


def test_a_step_must_hold_a_row() -> None:
    loader(batch_tokens=32)
    with refused("budget.batch_tokens is 31, … row … 32 …; … at least data.sequence_length (32), …", ConfigError):
        loader(batch_tokens=31)


def small(domain: list[int], general: list[int], epochs: float, batch_tokens: int = 64, **ranks: int) -> Loader:
    """A budget in epochs of sources whose documents have so many labels."""
    sources = {
        name: Passes(PackedSource(token_corpus([[-1, *[route] * n] for n in lengths]), name, 32, ALL, 0, 1000 * route))
        for route, (name, lengths) in enumerate((("domain", domain), ("general", general)))
    }
    budget = BudgetSection(epochs=epochs, batch_tokens=batch_tokens)
    steps, goal = total_steps(budget, sum(domain), 32), epochs_goal(budget, sum(domain))
    mixer = Mixer(sources, constant({"domain": 0.5, "general": 0.5}))
    return Loader(mixer, "domain", batch_tokens, 2, COMPARES, last_step=steps, goal=goal, **ranks)


def test_an_epoch_of_two_documents_is_one_pass() -> None:
    data = small([20, 25], [9] * 80, epochs=1, batch_tokens=4224)
    assert data.last_step == 1
    batches = data.next_step()
    assert data.mixer.epochs["domain"] == 1.0
    assert trained(batches, (0,)) == 45
    assert 45 <= trained(batches, (1,)) < 45 + 32  # general has its share, though domain was read first
    ranks = [small([20, 25], [9] * 80, 1, 4224, rank=rank, world_size=7) for rank in range(7)]  # more than rows
    parts = [rank.next_step() for rank in ranks]
    assert len({len(part) for part in parts}) == 1
    assert sum(trained(part) for part in parts) == trained(batches)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=30), st.sampled_from([1, 2, 3, 0.5]), st.integers(32, 200))
def test_epochs_end_exactly_and_no_step_is_empty(domain: list[int], epochs: float, batch_tokens: int) -> None:
    data = small(domain, [5, 30], epochs, batch_tokens)
    seen: Counter[int] = Counter()
    for step in range(1, data.last_step + 1):
        batches = data.next_step()
        assert trained(batches, (0,)) > 0
        assert trained(batches, (0,)) < max(batch_tokens, 2 * 32) + 32
        for batch in batches:
            seen.update(batch.labels[(batch.labels != IGNORE) & (batch.route == 0)].tolist())
        state = json.loads(json.dumps(data.state_dict()))
        if step == data.last_step // 2:  # goes on alike
            data = small(domain, [5, 30], epochs, batch_tokens)
            data.load_state_dict(state)
    if epochs >= 1:
        assert set(seen.values()) == {epochs}
        assert len(seen) == sum(domain)
        assert data.mixer.epochs["domain"] == epochs
    assert 0 <= sum(seen.values()) - epochs * sum(domain) < 32
    assert data.mixer.trained["general"] >= data.mixer.trained["domain"]


def test_total_steps() -> None:
    def steps(tokens_per_epoch: int = 1000, **unit: float) -> int:
        return total_steps(BudgetSection.model_validate({"batch_tokens": 100} | unit), tokens_per_epoch)

    assert steps(steps=7) == 7
    assert [steps(tokens=n) for n in (1, 100, 101, 1000)] == [1, 1, 2, 10]
    assert [steps(epochs=n) for n in (0.01, 0.25, 1, 1.5)] == [1, 3, 10, 15]
    assert steps(epochs=1, tokens_per_epoch=1001) == 11
    assert total_steps(BudgetSection(epochs=1, batch_tokens=100), 101, longest=96) == 1  # not one of a single token
