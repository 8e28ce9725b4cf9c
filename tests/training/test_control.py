"""Dials, the probe and a controller in whole runs, and the names under which states are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic.dataclasses import dataclass
from rich.console import Console

from acclimate.methods.fields import STRICT
from acclimate.methods.registry import METHODS
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.divergence import Divergence
from acclimate.runs.layout import Layout
from acclimate.training.checkpoint import states
from acclimate.types.central import Callback, Metrics, RoutedTerm
from acclimate.types.dials import Dial, dials_of
from acclimate.types.errors import ConfigError, NonFiniteError
from acclimate.types.plan import Facts, Method, Plan, PlanContext
from acclimate.verbs.run import train
from acclimate.verbs.validate import validate
from tests.fixtures.runs import CHOICE, config, killed_after, lines, metric_lines, same_weights

KL = "eval/general/kl_base_tuned"


class Doubling:
    """Twice the weight while held-out KL is above its budget, half of it below."""

    name, reads = "doubling", ("kl_base_tuned",)

    def __init__(self, budget: float) -> None:
        self.budget, self.checks_at_bound = budget, 0

    @property
    def infeasible(self) -> str | None:
        return "The budget is not met at the largest weight; raise it." if self.checks_at_bound > 1 else None

    def on_measured(self, measured: Mapping[str, float], dials: Mapping[str, Dial]) -> Metrics:
        if KL not in measured:
            return {}
        dial, above = dials["kl_weight"], measured[KL] > self.budget
        self.checks_at_bound = self.checks_at_bound + 1 if above and float(dial) == dial.high else 0
        dial.move(float(dial) * (2 if above else 0.5))
        return {"doubling/above": float(above)}

    def state_dict(self) -> dict[str, Any]:
        return {"checks_at_bound": self.checks_at_bound}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.checks_at_bound = state["checks_at_bound"]


@dataclass(frozen=True, config=STRICT)
class Kept(Method):
    """mol with a dial on its divergence, and what moves it unless there is no budget."""

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = None
    facts: ClassVar[Facts] = Facts("", "", "", "")

    budget: float | None = None

    @property
    def terms(self) -> tuple[RoutedTerm, ...]:
        dial = Dial("kl_weight", 1.0, low=0.125, high=8.0)
        return (
            RoutedTerm("cross_entropy", CrossEntropy(), ("domain",)),
            RoutedTerm("reverse_kl", Divergence(), ("general",), dial, reference="base"),
        )

    def plan(self, context: PlanContext) -> Plan:
        return Plan(controllers=() if self.budget is None else (Doubling(self.budget),))


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "kept", Kept)


def test_a_dial_that_nothing_moves_is_its_number(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    one, two = (train(config(pico_folder, corpora, tmp_path, name=m, method=m)).run_dir for m in ("mol", "kept"))
    assert same_weights(one, two)
    rows = metric_lines(two)
    assert {row.pop("dial/kl_weight") for row in rows} == {1.0}
    assert rows == metric_lines(one)


def test_a_controller_moves_a_dial_and_resumes_bitwise(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "method": {"name": "kept", "budget": 1e-9}, "budget": {"steps": 7, "batch_tokens": 128},
        "training": {"micro_batch_size": 2, "save_steps": 3, "eval_steps": 1},
    }  # fmt: skip
    console = Console(record=True, width=200)
    run = train(config(pico_folder, corpora, tmp_path, name="straight", **changes), console=console)
    rows = lines(run.run_dir)
    assert [row["dial/kl_weight"] for row in rows] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0]  # that a step was taken with
    assert ["infeasible/doubling" in row for row in rows] == [False] * 4 + [True] * 3  # of a check after the step
    assert "Note: The budget is not met at the largest weight; raise it." in console.export_text()
    record = json.loads((run.run_dir / "provenance.json").read_text())
    assert record["infeasible"] == {"doubling": "The budget is not met at the largest weight; raise it."}
    (reported,) = (r["value"] for r in run.summary if (r["set"], r["metric"]) == ("general", "kl_base_tuned"))
    assert rows[-1][KL] == pytest.approx(reported, rel=1e-9)  # of the same documents
    settings = config(pico_folder, corpora, tmp_path, name="killed", **changes)
    killed_after(5, settings)
    again = train(settings, resume=True)
    assert metric_lines(again.run_dir) == metric_lines(run.run_dir)
    assert same_weights(run.run_dir, again.run_dir)


def test_a_dial_goes_down_too(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"training": {"eval_steps": 2}, "budget": {"steps": 6, "batch_tokens": 128}}
    run = train(config(pico_folder, corpora, tmp_path, method={"name": "kept", "budget": 1e9}, **changes))
    rows = lines(run.run_dir)
    assert [row["dial/kl_weight"] for row in rows] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    assert [KL in row for row in rows] == [False, True] * 3
    assert "infeasible" not in json.loads((run.run_dir / "provenance.json").read_text())


def test_a_controller_needs_its_measurements(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(pico_folder, corpora, tmp_path, method={"name": "kept", "budget": 1.0})
    with pytest.raises(ConfigError, match=r"'doubling' is guided by the kl_base_tuned .*; set training.eval_steps\."):
        validate(settings)
    with pytest.raises(ConfigError, match=r"'doubling' is guided by"):
        train(settings)
    monkeypatch.setattr(Doubling, "reads", ("kl",))
    with pytest.raises(ConfigError, match=r"'doubling' reads 'kl'; accepted: kl_base_tuned, "):
        train(settings)


def test_checkpoints_from_before_callbacks_had_names(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """What was best stays so. Their classes were the names, and they knew no dials and controllers."""
    training = {"micro_batch_size": 2, "save_steps": 1, "eval_steps": 1, "final": "best"}
    hot = {"optimizer": {"learning_rate": 0.3}, "schedule": {"type": "constant"}, **CHOICE}
    straight = train(config(pico_folder, corpora, tmp_path, name="straight", training=training, **hot)).run_dir
    settings = config(pico_folder, corpora, tmp_path, training=training, **hot)
    killed_after(4, settings)
    folder = Layout(settings.run_dir).step_checkpoints[-1]
    document = json.loads((folder / "state.json").read_text())
    assert document.pop("dials") == document.pop("controllers") == {}
    (state,) = [document["callbacks"].pop("save")]
    document["callbacks"] = {"Evaluate": {}, "MetricsLog": {}, "ProgressBar": {}, "Save": state}
    (folder / "state.json").write_text(json.dumps(document))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["state.json"] = sha256((folder / "state.json").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    again = train(settings, resume=True).run_dir
    best = [json.loads((run / "checkpoints" / "best" / "state.json").read_text()) for run in (straight, again)]
    assert best[0] == best[1]
    assert best[0]["step"] == 4  # were it forgotten, a later one would be the best again
    assert same_weights(straight, again)


class Counting(Callback):
    def __init__(self, name: str) -> None:
        self.name, self.steps = name, 0

    def on_step_end(self, state: Any, metrics: Metrics) -> None:
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}


def test_two_of_a_kind_keep_two_states() -> None:
    one, two = Counting("one"), Counting("two")
    two.on_step_end(None, {})
    assert states([one, Callback(), two]) == {"one": {"steps": 0}, "two": {"steps": 1}}
    for name in ("one", ""):
        with pytest.raises(ValueError, match=f"Counting has a state, but no name of its own: it is '{name}'"):
            states([one, Counting(name)])


def test_dials_are_bounded_and_have_names_of_their_own() -> None:
    dial = Dial("d", 1.0, 0.5, 2.0)
    assert [float(dial.move(value)) for value in (9.0, float("inf"), 0.1, 1.5)] == [2.0, 2.0, 0.5, 1.5]
    with pytest.raises(NonFiniteError, match=r"'d' was to be moved from 1\.5 to nan"):
        dial.move(float("nan"))
    with pytest.raises(ValueError, match=r"'d' starts at 3, outside of 0\.5 to 2"):
        Dial("d", 3.0, 0.5, 2.0)
    term = RoutedTerm("cross_entropy", CrossEntropy(), ("domain",), dial)
    assert dials_of([term, term]) == {"d": dial}
    with pytest.raises(ValueError, match="Two dials are named 'd'"):
        dials_of([term, RoutedTerm("other", CrossEntropy(), ("general",), Dial("d", 1.0, 0.5, 2.0))])
