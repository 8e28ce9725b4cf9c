"""Bytes of the tensors that live at one time, by what they were made for."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages of all tensors that operations make while it is on, and forgets those that are freed.

    A view has its base's storage, so nothing is counted twice. On the
    meta device nothing is computed, and the count is that of any other device, but for what kernels use inside.

    Args:
        kind_of: overrides :attr:`kind` for a tensor, or gives None.

    >>> import torch
    >>> with LiveBytes() as bytes:
    ...     kept = torch.empty(10, 10, device="meta")
    ...     double = (kept + 1) * 2  # two more at one time
    ...     del double
    >>> bytes.total, bytes.peak
    (400, 1200)
    """

    def __init__(self, kind_of: Callable[[Tensor], str | None] = lambda tensor: None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kind = "others"
        """What is made from now on is for."""
        self.live: Counter[str] = Counter()
        self.at_peak: Counter[str] = Counter()
        """As :attr:`live` was when most was."""
        self.total, self.peak = 0, 0
        self._kind_of = kind_of
        self._known: dict[int, tuple[str, int]] = {}
        self._watched: dict[int, weakref.ref[Any]] = {}

    def begin(self, kind: str) -> None:
        """Another part of the work, whose peak is its own."""
        self.kind, self.peak, self.at_peak = kind, self.total, Counter(self.live)

    def leave_out(self, tensors: Iterable[Tensor]) -> None:
        """Of these, and of their views, nothing is counted; they have to stay."""
        for tensor in tensors:
            self._known[tensor.untyped_storage()._cdata] = (self.kind, 0)

    def rename(self, tensor: Tensor, kind: str) -> None:
        """What the tensor's bytes are for, from now on."""
        key = tensor.untyped_storage()._cdata
        if key in self._known:
            before, size = self._known[key]
            self.live[before] -= size
            self.live[kind] += size
            self._known[key] = (kind, size)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in (made,) if isinstance(made, Tensor) else tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._see(tensor)
        if self.total > self.peak:
            self.peak, self.at_peak = self.total, Counter(self.live)
        return made

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, told = storage._cdata, self._kind_of(tensor)
        if key in self._known:
            if told is not None and self._known[key][0] != told:  # seen before in another shape
                self.rename(tensor, told)
            return
        kind, size = told or self.kind, storage.nbytes()
        self._known[key] = (kind, size)
        self.live[kind] += size
        self.total += size
        self._watched[key] = weakref.ref(storage, lambda _: self._gone(key))

    def _gone(self, key: int) -> None:
        del self._watched[key]
        kind, size = self._known.pop(key)
        self.live[kind] -= size
        self.total -= size
