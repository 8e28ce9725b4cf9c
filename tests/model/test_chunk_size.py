"""Chunks of the head by device, term and memory; and how many tensors of the logits' size a term keeps."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from acclimate.kernels import chunk_size as sizes
from acclimate.kernels.chunk_size import CE_COPIES, JS_COPIES, KL_COPIES, chunk_size, fitting
from acclimate.kernels.chunked import Group, chunked_loss
from acclimate.kernels.head import Head
from acclimate.kernels.projection import Projection
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.divergence import Divergence
from acclimate.objective.objective import Objective
from acclimate.objective.step import Step
from acclimate.types.central import Chunk, LossTerm, Route, RoutedTerm
from tests.fixtures.batches import packed
from tests.objective.test_objective import FixedReference, FixedStudent, make_head

CUDA = torch.device("cuda", 0)
N, V, D = 64, 4096, 8


class Alive(TorchDispatchMode):
    """The most bytes that were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                self.see(tensor.untyped_storage())
        return found

    def see(self, storage: torch.UntypedStorage) -> None:
        if (key := storage._cdata) not in self._known:
            self._known.add(key)
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, key, storage.nbytes())

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


@pytest.mark.parametrize(
    ("term", "copies"),
    [
        (CrossEntropy(), CE_COPIES),
        (Divergence("reverse"), KL_COPIES),
        (Divergence("forward"), KL_COPIES),
        (Divergence("js"), JS_COPIES),
    ],
)
def test_copies_of_the_logits_are_those_that_are_counted(term: LossTerm, copies: float) -> None:
    """On the meta device, which walks a chunk whole as CUDA does."""
    weight = torch.zeros(V, D, device="meta")
    student, reference = Projection(Head(weight), torch.float32), Projection(Head(weight.clone()), torch.float32)
    hidden = torch.zeros(N, D, device="meta", requires_grad=True)
    labels = torch.zeros(N, dtype=torch.int64, device="meta")
    states = {"base": (torch.zeros(N, D, device="meta"), reference)} if term.needs_reference else {}

    def loss(positions: Tensor, logits: Tensor, references: Any) -> Tensor:
        return term(Chunk(logits, labels[positions], labels[positions], references.get("base"))).sum()

    positions = torch.arange(N, device="meta")
    alive = Alive()
    for kept in (weight, *(own.weight for _, own in states.values())):
        alive.see(kept.untyped_storage())
    before = alive.now
    with alive:
        chunked_loss(hidden, Head(weight), student, [Group(positions, states, loss, N)])
    assert (alive.most - before) / (N * V * 4) == pytest.approx(copies, abs=0.01)


def test_a_cpu_has_one_size() -> None:
    assert chunk_size(torch.device("cpu"), 150_000, True, KL_COPIES) == 256
    assert chunk_size(torch.device("cpu"), 259, False, CE_COPIES) == 256


@pytest.mark.parametrize(
    ("free", "vocabulary", "compared", "copies", "expected"),
    [
        (60, 151_936, True, KL_COPIES, 1024),
        (60, 151_936, False, CE_COPIES, 2048),
        (16, 151_936, True, JS_COPIES, 256),
        (8, 151_936, True, KL_COPIES, 256),
        (1, 262_144, True, JS_COPIES, 64),
        (16, 32_000, True, KL_COPIES, 1024),
    ],
)
def test_a_gpu_has_what_fits(
    free: int, vocabulary: int, compared: bool, copies: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free << 30, 80 << 30))
    assert chunk_size(CUDA, vocabulary, compared, copies) == expected
    if expected > sizes.FEWEST:
        assert 4 * expected * vocabulary * copies <= sizes.FREE_PART * (free << 30)
    assert fitting(0, vocabulary, compared, copies) == sizes.FEWEST


def test_each_group_of_tokens_has_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels of a cross-entropy alone in larger chunks than those that are compared; asked once a run."""
    asked: list[tuple[Any, ...]] = []
    taken: list[tuple[int, int]] = []
    from acclimate.objective import step as module

    def sized(*key: Any) -> int:
        asked.append(key[1:])
        return 3 if key[2] else 5

    real: Callable[..., Tensor] = chunked_loss

    def watched(hidden: Tensor, head: Head, student: Projection, groups: list[Group]) -> Tensor:
        taken.extend((len(group.references), group.chunk_tokens) for group in groups)
        return real(hidden, head, student, groups)

    monkeypatch.setattr(module, "chunk_size", sized)
    monkeypatch.setattr(module, "chunked_loss", watched)
    head, batch = make_head(False, 1.0, None), packed([[(0, 9, 0), (1, 12, 1)]])
    states = torch.randn(1, 21, 16, dtype=torch.float64)
    terms = [
        RoutedTerm("ce", CrossEntropy(), ("domain",)),
        RoutedTerm("js", Divergence("js"), ("general",), reference="base"),
    ]
    base: Any = FixedReference(states, head)
    student: Any = FixedStudent(states, head)
    routes = (Route("domain", "domain"), Route("general", "general"))

    def losses(objective: Objective) -> list[Tensor]:
        found = []
        for _ in range(2):
            step: Step = objective.step([batch])
            found.append(step.loss(student, batch).detach())
        return found

    auto = losses(Objective(terms, routes, {"base": base}))
    assert sorted(taken) == [(0, 5)] * 2 + [(1, 3)] * 2
    assert sorted(asked) == [(259, False, CE_COPIES), (259, True, JS_COPIES)]
    del taken[:]
    given = losses(Objective(terms, routes, {"base": base}, chunk_tokens=7))
    assert {size for _, size in taken} == {7}
    torch.testing.assert_close(auto, given, rtol=1e-12, atol=0)
