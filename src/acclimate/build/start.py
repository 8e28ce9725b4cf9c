"""A built training goes to where it begins: its last checkpoint, or step 0."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from acclimate.runs.layout import Layout
from acclimate.training.checkpoint import load_checkpoint, newest_intact
from acclimate.training.training import Training
from acclimate.types.plan import Plan


def start(training: Training, plan: Plan, run_dir: Path, resume: bool, console: Console) -> None:
    """From the last checkpoint, or from step 0 of the weights that the plan starts from."""
    intact, damaged = newest_intact(run_dir, training.world) if resume else (None, [])
    for problem in damaged:
        console.print(f"Note: {problem} The one before it is used.", style="yellow", highlight=False)
    if intact is not None:
        load_checkpoint(training, intact)
        console.print(f"Continuing after step {training.step} of {training.total_steps}.")
    else:
        if resume and Layout(run_dir).metrics.exists():  # it has taken steps, which are lost
            console.print("There is no checkpoint to continue from: starting at step 0.")
        if plan.start is not None:
            training.weights.load_state_dict(plan.start)
    for callback in training.callbacks:
        callback.on_start(training)
    training.world.agree(None)  # nobody begins before all are ready
