"""What becomes of a run that is outside of its budget beyond doubt: in whole runs, and of numbers made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from acclimate.paired.metrics import DRIFT
from acclimate.parallel.saved import read_folder
from acclimate.runs.layout import Layout
from acclimate.training.callbacks.exceeded import EXCEEDED, MOST, ROLLED_BACK, Exceeded, Judge
from acclimate.training.callbacks.progress import ProgressBar
from acclimate.training.checkpoint import checkpoint_weights
from acclimate.training.control.budget import Budget
from acclimate.types.errors import UsageError
from acclimate.verbs.run import train
from tests.fixtures.runs import config, killed_after, lines, metric_lines, same_weights
from tests.fixtures.sentences import says

SOURCES = {"domain": 12, "general": 12, "chat": 12}


def changes(corpora: Path, then: str, limit: float, **more: Any) -> dict[str, Any]:
    """sft at a rate that forgets, watched at every step; nothing steers."""
    return {
        "method": "sft",
        "retain": {"kl": limit, "steer": False, "rescale": False},
        "sources": {
            name: {"path": str(corpora / f"{name}.jsonl"), "heldout": count, "share": float(name == "domain")}
            | ({"route": "general"} if name == "chat" else {})
            for name, count in SOURCES.items()
        },
        "budget": {"steps": 7, "batch_tokens": 96},
        "optimizer": {"learning_rate": 4e-3},
        "schedule": {"type": "constant"},
        "evaluation": {"validation_documents": 10},
        "training": {"micro_batch_size": 2, "save_steps": 1, "keep_last": 20, "eval_steps": 1,
                     "on_budget_exceeded": then},
    } | more  # fmt: skip


@pytest.fixture(scope="module")
def straight(pico_folder: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that goes back, and what it said."""
    console = Console(record=True, width=2000)
    settings = config(
        pico_folder, corpora, tmp_path_factory.mktemp("back"), name="straight", **changes(corpora, "roll_back", 0.12)
    )
    return train(settings, console=console).run_dir, console.export_text()


def test_a_run_goes_back_to_the_last_check_inside(straight: tuple[Path, str]) -> None:
    run, said = straight
    rows = lines(run)
    back = [int(row["step"]) for row in rows if ROLLED_BACK in row]
    assert back
    assert [step for step, row in enumerate(rows, 1) if EXCEEDED in row][: len(back)] == back
    step, to = back[0], int(rows[back[0] - 1][ROLLED_BACK])
    assert rows[step - 1]["retain/spent"] > 1
    assert to == 0 or rows[to - 1]["retain/spent"] <= 1
    assert rows[step]["learning_rate"] == pytest.approx(rows[step - 1]["learning_rate"] / 2)
    assert rows[step]["retain/spent"] < rows[step - 1]["retain/spent"]
    assert rows[step]["trained_tokens/domain"] > rows[step - 1]["trained_tokens/domain"]  # the data goes on
    assert f"weights and moments go back to those of step {to}, and the learning rate is 0.5 of the schedule's" in said
    # a check is logged, and saved, before the run goes back: its checkpoint has what was measured
    kept = checkpoint_weights(Layout(run).checkpoint(step))
    tensors, _ = read_folder(Layout(run).checkpoint(step))
    earlier = tensors.under("kept/weights/")
    assert not all(torch.equal(kept[name], earlier[name]) for name in kept)
    if to:
        before = checkpoint_weights(Layout(run).checkpoint(to))
        assert all(torch.equal(before[name], earlier[name]) for name in before)
    found = json.loads(Layout(run).retain.read_text())
    assert found["rolled_back"] == back
    assert found["exceeded"][: len(back)] == back
    assert len(back) <= MOST


