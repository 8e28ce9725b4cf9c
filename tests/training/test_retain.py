"""A forgetting budget in whole runs on a pico model: steering, choice of the weights, outcome, resuming, two ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from acclimate.methods.registry import METHODS
from acclimate.runs.layout import Layout
from acclimate.training.control.retention import STRENGTH, Retention
from acclimate.training.loop import run_loop
from acclimate.types.central import Batch
from acclimate.types.plan import Method
from acclimate.verbs.run import train
from tests.fixtures.gradients import built
from tests.fixtures.methods import spec
from tests.fixtures.runs import config, killed_after, lines, metric_lines, same_weights

WATCHED: dict[str, Any] = {
    "evaluation": {"validation_documents": 2},
    "training": {"micro_batch_size": 2, "save_steps": 1, "eval_steps": 1, "keep_last": 9},
}
HOT: dict[str, Any] = {"optimizer": {"learning_rate": 0.02}, "schedule": {"type": "constant"}}
LORA = {"rank": 4}
STEERED = [name for name, method in METHODS.items() if method.facts.strength and name != "wise"]
PENALTIES = [name for name in STEERED if METHODS[name].terms is Method.terms]


def outcome(run_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Layout(run_dir).retain.read_text())
    return found


def gradients(training: Any, strengths: tuple[float, ...]) -> list[dict[str, torch.Tensor]]:
    """Of the second step, at each strength; the first is taken as a run begins."""
    found = []

    def taken(batches: list[Batch], step: int) -> dict[str, torch.Tensor]:
        made = training.objective.step(batches)
        made.observe(training.model)
        for batch in batches:
            made.loss(training.model, batch).backward()
            training.weights.accumulate()
        training.gradients.update(training.weights.reduce(training.world), step)
        return {name: one.clone() for name, one in training.weights.gradients.items()}

    first = taken(training.data.next_step(), 0)
    with torch.no_grad():
        for name, master in training.weights.masters.items():
            master.sub_(0.01 * first[name])
    training.weights.publish()
    batches = training.data.next_step()
    for strength in strengths:
        if training.dials:
            training.dials[STRENGTH].move(strength)
        found.append(taken(batches, 1))
        training.weights.publish()
    training.data.close()
    return found


@pytest.mark.parametrize(("name", "lora"), [*((n, None) for n in STEERED), *((n, LORA) for n in PENALTIES)])
def test_the_strength_scales_what_holds_the_model_and_nothing_else(
    name: str, lora: dict[str, int] | None, pico_folder: Path, corpora: Path, made: Path, tmp_path: Path
) -> None:
    """The gradient is a line in it, bitwise that without a budget at 1."""
    field = METHODS[name].facts.strength
    given = {} if field is None or " " in field else {field: 0.1}
    method = spec(name, pico_folder, corpora, made, lora, **given)
    changes = WATCHED | {"method": method, "lora": lora, "optimizer": {"max_grad_norm": None}}
    (plain,) = gradients(built(config(pico_folder, corpora, tmp_path, **changes)), (1.0,))
    steered = built(config(pico_folder, corpora, tmp_path, retain={"kl": 1.0}, **changes))
    one, two, three = gradients(steered, (1.0, 2.0, 3.0))
    assert all(torch.equal(plain[key], one[key]) for key in plain)
    assert max((two[key] - one[key]).abs().max() for key in one) > 1e-6
    # norms are float32 in the network, whatever its dtype
    bent = sum((three[key] + one[key] - 2 * two[key]).norm() ** 2 for key in one) ** 0.5
    assert bent < 1e-4 * sum((two[key] - one[key]).norm() ** 2 for key in one) ** 0.5


def test_an_infeasible_budget(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """The strength goes to its bound, the run says so, and what becomes the model is inside all the same."""
    console = Console(record=True, width=300)
    changes = WATCHED | HOT | {"retain": {"kl": 1e-5, "high": 1.1}, "budget": {"steps": 12, "batch_tokens": 128}}
    run = train(config(pico_folder, corpora, tmp_path, **changes), console=console)
    rows, found = lines(run.run_dir), outcome(run.run_dir)
    assert rows[-1]["dial/strength"] == pytest.approx(1.1)
    assert rows[-1]["infeasible/retain"] == 1
    assert rows[-1]["retain/spent"] > 1
    assert {"retain/signal", "retain/target", "retain/error", "retain/spent/mean"} <= rows[-1].keys()
    assert found["outcome"] == "infeasible"
    assert 0 < found["alpha"] < 1
    assert found["sets"]["mean"]["value"] <= found["sets"]["mean"]["limit"] == 1e-5
    assert found["sets"]["chat"]["limit"] is None
    assert found["strength"] == {"first": 1.0, "last": 1.1, "low": 0.03, "high": 1.1}
    assert len(found["exceeded"]) <= 1  # beyond doubt, and said once
    assert any("learning_rate" in sentence for sentence in found["helps"])
    printed = console.export_text()
    assert f"Note: {found['says']}" in printed
    assert all(f"Note: {sentence}" in printed for sentence in found["helps"])


def test_resumed_twice_bitwise(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    changes: Any = WATCHED | HOT | {"retain": {"kl": 0.002}, "budget": {"steps": 8, "batch_tokens": 128}}
    changes["training"] = WATCHED["training"] | {"save_steps": 2}
    straight = train(config(pico_folder, corpora, tmp_path, name="straight", **changes)).run_dir
    settings = config(pico_folder, corpora, tmp_path, name="killed", **changes)
    killed_after(2, settings)
    killed_after(6, settings, resume=True)
    again = train(settings, resume=True).run_dir
    moved = {row["dial/strength"] for row in lines(straight)}
    assert len(moved) > 2
    assert metric_lines(again) == metric_lines(straight)
    assert same_weights(straight, again)
    assert outcome(again) == outcome(straight)


def test_watched_only(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Any method may run; the weights are those inside, between the start and the last step."""
    retain = {"kl": {"chat": 1e-3, "general": 1e-2}, "steer": False}
    run = train(config(pico_folder, corpora, tmp_path, method="sft", retain=retain, **(WATCHED | HOT))).run_dir
    rows, found = lines(run), outcome(run)
    assert not any("dial/strength" in row for row in rows)
    assert rows[-1]["retain/spent"] == max(rows[-1][f"retain/spent/{name}"] for name in ("chat", "general"))
    assert found["strength"] is None
    assert found["outcome"] == "met"
    assert max(row["value"] / row["limit"] for row in found["sets"].values()) <= 1
    tried = {(row["step"], row["alpha"]) for row in found["tried"]}
    assert (found["step"], found["alpha"]) in tried


