"""What a new method touches: its own file, here this one, and a line of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass
from rich.console import Console

from acclimate.cli.main import app
from acclimate.methods.catalogue import print_methods
from acclimate.methods.fields import STRICT
from acclimate.methods.registry import METHODS
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.reports.page import markdown
from acclimate.stores.fisher import Fisher
from acclimate.types.central import RoutedTerm
from acclimate.types.plan import Facts, Method, Plan, PlanContext
from acclimate.verbs.compare import compare, execute, load_comparison
from acclimate.verbs.compare.pages import page_of
from acclimate.verbs.record import record
from acclimate.verbs.run import train
from acclimate.verbs.validate import validate
from tests.compare.tables import comparison_file
from tests.fixtures.runs import config

PLANNED: list[int] = []
"""Steps of the run, of every time that it was asked."""


@dataclass(frozen=True, config=STRICT)
class Toy(Method):
    """Cross-entropy on domain tokens, a part of it on general tokens."""

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = ({"weight": 0.0}, "sft")
    facts: ClassVar[Facts] = Facts(
        stores="a toy box",
        costs="a forward and backward of the general rows",
        needs="a general source",
        reference="A. Toy, arXiv 0000.00000",
        evidence=("unverified",),
    )

    weight: float = Field(0.25, ge=0, description="of general tokens")

    @property
    def terms(self) -> tuple[RoutedTerm, ...]:
        wanted = {"domain": 1.0, "general": self.weight}
        return tuple(RoutedTerm("cross_entropy", CrossEntropy(), (r,), w) for r, w in wanted.items() if w)

    def plan(self, context: PlanContext) -> Plan:
        PLANNED.append(context.total_steps)
        return Plan(notes=("toy: it is one.",))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "toy", Toy)
    PLANNED.clear()


def test_it_trains_is_asked_once_and_stands_in_the_card(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    settings = config(pico_folder, corpora, tmp_path, method={"name": "toy", "weight": 0.5})
    assert "toy: it is one." in validate(settings).warnings
    assert PLANNED == [6]
    run = train(settings)
    assert PLANNED == [6, 6]
    assert {row["run"] for row in run.summary} == {"base", "toy"}
    card = (run.run_dir / "model" / "README.md").read_text()
    for said in ("`toy`: Cross-entropy on domain tokens, a part of it", "Needs: a general source.", "0000.00000"):
        assert said in card


def test_it_is_listed_with_its_facts() -> None:
    console = Console(record=True, width=200)
    print_methods(console)
    said = console.export_text()
    for fact in ("toy", "weight=0.25", "a toy box", "the general rows", "A. Toy, arXiv 0000.00000", "unverified"):
        assert fact in said


def test_it_is_compared(pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(arguments: list[str], processes: int) -> int:
        app(arguments, standalone_mode=False)
        return 0

    monkeypatch.setattr(execute, "launch", launch)
    path = comparison_file(tmp_path, pico_folder, corpora, methods={"toy": {"set": {"method": "toy"}}})
    outcome = compare(load_comparison(path))
    assert "| toy " in markdown(page_of(outcome))
    assert PLANNED == [2]  # once a cell


def test_a_recording_asks_once(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from acclimate.build import training

    asked: list[PlanContext] = []
    original = training.build_plan
    monkeypatch.setattr(training, "build_plan", lambda *given: asked.append(given[1]) or original(*given))
    record(config(pico_folder, corpora, tmp_path), Fisher(), tmp_path / "store", 300)
    assert len(asked) == 1
