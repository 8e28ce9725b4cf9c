"""Checkpoints: everything a run needs to continue bitwise, written atomically and verified when read."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from acclimate.digest import sha256_of
from acclimate.errors import RunError
from acclimate.train.training import Training

STEP = re.compile(r"step-(\d+)")


def save_checkpoint(training: Training, folder: Path) -> None:
    """Writes weights, optimizer, transform, callback and data state to ``folder``, all or nothing.

    The files land in a temporary sibling first; a manifest with their digests is written last, and one rename
    makes the checkpoint appear.
    """
    optimizer_state = training.optimizer.state_dict()["state"]
    names = list(training.weights.masters)
    tensors: dict[str, Tensor] = {f"weights/{name}": t for name, t in training.weights.state_dict().items()}
    for index, state in optimizer_state.items():
        tensors |= {f"optimizer/{names[index]}/{key}": torch.as_tensor(value) for key, value in state.items()}
    for index, state in enumerate(training.gradients.state_dict()):
        tensors |= {f"transform/{index}/{key}": value for key, value in state.items()}
    tensors["random/cpu"] = torch.get_rng_state()
    if training.model.device.type == "cuda":
        tensors["random/cuda"] = torch.cuda.get_rng_state(training.model.device)
    document = {
        "step": training.step,
        "data": training.data.state_dict(),
        "callbacks": {type(callback).__name__: callback.state_dict() for callback in training.callbacks},
    }
    write_folder(folder, tensors, document)


def load_checkpoint(training: Training, folder: Path) -> None:
    """Restores what :func:`save_checkpoint` wrote; the run then continues bitwise.

    Raises:
        RunError: a file is missing or its digest differs from the manifest.
    """
    tensors, document = read_folder(folder)
    weights = {key.removeprefix("weights/"): t for key, t in tensors.items() if key.startswith("weights/")}
    if set(weights) != set(training.weights.masters):
        raise RunError(f"The checkpoint '{folder}' trains other parameters than this configuration does.")
    training.weights.load_state_dict(weights)
    state = training.optimizer.state_dict()
    for index, name in enumerate(training.weights.masters):
        prefix = f"optimizer/{name}/"
        if loaded := {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}:
            state["state"][index] = loaded
    training.optimizer.load_state_dict(state)
    transforms: list[dict[str, Any]] = [{} for _ in training.gradients.states]
    for key, tensor in tensors.items():
        if key.startswith("transform/"):
            _, index_text, name = key.split("/", 2)
            transforms[int(index_text)][name] = tensor
    training.gradients.load_state_dict(transforms)
    training.step = document["step"]
    training.data.load_state_dict(document["data"])
    for callback in training.callbacks:  # by name: a run may be continued with another report_to
        if (saved := document["callbacks"].get(type(callback).__name__)) is not None:
            callback.load_state_dict(saved)
    torch.set_rng_state(tensors["random/cpu"])
    if "random/cuda" in tensors and training.model.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random/cuda"], training.model.device)


def checkpoint_weights(folder: Path) -> dict[str, Tensor]:
    """The trained weights in a checkpoint or in ``checkpoints/best``."""
    tensors, _ = read_folder(folder)
    return {key.removeprefix("weights/"): t for key, t in tensors.items() if key.startswith("weights/")}


def load_best(training: Training, run_dir: Path) -> None:
    """Puts the best weights into the model.

    Raises:
        RunError: none were kept, because nothing was evaluated during training.
    """
    folder = run_dir / "checkpoints" / "best"
    _recover(folder)
    if not folder.is_dir():
        raise RunError(f"training.final: best, but '{run_dir}' kept no best checkpoint; set training.eval_steps.")
    training.weights.load_state_dict(checkpoint_weights(folder))


def write_folder(folder: Path, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
    """Tensors as safetensors, the rest as JSON, and a manifest of digests; atomic."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _recover(folder)
    try:
        partial.mkdir(parents=True)
        save_file({key: t.detach().contiguous().cpu() for key, t in tensors.items()}, partial / "tensors.safetensors")
        (partial / "state.json").write_text(json.dumps(document), encoding="utf-8")
        digests = {path.name: sha256_of([path]) for path in sorted(partial.iterdir())}
        (partial / "manifest.json").write_text(json.dumps({"sha256": digests}, indent=1), encoding="utf-8")
        for path in partial.iterdir():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        if folder.exists():  # the same step again, or a new best: the old one stays until the new one is whole
            stale = folder.with_name(f".{folder.name}.stale")
            shutil.rmtree(stale, ignore_errors=True)
            folder.rename(stale)
            partial.rename(folder)
            shutil.rmtree(stale)
        else:
            partial.rename(folder)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(
            f"The checkpoint '{folder}' could not be written ({error}); checkpoints saved before are unharmed."
        ) from error


def _recover(folder: Path) -> None:
    """After a kill between the two renames of :func:`write_folder` the older one is still there, set aside."""
    stale = folder.with_name(f".{folder.name}.stale")
    if stale.is_dir() and not folder.exists():
        stale.rename(folder)


def read_folder(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads and verifies what :func:`write_folder` wrote."""
    try:
        digests = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["sha256"]
        for name, digest in digests.items():
            if sha256_of([folder / name]) != digest:
                raise RunError(f"The checkpoint '{folder}' is damaged: {name} differs from its digest in the manifest.")
        return load_file(folder / "tensors.safetensors"), json.loads((folder / "state.json").read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, KeyError) as error:
        raise RunError(f"The checkpoint '{folder}' is incomplete ({error}).") from None


def checkpoints(run_dir: Path) -> list[Path]:
    """Step checkpoints of a run, oldest first."""
    found = [(int(m[1]), p) for p in (run_dir / "checkpoints").glob("step-*") if (m := STEP.fullmatch(p.name))]
    return [path for _, path in sorted(found)]
