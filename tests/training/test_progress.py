"""What a terminal shows of a run, at any width."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from acclimate.training.callbacks.progress import Measuring, ProgressBar


class State:
    step, total_steps = 0, 120


def shown(width: int) -> list[str]:
    bar = ProgressBar(Console(width=width, file=io.StringIO()), "my-run", 120)
    state: Any = State()
    bar.on_start(state)
    bar.began -= 40  # seconds ago
    losses = {f"loss/{name}": 2.5 for name in ("domain/cross_entropy", "general/reverse_kl", "chat/reverse_kl")}
    told = {"eval/domain/change_percent": -3.14, "eval/general/change_percent": 0.2}
    state.step = 40
    bar.on_step_end(state, {"tokens_per_second": 901.0, "learning_rate": 2e-4} | losses | told)
    return bar.render().plain.splitlines()


@pytest.mark.parametrize("width", [30, 40, 60, 80, 110, 200])
def test_steps_time_left_and_rate_are_never_cut(width: int) -> None:
    lines = shown(width)
    assert all(len(line) <= width for line in lines)
    assert "40/120  1:20 left  901 tok/s" in lines[0]
    assert len(lines) == 3
    assert lines[2].startswith("held out  domain -3.1 %")
    if width >= 80:
        assert lines[0].startswith("my-run  ━━━━")
    if width == 200:
        assert lines[1].endswith("chat/reverse_kl 2.500  learning rate 0.0002")


def test_measuring_without_a_terminal_is_a_line_each() -> None:
    console = Console(record=True, width=40, file=io.StringIO())
    with Measuring(console) as measuring:
        for what in ("held-out text of 'domain'", "answers side by side"):
            measuring.of(what, 3)()
    assert console.export_text().splitlines() == [
        "Measuring: held-out text of 'domain'.",
        "Measuring: answers side by side.",
    ]


def test_measuring_on_a_terminal_says_how_far() -> None:
    out = io.StringIO()
    with Measuring(Console(file=out, force_terminal=True, width=60)) as measuring:
        tick = measuring.of("held-out text of 'domain'", 3)
        tick()
        assert measuring.status is not None
        assert "'domain' 1/3, 0:00 left" in str(measuring.status.status)
    assert measuring.status is None
