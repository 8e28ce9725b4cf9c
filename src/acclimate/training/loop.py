"""The training loop. It knows no method, term or transform by name."""

from __future__ import annotations

import time
from typing import Any

import torch

from acclimate.parallel.world import FIRST
from acclimate.training.finite import stop_if_not_finite
from acclimate.training.training import Training
from acclimate.types.central import Metrics
from acclimate.types.errors import Stopped


def run_loop(training: Training) -> None:
    """Takes optimizer steps until the budget is spent, or a callback ends the run.

    Raises:
        NonFiniteError: a loss or gradient is infinite or NaN; the optimizer step was not taken.
        Stopped: ``training.stop`` asked for it; the callbacks of the step have run.
    """
    world = training.world
    try:
        world.hurry(FIRST)
        while not training.done:
            started = time.perf_counter()
            _step(training)
            training.seconds += time.perf_counter() - started
            world.hurry()
            if training.stop.agreed:
                raise Stopped(
                    f"Stopped after step {training.step} of {training.total_steps}, whose checkpoint is written. The "
                    "same command with --resume goes on from there.",
                    training.stop.agreed,
                )
        for callback in training.callbacks:
            callback.on_train_end(training)
        world.be_patient()
    finally:
        training.data.close()
        for callback in training.callbacks:
            callback.close()


def _step(training: Training) -> None:
    model, weights, world = training.model, training.weights, training.world
    model.network.train()
    started, before = time.perf_counter(), training.counted_forwards()
    with world.all_or_none():  # a file that one rank cannot read
        batches = [batch.to(model.device) for batch in training.data.next_step()]
    step = training.objective.step(batches, before=training.step)
    step.observe(model)
    for batch in batches:
        step.loss(model, batch).backward()  # type: ignore[no-untyped-call]
        weights.accumulate()
    metrics: Metrics = step.report() | {f"dial/{name}": float(dial) for name, dial in training.dials.items()}
    metrics |= training.gradients.update(weights.reduce(world), training.step)
    stop_if_not_finite(training, metrics, step)
    scale = training.update_scale(metrics) if training.update_scale else 1.0
    rate = training.learning_rate(training.step) * scale
    for group in training.optimizer.param_groups:
        _set_rate(group, rate * group.get("rate", 1.0))
    weights.leave_unreached(training.optimizer, world)
    training.optimizer.step()
    weights.publish()
    training.step += 1
    if training.alignment is not None:
        metrics |= training.alignment.measured(training, batches)
    tokens = sum(int((batch.on_host.labels >= 0).sum()) for batch in batches)
    forwards = training.counted_forwards() - before
    told = torch.tensor([tokens, forwards, *training.stop.asked], dtype=torch.float64)
    tokens, forwards, *asked = world.sum(told).tolist()
    training.stop.agree(asked)
    training.forwards += forwards
    metrics |= training.data.progress()
    metrics |= {
        "learning_rate": rate,
        "tokens_per_second": tokens / (time.perf_counter() - started),
    }
    if training.probe is not None:
        metrics |= training.probe.measured(training)
    for controller in training.controllers:
        metrics |= controller.on_measured(metrics, training.dials)
        if controller.infeasible is not None:
            metrics[f"infeasible/{controller.name}"] = 1.0
    for callback in training.callbacks:
        callback.on_step_end(training, metrics)


def _set_rate(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], torch.Tensor):  # of an optimizer that is compiled, where a number would be a constant
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
