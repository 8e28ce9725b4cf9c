"""Rows that are made when a step is asked for: beside the others at their share, the same for any number of ranks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from acclimate.data.deal.live import LiveRows, Written
from acclimate.data.deal.loader import Loader
from acclimate.data.deal.mix import Mixer
from acclimate.data.deal.prefetch import Prefetch
from acclimate.data.deal.shares import Delayed, Shares, constant, linear
from acclimate.parallel.world import SOLO, World
from acclimate.types.central import IGNORE, Batch
from acclimate.types.errors import ConfigError, DataError
from tests.data.test_ahead import threads
from tests.data.test_loader import COMPARES, same
from tests.data.test_mix import packed

SHARES = {"domain": 0.5, "chat": 0.2, "self": 0.3}


class Model:
    """Stands for weights: writes documents of 3 to 9 learned tokens that say at which step they were made."""

    def __init__(self) -> None:
        self.step = 0
        self.asked: list[int] = []

    def write(self, numbers: Sequence[int]) -> list[Written]:
        self.asked += numbers
        return [self.document(n) for n in numbers]

    def document(self, number: int) -> Written:
        length = 3 + (number * 5 + self.step) % 7
        learned = number % 6 != 5  # of some nothing is
        return Written([7, 7, *[1000 + self.step] * length], [False, False, *[learned] * length])


def loader(
    model: Model,
    count: str = "all",
    shares: Shares | None = None,
    ranks: World = SOLO,
    together: int = 1,
    **settings: Any,
) -> Loader:
    random = np.random.default_rng(1)
    sources: dict[str, Any] = {name: packed(name, random.integers(1, 40, 20).tolist()) for name in ("domain", "chat")}
    sources["self"] = LiveRows("self", model.write, 16, 2, ranks, 10_000, together)
    mixer = Mixer(sources, shares or constant(SHARES))
    return Loader(mixer, count, 64, 2, COMPARES, all_or_none=ranks.all_or_none, **settings)


def steps_of(data: Any, model: Model, last: int) -> list[list[Batch]]:
    found = []
    while model.step < last:
        found.append(data.next_step())
        model.step += 1
    return found


def written(batches: Sequence[Batch]) -> list[int]:
    """The steps that the live labels of a step tell."""
    return [int(label) for batch in batches for label in batch.labels[(batch.route == 2) & (batch.labels != IGNORE)]]


@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize("count", ["all", "domain", "self"])
def test_live_rows_are_of_the_present_weights_and_keep_their_share(count: str, together: int) -> None:
    model = Model()
    data = Prefetch(loader(model, count, together=together))
    live = 0
    for step in range(20):
        batches = data.next_step()
        assert set(written(batches)) <= {1000 + step}
        live += len(written(batches))
        progress = data.progress()
        tokens = {name: progress[f"trained_tokens/{name}"] for name in SHARES}
        assert tokens["self"] == live
        total = sum(tokens.values())
        for name, share in SHARES.items():
            assert abs(tokens[name] - share * total) <= 16 + 9
        counted = total if count == "all" else tokens[count]
        assert -1e-6 <= counted - 64 * (step + 1) <= 2 * 16
        model.step += 1
    assert live > 300 * (count != "domain")
    assert len(set(model.asked)) == max(model.asked) + 1  # none was left out
    data.close()
    assert threads() == []


@pytest.mark.parametrize("taken", [1, 2, 7])
def test_prefetch_and_resume_change_no_row(taken: int) -> None:
    """With shares that are pushed while training, too."""
    found = []
    for ahead in (False, True):
        model, shares = Model(), Delayed(SHARES)
        data: Any = Prefetch(loader(model, shares=shares)) if ahead else loader(model, shares=shares)
        steps = steps_of(data, model, taken)
        shares.push(taken, {"domain": 0.2, "chat": 0.2, "self": 0.6})
        state = json.loads(json.dumps(data.state_dict()))
        steps += steps_of(data, model, 14)
        data.close()
        found.append(steps)
        model, shares = Model(), Delayed(SHARES)
        resumed: Any = Prefetch(loader(model, shares=shares)) if ahead else loader(model, shares=shares)
        resumed.next_step()  # whatever it did before
        resumed.load_state_dict(state)
        model.step = taken
        found.append(steps[:taken] + steps_of(resumed, model, 14))
        assert resumed.progress().keys() == data.progress().keys()
        resumed.close()
    for other in found[1:]:
        assert all(same(*steps) for steps in zip(found[0], other, strict=True))


class Pair:
    """One of two ranks that are asked in turn: what the other writes is made here as well."""

    def __init__(self, rank: int, model: Model) -> None:
        self.rank, self.size, self.all_or_none = rank, 2, nullcontext
        self.model = model

    def gather(self, value: Any) -> list[Any]:
        first = self.model.asked[-1] - self.rank
        other = [self.model.document(first + 1 - self.rank)]
        return [value, other] if self.rank == 0 else [other, value]


def test_ranks_write_their_part_and_share_the_rows() -> None:
    model = Model()
    alone = steps_of(loader(model), model, 6)
    parts = []
    for rank in range(2):
        mine = Model()
        pair: Any = Pair(rank, mine)
        data = loader(mine, ranks=pair, rank=rank, world_size=2)
        parts.append(steps_of(data, mine, 6))
        assert 0 < len(mine.asked) < 0.7 * len(model.asked)
    for whole, one, two in zip(alone, *parts, strict=True):
        assert len(one) == len(two)
        assert sorted(written(whole)) == sorted(written(one) + written(two))


def test_moving_shares_and_a_budget_in_epochs_take_live_rows_along() -> None:
    model = Model()
    shares = linear({0: {"domain": 1, "chat": 1, "self": 0}, 600: {"domain": 1, "chat": 1, "self": 2}})
    data = loader(model, "domain", shares, last_step=8, goal=400)
    steps = steps_of(data, model, 8)
    assert len(written(steps[0])) < len(written(steps[-1])) / 2
    tokens = data.progress()
    total = shares.reached(tokens["trained_tokens/domain"], "domain")
    for name in ("chat", "self"):
        assert abs(tokens[f"trained_tokens/{name}"] - shares.quota(total, name)) <= 2 * 16


def test_what_cannot_be_learned() -> None:
    empty = LiveRows("self", lambda numbers: [Written([1, 2], [True, False]) for _ in numbers], 16, 0, SOLO)
    with pytest.raises(DataError, match=r"'self' wrote 1000 documents .* nothing"):
        empty.next_row()
    long = LiveRows("self", lambda numbers: [Written([1] * 18, [True] * 18) for _ in numbers], 16, 0, SOLO)
    with pytest.raises(DataError, match=r"'self' wrote .* 18 tokens, .* 16\b"):
        long.next_row()
    with pytest.raises(ConfigError, match=r"self make their rows while training.* give another source"):
        Mixer({"self": long}, constant({"self": 1}))
