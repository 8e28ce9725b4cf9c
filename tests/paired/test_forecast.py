"""benchmarks/forecast.py: lines within columns, families left out, and which sets count as unseen by a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from benchmarks.forecast_fit import Table, forecasts, pooled, within
from benchmarks.forecast_rows import runs


def table(y: Any, x: Any, families: list[str] | None = None, columns: list[str] | None = None) -> Table:
    """Observations that are exact: their documents draw nothing."""
    seen: list[Any] = [
        SimpleNamespace(
            run=SimpleNamespace(family=families[i] if families else f"f{i}", training=(i,)),
            column=(columns[i] if columns else "one",), weight=1.0, y=y[i], x=x[i],
            drawn=(np.array([y[i]]), np.array([x[i]])),
        )
        for i in range(len(y))
    ]  # fmt: skip
    return Table(seen)


def test_planted_data_give_the_known_part_of_what_is_left_out() -> None:
    """40 cells whose drift hangs on a; b is a with noise, and c is nothing."""
    draw = np.random.default_rng(0)
    a = draw.uniform(0, 1, 40)
    b, c = a + draw.normal(0, 0.4, 40), draw.uniform(0, 0.3, 40)
    drift = 0.3 * a + draw.normal(0, 0.02, 40)
    spread = ((drift - drift.mean()) ** 2).sum()
    for x, part in ((a, 0.949), (b, 0.292), (c, -0.069)):
        found = forecasts(table(drift, x), known_setup=False)
        assert 1 - (found.error**2).sum() / spread == pytest.approx(part, abs=5e-4)
        assert 0.8 <= (np.abs(found.error) <= found.width).mean() <= 1
    slope, r2, rank = within(table(drift, a))
    assert slope.value == pytest.approx(0.3, abs=0.02)
    assert np.quantile(slope.drawn, 0.025) < 0.3 < np.quantile(slope.drawn, 0.975)
    assert min(r2.value, rank.value) > 0.9


def test_levels_of_columns_are_learned_from_other_families() -> None:
    x = np.array([0.0, 1.0, 2.0, 0.0, 1.0, 2.0])
    columns, families = ["p"] * 3 + ["q"] * 3, ["a", "b", "c"] * 2
    y = 0.5 * x + np.array([0.0] * 3 + [5.0] * 3)
    one = table(y, x, families, columns)
    assert within(one)[0].value == pytest.approx(0.5)
    assert np.allclose(forecasts(one, known_setup=True).error, 0)
    assert pooled(one)[1] < 0.1  # a single line knows no levels
    alone = table(y[:3], x[:3], ["a", "a", "a"])
    assert np.isnan(forecasts(alone, known_setup=True).error).all()  # nobody tells the level


def test_which_sets_a_run_has_not_seen() -> None:
    first = [run for run in runs(("comparison/medical-final", "self_rows/medical")) if run.row.seed == 0]
    found = {(run.table, run.row.method): run.unseen for run in first}
    assert found["medical-final", "wise"] == ["general", "chat", "news"]
    assert found["medical-final", "mol-50"] == ["news"]
    assert found["self_rows/medical", "mol-text"] == ["chat", "people", "news", "court"]
    assert found["self_rows/medical", "mol-own"] == ["general", "people", "news", "court"]  # the base wrote chat, too
    screen = {run.row.method: run.unseen for run in runs(("comparison/medical",)) if run.row.kind == "trial"}
    assert screen["ewc"] == []  # its store read general and chat
    assert screen["asft"] == ["general", "chat"]