def test_wise_goes_as_far_as_the_budget(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    changes = WATCHED | HOT | {"method": "wise", "retain": {"kl": 1e-3}}
    run = train(config(pico_folder, corpora, tmp_path, **changes)).run_dir
    found = outcome(run)
    assert 0 < found["alpha"] < 1
    assert 0.9 < found["sets"]["mean"]["value"] / 1e-3 <= 1
    assert not Layout(run).interpolation.exists()


def test_bits_per_byte(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Text that becomes easier spends less than nothing."""
    changes = WATCHED | {"retain": {"bits_per_byte": "1%"}, "method": "replay"}
    run = train(config(pico_folder, corpora, tmp_path, **changes)).run_dir
    rows, found = lines(run), outcome(run)
    assert rows[-1]["retain/spent"] == pytest.approx(
        sum(rows[-1][f"eval/{name}/change_percent"] for name in ("general", "chat")) / 2
    )
    assert rows[-1]["dial/strength"] < 1  # the budget does not bind
    assert found["limits"] == {"mean": 0.01}
    assert found["alpha"] in (1, pytest.approx(1.5, abs=0.02))  # nothing is spent, so the line is gone to its end
    assert "bits per byte of held-out text change by" in found["says"]


def test_the_signal_does_not_depend_on_accumulation(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    found = []
    for size in (1, 8):
        changes = WATCHED | {"training": {"micro_batch_size": size, "eval_steps": 2}, "retain": {"kl": 0.01}}
        training = built(config(pico_folder, corpora, tmp_path, name=f"b{size}", **changes))
        run_loop(training)
        (kept,) = training.controllers
        assert isinstance(kept, Retention)
        found.append(kept.state.means)
    assert found[0].keys() == found[1].keys() == {"general", "chat"}
    assert all(found[0][name] == pytest.approx(found[1][name], abs=1e-12) for name in found[0])
    assert min(found[0].values()) > 1e-6