def test_going_back_resumes_bitwise(
    straight: tuple[Path, str], pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    """Killed right after the check that sends it back, and once more after the next step."""
    step = next(int(row["step"]) for row in lines(straight[0]) if ROLLED_BACK in row)
    settings = config(pico_folder, corpora, tmp_path, name="killed", **changes(corpora, "roll_back", 0.12))
    killed_after(step, settings)
    killed_after(step + 1, settings, resume=True)
    again = train(settings, resume=True).run_dir
    assert metric_lines(again) == metric_lines(straight[0])
    assert same_weights(again, straight[0])
    assert json.loads(Layout(again).retain.read_text()) == json.loads(Layout(straight[0]).retain.read_text())


def test_a_run_stops(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    console = Console(record=True, width=2000)
    run = train(config(pico_folder, corpora, tmp_path, **changes(corpora, "stop", 0.12)), console=console).run_dir
    record = json.loads((run / "provenance.json").read_text())["ended"]
    assert record["step"] == len(lines(run)) < record["of"] == 7
    assert says(
        record["why"],
        f"Ended after step {record['step']} of 7 (training.on_budget_exceeded: stop): … on the mean … the budget "
        "is 0.12 nats a token.",
    )
    printed = console.export_text()
    assert record["why"] in printed
    chosen = json.loads(Layout(run).retain.read_text())
    assert chosen["step"] < record["step"]
    assert chosen["sets"]["mean"]["value"] <= 0.12
    assert f"step {record['step']}/7" in printed
    assert "kl 0.0" in printed
    assert " of 0.120  " in printed


def test_a_budget_is_needed(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"training\.on_budget_exceeded: stop has no effect .*; set retain"):
        config(pico_folder, corpora, tmp_path, training={"on_budget_exceeded": "stop", "eval_steps": 1})
    found = config(pico_folder, corpora, tmp_path, retain={"kl": 0.1}, evaluation={"validation_documents": 2})
    assert found.training.eval_steps == "auto"


class State:
    total_steps, step, why = 100, 0, ""

    def end(self, why: str) -> None:
        self.why = why


def told(then: str, values: list[tuple[float, float]], steered: bool = False) -> tuple[list[str], State]:
    """What is said of these values and errors of two sets of 20 documents each, a check at each step."""
    budget, said, state = Budget(DRIFT, {"mean": 0.05}, ("chat", "general")), list[str](), State()
    callback = Exceeded(Judge.of(budget, {"chat": 20, "general": 20, "domain": 9}, 10), then, steered, said.append)
    for value, error in values:
        state.step += 1
        metrics = {f"eval/{name}/{DRIFT}": value for name in ("chat", "general")}
        metrics |= {f"{key}_error": error for key in list(metrics)}
        metrics |= {"retain/spent": value / 0.05, "learning_rate": 1e-3}
        callback.on_step_end(state, metrics)  # type: ignore[arg-type]
    return said, state


def test_a_crossing_is_said_once() -> None:
    inside, doubtful, outside = (0.04, 0.001), (0.06, 0.01), (0.09, 0.004)
    assert told("warn", [inside, doubtful])[0] == []
    said, state = told("warn", [inside, outside, outside, doubtful, outside, inside, outside])
    assert len(said) == 2
    assert says(
        said[0],
        "after step 2 the model drifted by 0.09 nats a token on the mean over other text than the domain's, by at "
        "least … whatever documents were drawn; the budget is 0.05 nats a token.",
    )
    assert said[1].startswith("after step 7 ")
    assert not state.why
    down = [(0.5 - 0.01 * step, 0.004) for step in range(40)]  # as a controller brings it
    assert told("warn", down, steered=True)[0] == []
    assert told("warn", [outside] * 24, steered=True)[0] == []  # a quarter of the run
    assert len(told("warn", [outside] * 26, steered=True)[0]) == 1
    assert len(told("warn", [*down, (0.12, 0.004)], steered=True)[0]) == 1  # and up again
    assert told("stop", [inside, outside])[1].why.startswith("Ended after step 2 of 100")


def test_the_bar_shows_the_budget() -> None:
    console = Console(record=True, width=200)
    bar = ProgressBar(console, "run", 100, Budget(DRIFT, {"chat": 0.05, "general": 0.1}))
    state: Any = State()
    for state.step, measured in ((3, {}), (7, {f"eval/chat/{DRIFT}": 0.0432, f"eval/general/{DRIFT}": 0.01,
                                               "eval/domain/change_percent": -3.14}), (10, {})):  # fmt: skip
        bar.on_step_end(state, {"tokens_per_second": 9.0, "loss/domain/ce": 1.0} | measured)
    first, second = console.export_text().splitlines()
    assert first == "run: step 7/100  9 tok/s, 0:00 left  domain/ce 1.000  kl of chat 0.043 of 0.050  domain -3.1 %"
    assert second == "run: step 10/100  9 tok/s, 0:00 left  domain/ce 1.000  kl of chat 0.043 of 0.050"
