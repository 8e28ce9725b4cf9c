"""Checkpoints: everything a run needs to continue bitwise, written atomically and verified when read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from acclimate.parallel.parts import placed_if_alike
from acclimate.parallel.saved import read_folder, recover, verify, write_folder
from acclimate.parallel.world import World
from acclimate.runs.layout import Layout
from acclimate.runs.scores import last_line
from acclimate.types.central import Callback
from acclimate.types.dials import Controller
from acclimate.types.errors import DamagedError, RunError

if TYPE_CHECKING:
    from acclimate.training.training import Training

FORMER_NAMES = {"Save": "save"}
"""Of callbacks in checkpoints from when a class was the name of its only instance."""


def save_checkpoint(training: Training, folder: Path) -> None:
    """Writes the state of a run to ``folder``, all or nothing; every rank calls it, and waits."""
    write_folder(folder, *saved_state(training), training.world)


def saved_state(training: Training) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights, optimizer, transform, dial, controller, callback, random and data state. A collective.

    Returns:
        Tensors, which are those that the next step changes, and plain data.
    """
    tensors: dict[str, Tensor] = {f"weights/{name}": t for name, t in training.weights.state_dict().items()}
    numbers: dict[str, dict[str, int]] = {}
    tables: set[int] = set()
    for name, master in training.weights.masters.items():
        for key, value in training.optimizer.state.get(master, {}).items():
            if not isinstance(value, Tensor):
                numbers.setdefault(name, {})[key] = value
                continue
            shared = id(value) in tables  # a table of all parameters, which a file holds once under each name
            tables.add(id(value))
            tensors[f"optimizer/{name}/{key}"] = value.clone() if shared else value
    for index, state in enumerate(training.gradients.state_dict()):
        tensors |= {f"transform/{index}/{key}": value for key, value in state.items()}
    if training.kept is not None:
        tensors |= {f"kept/{key}": tensor for key, tensor in training.kept.tensors.items()}
    for rank, state in enumerate(training.world.gather(_random_state(training))):
        tensors |= {f"random/{rank}/{device}": value for device, value in state.items()}
    document = {
        "step": training.step,
        "seconds": training.seconds,
        "forwards": training.forwards,
        "ended": training.ended,
        "optimizer": numbers,
        "data": training.data.state_dict(),
        "dials": {name: float(dial) for name, dial in training.dials.items()},
        "controllers": states(training.controllers),
        "callbacks": states(training.callbacks),
    }
    return tensors, document


def load_checkpoint(training: Training, folder: Path) -> None:
    """Restores what :func:`save_checkpoint` wrote; the run then continues bitwise.

    The number of ranks and the strategy may differ from those that wrote it: the state is bitwise the same, and the
    next losses agree up to the order of sums.

    Args:
        folder: an intact checkpoint, see :func:`newest_intact`.
    """
    tensors, document = read_folder(folder)
    masters = training.weights.masters
    weights = tensors.under("weights/")
    if set(weights) != set(masters):
        raise RunError(f"The checkpoint '{folder}' trains other parameters than this configuration does.")
    training.weights.load_state_dict(weights)
    state, names = training.optimizer.state_dict(), {id(master): name for name, master in masters.items()}
    in_order = [names[id(master)] for group in training.optimizer.param_groups for master in group["params"]]
    for index, name in enumerate(in_order):
        if saved := tensors.under(f"optimizer/{name}/"):
            own = {key: _placed(saved, key, masters[name]) for key in saved}
            state["state"][index] = own | document.get("optimizer", {}).get(name, {})
    training.optimizer.load_state_dict(state)
    transforms: list[dict[str, Any]] = [{} for _ in training.gradients.states]
    for index, found in enumerate(transforms):
        saved = tensors.under(f"transform/{index}/")
        for name in saved:
            found[name] = _placed(saved, name, masters.get(name), training.model.device)
    training.gradients.load_state_dict(transforms)
    training.step, training.seconds = document["step"], document["seconds"]
    training.forwards, training.ended = document["forwards"], document.get("ended")
    training.data.load_state_dict(document["data"])
    values = document.get("dials", {})
    for name, dial in training.dials.items():
        dial.move(values.get(name, float(dial)))  # one that the checkpoint does not know stays where it starts
    callbacks = {FORMER_NAMES.get(name, name): state for name, state in document["callbacks"].items()}
    for parts, known in ((training.controllers, document.get("controllers", {})), (training.callbacks, callbacks)):
        for part in parts:  # by name: a run may be continued with another report_to
            if (saved_state := known.get(part.name)) is not None:
                part.load_state_dict(saved_state)
    if training.kept is not None:
        training.kept.load(tensors.under("kept/"))
    _restore_random_state(training, tensors.under(f"random/{training.world.rank}/"))


