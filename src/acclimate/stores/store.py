"""The store of a statistic: a folder with tensors and a manifest, made once a base and reused by every domain."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from acclimate.disk.digest import sha256_of
from acclimate.disk.files import sync, unwritable
from acclimate.disk.tensorfiles import SavedTensors
from acclimate.types.errors import ConfigError, DamagedError, reason

VERSION = 1
TENSORS, MANIFEST = "tensors.safetensors", "manifest.json"
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Statistic:
    """Marks a method's field as the path of a store: ``store: Annotated[str, Statistic("fisher")]``."""

    kind: str


def required_statistics(method: type[Any]) -> dict[str, str]:
    """The fields of a method that name a store, and the kind of statistic each wants."""
    hints = get_type_hints(method, include_extras=True)
    marks = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return {name: mark.kind for name, found in marks.items() for mark in found if isinstance(mark, Statistic)}


@dataclass(frozen=True)
class Store:
    """An opened store; tensors are read when they are asked for.

    ``manifest`` holds kind, base (path, revision, digest), corpus (digest of every source), steps, tokens, seconds,
    dtype, lora, settings, facts (what the recorder found), versions and the sha256 of the tensors.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.manifest["kind"])

    @property
    def facts(self) -> Mapping[str, Any]:
        facts: Mapping[str, Any] = self.manifest["facts"]
        return facts

    @property
    def origin(self) -> dict[str, Any]:
        """What a run that reads it keeps in its provenance: the preparation is part of the run's cost."""
        kept = ("kind", "corpus", "tokens", "steps", "seconds", "forward_tokens", "sha256")
        facts = {name: value for name, value in self.facts.items() if isinstance(value, int | float)}
        return {"folder": self.folder.name} | {key: self.manifest[key] for key in kept} | {"facts": facts}

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return (self.folder / TENSORS).stat().st_size

    @property
    def tensors(self) -> SavedTensors:
        """By the base's own parameter names; those of a mean gradient are read through `Matrices`."""
        return self._tensors("statistic/")

    @property
    def end(self) -> SavedTensors:
        """The trained parameters at the end of a path integral, by their names in the run that recorded it."""
        return self._tensors("end/")

    def _tensors(self, prefix: str) -> SavedTensors:
        try:
            return SavedTensors.of([self.folder / TENSORS]).under(prefix)
        except (OSError, SafetensorError) as error:
            raise DamagedError(f"The statistics store '{self.folder}' is incomplete ({reason(error)}).") from None

    def verify(self) -> None:
        """Compares the tensors with their digest.

        Raises:
            DamagedError: they are missing, cut short or changed.
        """
        try:
            intact = sha256_of([self.folder / TENSORS]) == self.manifest["sha256"]
        except OSError as error:
            raise DamagedError(f"The statistics store '{self.folder}' is incomplete ({reason(error)}).") from None
        if not intact:
            raise DamagedError(
                f"The statistics store '{self.folder}' is damaged: {TENSORS} differs from its digest in {MANIFEST}."
            )

    def check(self, base: str, dense: Shapes, adapters: Shapes, lora_scaling: Mapping[str, float]) -> None:
        """Refuses a run that the statistic was not taken for.

        Args:
            base: digest of the run's base.
            dense: shapes of the matrices that the run changes, by the base's own names.
            adapters: shapes of LoRA's factors by their names; empty under full tuning.
            lora_scaling: s of every adapted module.

        Raises:
            ConfigError: another base, other matrices; of a path integral also another adapter.
        """
        where, again = f"method.store: '{self.folder}'", f"`acclimate stats {self.kind}` with this configuration"
        if (taken := self.manifest["base"]["digest"]) != base:
            raise ConfigError(
                f"{where} was taken on another base ({self.manifest['base']['path']}, {_short(taken)}) than this run's "
                f"({_short(base)}); give model.path that base, or take it again: {again}."
            )
        known: dict[str, tuple[int, ...]] = {name: tuple(shape) for name, shape in self.manifest["shapes"].items()}
        if absent := [name for name, shape in dense.items() if known.get(name) != shape]:
            under = "the matrices of an adapter" if self.manifest["lora"] else "full tuning"
            raise ConfigError(
                f"{where} was taken for {under} and lacks {len(absent)} of the {len(dense)} weights that this run "
                f"changes, '{absent[0]}' first; take it again: {again}."
            )
        ends = {name: tuple(shape) for name, shape in self.manifest["end"].items()}
        if not ends:
            return
        if bool(self.manifest["lora"]) != bool(lora_scaling):
            mine, other = ("LoRA", "full tuning") if lora_scaling else ("full tuning", "LoRA")
            raise ConfigError(
                f"{where} holds the end of a path under {other}, from which this run under {mine} cannot start; record "
                f"it again: {again}."
            )
        if lora_scaling and (ends != adapters or dict(self.manifest["lora_scaling"]) != dict(lora_scaling)):
            raise ConfigError(
                f"{where} holds the end of a path of another adapter ({_lora(self.manifest['lora'])}), from which this "
                f"run's cannot start; give lora: the same, or record it again: {again}."
            )


def open_store(path: str, kind: str) -> Store:
    """Opens a store for a method that reads statistics of ``kind``.

    Raises:
        ConfigError: there is none, or it is of another kind.
        DamagedError: its manifest is.
    """
    folder, where = Path(os.path.expanduser(path)), f"method.store: '{path}'"
    make = f"`acclimate stats {kind} CONFIG --output FOLDER` makes one"
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        what = f"is no statistics store: it has no {MANIFEST}" if os.path.exists(folder) else "does not exist"
        raise ConfigError(f"{where} {what}; {make}.") from None
    except (OSError, ValueError) as error:
        raise DamagedError(f"{where} is damaged: its {MANIFEST} cannot be read ({reason(error)}).") from None
    if not isinstance(manifest, dict) or manifest.get("version") != VERSION or "kind" not in manifest:
        raise DamagedError(f"{where} is damaged: its {MANIFEST} is not of version {VERSION} of a statistics store.")
    if manifest["kind"] != kind:
        raise ConfigError(f"{where} holds a {manifest['kind']}, but this method reads a {kind}; {make}.")
    return Store(folder.resolve(), manifest)


def write_store(
    folder: Path, statistic: Mapping[str, Tensor], end: Mapping[str, Tensor], shapes: Shapes, manifest: dict[str, Any]
) -> Store:
    """Writes a store, all or nothing.

    Args:
        folder: does not exist, or is empty.
        statistic: by the base's own names.
        end: trained parameters at the end of a path integral; empty for other kinds.
        shapes: of the weights that ``statistic`` covers.
        manifest: what the caller knows; kind, base and the rest.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    tensors = {f"statistic/{name}": t for name, t in statistic.items()} | {f"end/{name}": t for name, t in end.items()}
    document = manifest | {
        "version": VERSION,
        "shapes": {name: list(shape) for name, shape in shapes.items()},
        "end": {name: list(tensor.shape) for name, tensor in end.items()},
    }
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, partial / TENSORS)
        document["sha256"] = sha256_of([partial / TENSORS])
        (partial / MANIFEST).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for path in (*partial.iterdir(), partial):
            sync(path)
        os.replace(partial, folder)  # an empty folder may stand there, nothing else
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise unwritable(folder, error) from error
    return Store(folder.resolve(), document)


def _short(digest: str) -> str:
    return digest[:19]


def _lora(section: Mapping[str, Any]) -> str:
    return f"rank {section['rank']}, alpha {section['alpha']:g}, target_modules {section['target_modules']}"
