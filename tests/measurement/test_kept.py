"""What is kept of a base measures as a forward of it does, bit for bit."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from acclimate.measurement.kept import STATES, keep_states, positions
from acclimate.measurement.measure import Scores, measure
from acclimate.model.causal import CausalModel
from acclimate.model.reference import AdapterOff, FrozenCopy
from tests.fixtures.batches import packed
from tests.fixtures.pico import pico_model, pico_tokenizer

ROWS = {
    "general": [(packed([[(0, 40, 0)], [(1, 23, 0), (2, 17, 0)]]), torch.ones(2, 40))],
    "chat": [(packed([[(7, 31, 0), (8, 11, 0)]], seed=1), torch.full((1, 42), 2))],
}


def learn(model: CausalModel) -> None:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(0.02 * torch.randn_like(parameter))


def same(one: Scores | None, other: Scores | None) -> bool:
    assert one is not None
    assert other is not None
    pairs = [(value, getattr(other, name)) for name, value in vars(one).items() if value is not None]
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize(("dtype", "tie"), [(torch.float32, True), (torch.bfloat16, False)])
def test_full_tuning(dtype: torch.dtype, tie: bool, copied: bool) -> None:
    """Against a copy that a term has too, and against the model itself as it began."""
    model = CausalModel(pico_model(dtype=dtype, tie=tie), pico_tokenizer())
    base = FrozenCopy.of(model)
    kept, rows = keep_states(model, base if copied else None, ROWS)
    learn(model)
    before = base.model.forwards
    for name, batches in ROWS.items():
        expected = measure(model, base, batches, [5])
        used = base.model.forwards
        found = measure(model, kept, rows[name], [5])
        assert base.model.forwards == used > before  # no forward of the base
        assert all(same(a, b) for a, b in zip(found, expected, strict=True))
        assert expected[0].kl_base_tuned is not None
        assert expected[0].kl_base_tuned.min() > 0
    assert rows["chat"][0][0].columns[STATES].dtype == dtype
    assert STATES not in ROWS["chat"][0][0].columns


def test_an_adapter() -> None:
    network: Any = pico_model()
    torch.manual_seed(0)
    peft = get_peft_model(copy.deepcopy(network), LoraConfig(r=4, target_modules="all-linear"))
    model = CausalModel(peft.get_base_model(), pico_tokenizer(), peft)
    kept, rows = keep_states(model, None, ROWS)
    learn(model)
    for name, batches in ROWS.items():
        expected = measure(model, AdapterOff(model), batches, [])
        found = measure(model, kept, rows[name], [])
        assert all(same(a, b) for a, b in zip(found, expected, strict=True))


def test_positions_are_without_padding() -> None:
    assert positions(ROWS) == 40 + 40 + 42
