"""Which labels are whose, against loops over tokens; and what the loader finds ahead is what the step finds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.objective.assignment import assign
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.objective import Objective
from acclimate.types.batch import Bounds
from acclimate.types.central import IGNORE, Batch, Route, RoutedTerm
from tests.fixtures.batches import packed

SELECTS = torch.tensor([[True, False, True], [False, True, True]])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 2)), min_size=1, max_size=4), min_size=1, max_size=3),
    st.sampled_from(["token", "sequence"]),
    st.integers(0, 9),
)
def test_equals_loops_over_tokens(rows: list[list[tuple[int, int]]], average: str, seed: int) -> None:
    batch = packed([[(0, length, route) for length, route in row] for row in rows], seed=seed)
    found = assign(None, batch, SELECTS, average)
    labels, routes = batch.labels.flatten().tolist(), batch.route.flatten().tolist()
    piece, at = [], -1
    for position in batch.position_ids.flatten().tolist():
        at += position == 0
        piece.append(at)
    groups: dict[tuple[int, ...], list[int]] = {}
    for p, label in enumerate(labels):
        members = tuple(k for k in range(2) if label != IGNORE and SELECTS[k, routes[p]])
        if members:
            groups.setdefault(members, []).append(p)
        for k in range(2):
            sharing = [q for q in range(len(labels)) if piece[q] == piece[p] and labels[q] != IGNORE]
            sharing = [q for q in sharing if SELECTS[k, routes[q]]]
            unit = 1 / (len(sharing) if average == "sequence" else 1) if k in members else 0
            assert found.units[k, p] == pytest.approx(unit, rel=1e-15)
    assert {members: positions.tolist() for members, positions in found.groups} == groups
    for k in range(2):
        for r in range(3):
            learned = [p for p, label in enumerate(labels) if label != IGNORE and routes[p] == r and SELECTS[k, r]]
            assert found.tokens[k, r] == len(learned)


def test_what_was_found_ahead_is_of_one_objective_and_one_batch() -> None:
    routes = (Route("domain", "domain"), Route("general", "general"))
    one, other = (
        Objective([RoutedTerm("ce", CrossEntropy(), names)], routes, {}) for names in (("domain",), ("general",))
    )
    batch = packed([[(0, 8, 0), (1, 9, 1)]], ignored=0.0)
    one.assign_ahead(batch)
    batch.bounds = Bounds.of(batch.position_ids)
    assert one.assigned(batch) is batch.assignment
    assert one.assigned(batch.to("cpu")) is batch.assignment
    assert other.assigned(batch).tokens.tolist() == [[0, 9]]
    changed = replace(batch, labels=torch.full_like(batch.labels, IGNORE))  # it forgets what it was found of
    assert (changed.assignment, changed.bounds) == (None, None)
    assert one.assigned(changed).tokens.tolist() == [[0, 0]]
    assert batch.map(lambda tensor: tensor[:, :4]).bounds is None


def test_a_batch_on_a_device_knows_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = packed([[(0, 8, 0)]])
    batch.bounds = Bounds.of(batch.position_ids)
    there = batch.to("meta")
    assert there.on_host is batch
    assert there.bounds is not None
    assert there.bounds.starts.is_meta
    assert there.to("meta").on_host is batch
    made_there: Batch = there.map(torch.ones_like)
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: torch.zeros(self.shape, dtype=self.dtype))
    assert made_there.on_host is made_there.on_host
    assert made_there.on_host.labels.tolist() == [[0] * 8]