def states(parts: Sequence[Callback | Controller]) -> dict[str, Any]:
    """By name, of those that have a state.

    Raises:
        ValueError: one has no name, or another's.
    """
    found: dict[str, Any] = {}
    for part in parts:
        if state := part.state_dict():
            if not part.name or part.name in found:
                raise ValueError(f"{type(part).__name__} has a state, but no name of its own: it is '{part.name}'.")
            found[part.name] = state
    return found


def _placed(saved: Mapping[str, Tensor], key: str, master: Tensor | None, device: torch.device | None = None) -> Tensor:
    """Spread as the master is, if it is of the master's shape (a step count is not); else on the device."""
    found = placed_if_alike(saved, key, master)
    return found if found is not None else saved[key].to(device or "cpu")


def _random_state(training: Training) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if training.model.device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(training.model.device)
    return state


def _restore_random_state(training: Training, state: Mapping[str, Tensor]) -> None:
    if not state:  # fewer ranks wrote the checkpoint
        torch.manual_seed(training.step * training.world.size + training.world.rank)
        return
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and training.model.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], training.model.device)


def checkpoint_weights(folder: Path) -> Mapping[str, Tensor]:
    """The trained weights in a checkpoint or in ``checkpoints/best``."""
    verify(folder)
    return read_folder(folder)[0].under("weights/")


def read_best(training: Training, run_dir: Path) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """The best weights, and the step and measurements that they are of.

    Raises:
        RunError: none were kept, because nothing was evaluated during training.
    """
    folder = Layout(run_dir).best
    with training.world.all_or_none():
        if training.world.is_main:
            recover(folder)
            if not folder.is_dir():
                raise RunError(
                    f"training.final: best, but '{run_dir}' has no checkpoints/best any more; move its last step's "
                    "checkpoint away and --resume, so that it is measured again."
                )
    verify(folder, training.world)
    tensors, best = read_folder(folder)
    return tensors.under("weights/"), best


def load_best(training: Training, run_dir: Path) -> str:
    """Puts the best weights into the model.

    Returns:
        A sentence: of which step they are, and what was measured of them and of the last ones.
    """
    weights, best = read_best(training, run_dir)
    training.weights.load_state_dict(weights)
    if best["step"] == training.step:
        return f"The last weights are the best ones: {_changes(best)}."
    last = last_line(Layout(run_dir).metrics)
    return (
        f"The model is that of step {best['step']} of {training.step}, the best: {_changes(best)}. The last one's: "
        f"{_changes(last)}."
    )


def _changes(measured: Mapping[str, float]) -> str:
    """``domain -20.1 %, chat +0.4 %``: of bits per byte from the base."""
    found = {m[1]: value for name, value in measured.items() if (m := re.fullmatch("eval/(.*)/change_percent", name))}
    return ", ".join(f"{name} {change:+.1f} %" for name, change in found.items()) + " bits per byte"


def newest_intact(run_dir: Path, world: World) -> tuple[Path | None, list[str]]:
    """The last checkpoint whose files are what was written, and what is wrong with each later one. A collective.

    Raises:
        DamagedError: on all ranks, where there are checkpoints, but none is intact.
    """
    problems = []
    for folder in reversed(world.agree(Layout(run_dir).step_checkpoints)):
        try:
            verify(folder, world)
        except DamagedError as error:
            problems.append(str(error))
        else:
            return folder, problems
    with world.all_or_none():
        if problems and world.is_main:
            raise DamagedError(
                f"No checkpoint of '{run_dir}' is intact: {' '.join(problems)} To begin again at step 0, move its "
                "checkpoints/ away."
            )
    return None, []
