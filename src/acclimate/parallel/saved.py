"""Folders of tensors that all ranks write and read together: whole or not there, every file with its digest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from acclimate.disk.digest import sha256_of
from acclimate.disk.files import discard, sync
from acclimate.disk.tensorfiles import SavedTensors
from acclimate.parallel.parts import parts_written_here
from acclimate.parallel.world import SOLO, World
from acclimate.types.errors import AcclimateError, DamagedError, RunError, reason

STATE, MANIFEST = "state.json", "manifest.json"


def write_folder(folder: Path, tensors: Mapping[str, Tensor], document: dict[str, Any], world: World) -> None:
    """Tensors as safetensors, the rest as JSON, and a manifest of digests; atomic.

    The files land in a temporary sibling first; a manifest with their digests is written last, and one rename makes
    the folder appear. Rank 0 writes, and of tensors that are spread each rank its own part, to a file of its own, which
    it also syncs and hashes.
    """
    parts = {key: part.contiguous().cpu() for key, part in parts_written_here(tensors, world).items()}
    write_parts(folder, parts, json.dumps(document), world)


def write_parts(folder: Path, parts: Mapping[str, Tensor], document: str, world: World) -> None:
    """The same of what this rank writes, which lies in CPU memory, and of JSON that is written already."""
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        with world.all_or_none(), _one_sentence(folder):
            if world.is_main:
                shutil.rmtree(partial, ignore_errors=True)
                recover(folder)
                partial.mkdir(parents=True)
        written: dict[str, str] = {}
        with world.all_or_none(), _one_sentence(folder):
            if parts:
                path = partial / f"tensors-{world.rank:05d}.safetensors"
                save_file(dict(parts), path)
                sync(path)  # by who wrote it: of a network file system no other machine can
                written[path.name] = sha256_of([path])
        digests = {name: digest for each in world.gather(written) for name, digest in each.items()}
        with world.all_or_none(), _one_sentence(folder):
            if world.is_main:
                _finish(partial, folder, document, digests)
    except AcclimateError:
        if world.is_main:
            shutil.rmtree(partial, ignore_errors=True)
        raise


def _finish(partial: Path, folder: Path, document: str, digests: dict[str, str]) -> None:
    (partial / STATE).write_text(document, encoding="utf-8")
    digests = {STATE: sha256_of([partial / STATE]), **digests}
    (partial / MANIFEST).write_text(json.dumps({"sha256": digests}, indent=1), encoding="utf-8")
    for path in (partial / STATE, partial / MANIFEST, partial):
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


def verify(folder: Path, world: World = SOLO) -> None:
    """Compares every file with its digest; a collective, in which each rank reads its share of the files.

    Raises:
        DamagedError: on all ranks, where a file is missing, cut short or changed.
    """
    problem = next(filter(None, world.gather(_damage(folder, world))), None)
    if problem is not None:
        raise DamagedError(problem)


def _damage(folder: Path, world: World) -> str | None:
    """What is wrong with this rank's share: the file that it reads its own rows of, where as many ranks wrote them."""
    try:
        digests: dict[str, str] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"]
        for name in sorted(digests, key=lambda name: (name == STATE, name))[world.rank :: world.size]:
            if sha256_of([folder / name]) != digests[name]:
                return f"The checkpoint '{folder}' is damaged: {name} differs from its digest in the manifest."
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        return f"The checkpoint '{folder}' is incomplete ({reason(error)})."
    return None


def read_folder(folder: Path) -> tuple[SavedTensors, dict[str, Any]]:
    """What :func:`write_folder` wrote; :func:`verify` it first."""
    document: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
    return SavedTensors.of(sorted(folder.glob("tensors-*.safetensors"))), document
