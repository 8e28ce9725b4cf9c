"""Checkpoints: everything a run needs to continue bitwise, written atomically and verified when read."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from acclimate.disk.digest import sha256_of
from acclimate.disk.files import discard, sync
from acclimate.disk.tensorfiles import SavedTensors
from acclimate.parallel.shard import is_spread, local, spread_like
from acclimate.parallel.world import World
from acclimate.runs.layout import Layout
from acclimate.runs.scores import last_line
from acclimate.types.central import Callback
from acclimate.types.dials import Controller
from acclimate.types.errors import AcclimateError, DamagedError, RunError, reason

if TYPE_CHECKING:
    from acclimate.training.training import Training

FORMER_NAMES = {"Save": "save"}
"""Of callbacks in checkpoints from when a class was the name of its only instance."""


def save_checkpoint(training: Training, folder: Path) -> None:
    """Writes weights, optimizer, transform, dial, controller, callback and data state to ``folder``, all or nothing."""
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
    write_folder(folder, tensors, document, training.world)


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
            own = {key: _placed(tensor, masters[name]) for key, tensor in saved.items()}
            state["state"][index] = own | document.get("optimizer", {}).get(name, {})
    training.optimizer.load_state_dict(state)
    transforms: list[dict[str, Any]] = [{} for _ in training.gradients.states]
    for index, found in enumerate(transforms):
        for name, tensor in tensors.under(f"transform/{index}/").items():
            found[name] = _placed(tensor.to(training.model.device), masters.get(name))
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


def _placed(tensor: Tensor, master: Tensor | None) -> Tensor:
    """Spread as the master is, if it is of the master's shape (a step count is not)."""
    return spread_like(tensor, master) if master is not None and tensor.shape == master.shape else tensor


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
            verify(folder)
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


def write_folder(folder: Path, tensors: Mapping[str, Tensor], document: dict[str, Any], world: World) -> None:
    """Tensors as safetensors, the rest as JSON, and a manifest of digests; atomic.

    The files land in a temporary sibling first; a manifest with their digests is written last, and one rename makes
    the checkpoint appear. Rank 0 writes, and of tensors that are spread each rank its own part, to a file of its own.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    mine = {key: local(t).detach().contiguous().cpu() for key, t in tensors.items() if world.is_main or is_spread(t)}
    try:
        with world.all_or_none(), _one_sentence(folder):
            if world.is_main:
                shutil.rmtree(partial, ignore_errors=True)
                recover(folder)
                partial.mkdir(parents=True)
        with world.all_or_none(), _one_sentence(folder):
            if mine:
                save_file(mine, partial / f"tensors-{world.rank:05d}.safetensors")
        with world.all_or_none(), _one_sentence(folder):
            if world.is_main:
                _finish(partial, folder, document)
    except AcclimateError:
        if world.is_main:
            shutil.rmtree(partial, ignore_errors=True)
        raise


def _finish(partial: Path, folder: Path, document: dict[str, Any]) -> None:
    (partial / "state.json").write_text(json.dumps(document), encoding="utf-8")
    digests = {path.name: sha256_of([path]) for path in sorted(partial.iterdir())}
    (partial / "manifest.json").write_text(json.dumps({"sha256": digests}, indent=1), encoding="utf-8")
    for path in (*partial.iterdir(), partial):
        sync(path)
    if folder.exists():  # the same step again, or a new best: the old one stays until the new one is whole
        stale = folder.with_name(f".{folder.name}.stale")
        shutil.rmtree(stale, ignore_errors=True)
        if stale.is_dir():  # it could not be removed, here or before
            discard(stale)
        folder.rename(stale)
        partial.rename(folder)
        discard(stale)
    else:
        partial.rename(folder)
    sync(folder.parent)


@contextmanager
def _one_sentence(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise RunError(
            f"The checkpoint '{folder}' could not be written ({reason(error)}); checkpoints saved before are unharmed."
        ) from error


def recover(folder: Path) -> None:
    """After a kill between the two renames of :func:`_finish` the older one is still there, set aside."""
    stale = folder.with_name(f".{folder.name}.stale")
    if stale.is_dir() and not folder.exists():
        stale.rename(folder)


def verify(folder: Path) -> None:
    """Compares every file with its digest.

    Raises:
        DamagedError: a file is missing, cut short or changed.
    """
    try:
        digests = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["sha256"]
        for name, digest in digests.items():
            if sha256_of([folder / name]) != digest:
                raise DamagedError(
                    f"The checkpoint '{folder}' is damaged: {name} differs from its digest in the manifest."
                )
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DamagedError(f"The checkpoint '{folder}' is incomplete ({reason(error)}).") from None


def read_folder(folder: Path) -> tuple[SavedTensors, dict[str, Any]]:
    """What :func:`write_folder` wrote; :func:`verify` it first."""
    document: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return SavedTensors.of(sorted(folder.glob("tensors-*.safetensors"))), document


def newest_intact(run_dir: Path, world: World) -> tuple[Path | None, list[str]]:
    """The last checkpoint whose files are what was written, and what is wrong with each later one.

    Raises:
        DamagedError: there are checkpoints, but none is intact.
    """
    with world.all_or_none():
        intact, problems = _newest_intact(run_dir) if world.is_main else (None, [])
    return world.agree((intact, problems))


def _newest_intact(run_dir: Path) -> tuple[Path | None, list[str]]:
    problems = []
    for folder in reversed(Layout(run_dir).step_checkpoints):
        try:
            verify(folder)
        except DamagedError as error:
            problems.append(str(error))
        else:
            return folder, problems
    if problems:
        raise DamagedError(
            f"No checkpoint of '{run_dir}' is intact: {' '.join(problems)} To begin again at step 0, move its "
            "checkpoints/ away."
        )
    return None, []
