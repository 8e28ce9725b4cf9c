"""Tensors by name in safetensors files, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor


class SavedTensors(Mapping[str, Tensor]):
    """Tensors in safetensors files, read one at a time; parts of one tensor are joined along dimension 0.

    Each file is opened once and mapped, so that what is not asked for is not read.
    """

    def __init__(self, places: Mapping[str, Sequence[Any]], prefix: str = "") -> None:
        self.places, self.prefix = places, prefix

    @classmethod
    def of(cls, paths: Iterable[Path]) -> SavedTensors:
        """All tensors of the files; the parts of one in the files' order."""
        places: dict[str, list[Any]] = {}
        for path in paths:
            file: Any = safe_open(path, "pt")
            for key in file.keys():  # noqa: SIM118  safe_open is no mapping
                places.setdefault(key, []).append(file)
        return cls(places)

    def under(self, prefix: str) -> SavedTensors:
        """Those whose key begins with ``prefix``, which is left off."""
        kept = {key: files for key, files in self.places.items() if key.startswith(self.prefix + prefix)}
        return SavedTensors(kept, self.prefix + prefix)

    def shape(self, key: str) -> torch.Size:
        """Of the whole tensor; nothing of it is read."""
        first, *others = [part.get_shape() for part in self._parts(key)]
        return torch.Size([first[0] + sum(shape[0] for shape in others), *first[1:]] if others else first)

    def rows(self, key: str, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop`` of dimension 0 of the whole tensor, of the files that hold them."""
        parts, found, before = self._parts(key), [], 0
        for part in parts:
            length = part.get_shape()[0]
            first, last = max(start - before, 0), min(stop - before, length)
            if first < last:
                found.append(part[first:last])
            before += length
        return torch.cat(found) if len(found) > 1 else found[0] if found else parts[0][0:0]

    def __getitem__(self, key: str) -> Tensor:
        parts = [file.get_tensor(self.prefix + key) for file in self.places[self.prefix + key]]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _parts(self, key: str) -> list[Any]:
        return [file.get_slice(self.prefix + key) for file in self.places[self.prefix + key]]

    def __iter__(self) -> Iterator[str]:
        return (key.removeprefix(self.prefix) for key in self.places)

    def __len__(self) -> int:
        return len(self.places)
