"""Shares that a controller moves while training: as dials, two steps later, resumed bitwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic.dataclasses import dataclass

from acclimate.methods.fields import STRICT
from acclimate.methods.registry import METHODS
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.divergence import Divergence
from acclimate.types.central import Metrics, RoutedTerm
from acclimate.types.dials import Dial, share_dial
from acclimate.types.errors import ConfigError
from acclimate.types.plan import Facts, Method, Plan, PlanContext
from acclimate.verbs.run import train
from acclimate.verbs.validate import validate
from tests.fixtures.runs import config, killed_after, metric_lines, same_weights

SOURCES = ("domain", "general", "chat")
ROW = 96
CHANGES: dict[str, Any] = {
    "budget": {"steps": 9, "batch_tokens": 256, "count": "all"},
    "training": {"micro_batch_size": 2, "save_steps": 2},
}


def loss_of(source: str, measured: Mapping[str, float]) -> float:
    """0 of a source that the step holds none of."""
    return max((value for key, value in measured.items() if key.startswith(f"loss/{source}/")), default=0.0)


class Noisiest:
    """A toy: after each step the source with the largest loss gets ``factor`` times its share."""

    name, reads, infeasible = "noisiest", (), None

    def __init__(self, factor: float, began: Mapping[str, float]) -> None:
        self.factor, self.began, self.moved = factor, dict(began), 0

    def on_measured(self, measured: Mapping[str, float], dials: Mapping[str, Dial]) -> Metrics:
        losses = {name: loss_of(name, measured) for name in self.began}
        dial = dials[share_dial(max(losses, key=lambda name: losses[name]))]
        dial.move(float(dial) * self.factor)
        self.moved += 1
        return {"noisiest/moved": float(self.moved)}

    def state_dict(self) -> dict[str, Any]:
        return {"moved": self.moved}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.moved = state["moved"]


@dataclass(frozen=True, config=STRICT)
class Moving(Method):
    """mol whose shares a toy controller moves."""

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = ({"factor": 1.0}, "mol")
    facts: ClassVar[Facts] = Facts("", "", "", "")

    factor: float = 1.0

    @property
    def terms(self) -> tuple[RoutedTerm, ...]:
        return (
            RoutedTerm("cross_entropy", CrossEntropy(), ("domain",)),
            RoutedTerm("reverse_kl", Divergence(), ("general",), 1.0, reference="base"),
        )

    def plan(self, context: PlanContext) -> Plan:
        return Plan(controllers=(Noisiest(self.factor, context.shares),), moves_shares=True)


@pytest.fixture(autouse=True)
def moving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "moving", Moving)


def test_shares_that_nobody_moves_are_constant(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    one, two = (train(config(pico_folder, corpora, tmp_path, name=m, method=m)).run_dir for m in ("mol", "moving"))
    assert same_weights(one, two)
    for line, still in zip(metric_lines(two), metric_lines(one), strict=True):
        assert [line[f"dial/share/{name}"] for name in SOURCES] == [0.5, 0.25, 0.25]
        assert {key: line[key] for key in still} == still


def test_a_controller_moves_a_share_and_resumes_bitwise(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    changes = CHANGES | {"method": {"name": "moving", "factor": 3.0}}
    run = train(config(pico_folder, corpora, tmp_path, name="straight", **changes)).run_dir
    lines = metric_lines(run)
    dials = [{name: line[f"dial/share/{name}"] for name in SOURCES} for line in lines]
    assert dials[0] == {"domain": 0.5, "general": 0.25, "chat": 0.25}
    assert dials[1] != dials[0]
    before = dict.fromkeys(SOURCES, 0.0)
    for n, line in enumerate(lines):  # a step is dealt by what the dials of the metrics before it stood at
        asked = {name: line[f"asked_tokens/{name}"] for name in SOURCES}
        total, stood = sum(asked.values()) - sum(before.values()), dials[max(n - 1, 0)]
        shares = {name: (asked[name] - before[name]) / total for name in SOURCES}
        assert shares == pytest.approx({name: value / sum(stood.values()) for name, value in stood.items()}, rel=1e-6)
        assert sum(asked.values()) == pytest.approx(sum(line[f"trained_tokens/{name}"] for name in SOURCES))
        assert all(abs(line[f"trained_tokens/{name}"] - asked[name]) <= 2 * ROW for name in SOURCES)
        before = asked
    for step in (3, 7):  # each between two checkpoints, with shares on their way
        settings = config(pico_folder, corpora, tmp_path, name=f"killed-{step}", **changes)
        killed_after(step, settings)
        again = train(settings, resume=True).run_dir
        assert metric_lines(again) == lines
        assert same_weights(run, again)


def test_shares_are_not_moved_below_what_a_dial_may_stand_at(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    sources = {name: {"path": str(corpora / f"{name}.jsonl"), "share": 0.5, "heldout": 4} for name in SOURCES}
    sources["chat"] |= {"share": 1e-5, "route": "general"}
    settings = config(pico_folder, corpora, tmp_path, sources=sources, method="moving", **CHANGES)
    with pytest.raises(
        ConfigError, match=r"sources\.chat\.share: .* begins at 0\.0001 or more; this one is 9\.9999e-06"
    ):
        validate(settings)
    validate(config(pico_folder, corpora, tmp_path, method="moving", **CHANGES))
