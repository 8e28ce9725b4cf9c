"""Tensors by name in safetensors files, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor


class SavedTensors(Mapping[str, Tensor]):
    """Tensors in safetensors files, read one at a time; parts of one tensor are joined along dimension 0."""

    def __init__(self, places: Mapping[str, Sequence[Path]], prefix: str = "") -> None:
        self.places, self.prefix = places, prefix

    @classmethod
    def of(cls, paths: Iterable[Path]) -> SavedTensors:
        """All tensors of the files; the parts of one in the files' order."""
        places: dict[str, list[Path]] = {}
        for path in paths:
            with safe_open(path, "pt") as file:
                for key in file.keys():  # noqa: SIM118  safe_open is no mapping
                    places.setdefault(key, []).append(path)
        return cls(places)

    def under(self, prefix: str) -> SavedTensors:
        """Those whose key begins with ``prefix``, which is left off."""
        kept = {key: files for key, files in self.places.items() if key.startswith(self.prefix + prefix)}
        return SavedTensors(kept, self.prefix + prefix)

    def __getitem__(self, key: str) -> Tensor:
        parts = []
        for path in self.places[self.prefix + key]:
            with safe_open(path, "pt") as file:
                parts.append(file.get_tensor(self.prefix + key))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def __iter__(self) -> Iterator[str]:
        return (key.removeprefix(self.prefix) for key in self.places)

    def __len__(self) -> int:
        return len(self.places)
