"""One micro-batch of packed rows, and what the host knows of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Route:
    """One entry of the run's route table: where a token came from and whose terms it gets.

    ``source`` is the name of the corpus in the configuration, ``name`` the route that loss terms
    select (``domain`` and ``general`` are the two every method knows).
    """

    source: str
    name: str


@dataclass(frozen=True, eq=False)
class Bounds:
    """Where the documents of a micro-batch lie in its B * T positions, row after row; padding is one, too."""

    starts: Tensor  # [documents + 1] int32, first position of each, and B * T: the cu_seqlens of flash attention
    longest: int  # positions of the longest

    @classmethod
    def of(cls, position_ids: Tensor) -> Bounds:
        """Reads the documents off position ids [B, T] that restart at each.

        >>> Bounds.of(torch.tensor([[0, 1, 2, 0], [0, 0, 1, 2]])).starts
        tensor([0, 3, 4, 5, 8], dtype=torch.int32)
        """
        first = position_ids == 0
        first[:, 0] = True  # a row never continues the one before it
        starts = first.flatten().nonzero().squeeze(1)
        starts = torch.cat([starts, starts.new_full((1,), first.numel())])
        return cls(starts.int(), int(starts.diff().max()))

    def to(self, device: torch.device | str) -> Bounds:
        return Bounds(moved(self.starts, device), self.longest)


@dataclass(frozen=True, eq=False)
class Assignment:
    """Which labels of a micro-batch each loss term learns, on the host: K terms, R routes, P = B * T positions."""

    by: object
    """The objective that assigned them."""
    units: Tensor  # [K, P] float64, how much a label weighs in the term's count; 0 where the term does not look
    tokens: Tensor  # [K, R] float64, labels by term and route
    groups: tuple[tuple[tuple[int, ...], Tensor], ...]  # terms, and the positions that these and no others learn


@dataclass
class Batch:
    """One micro-batch of packed rows. Labels are already shifted: ``labels[b, t]`` is the token after
    ``input_ids[b, t]``, and ``route[b, t]`` is the route of that *label*."""

    input_ids: Tensor  # [B, T] int64
    labels: Tensor  # [B, T] int64, IGNORE where nothing is learned
    position_ids: Tensor  # [B, T] int64, restarts at 0 at each document
    document: Tensor  # [B, T] int64, id within the run, PAD_DOCUMENT for padding
    route: Tensor  # [B, T] int64, index into the run's route table
    columns: Mapping[str, Tensor] = field(default_factory=dict, kw_only=True)
    """By name, [B, T] or [B, T, ...]: what a term or a measure wants to know of each token."""
    routes: tuple[Route, ...] = field(default=(), kw_only=True)
    """The table that ``route`` points into, of a batch that is used outside of a run; a run has its own."""
    bounds: Bounds | None = field(default=None, init=False, repr=False, compare=False)
    """Where its documents lie, on its device, if that was found ahead."""
    assignment: Assignment | None = field(default=None, init=False, repr=False, compare=False)
    """Which labels are whose, if an objective assigned them ahead; of a batch on the host."""
    _host: Batch | None = field(default=None, init=False, repr=False, compare=False)

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch of every tensor's ``change``, columns included."""
        tensors = {name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        columns = {name: change(column) for name, column in self.columns.items()}
        return Batch(**tensors, columns=columns, routes=self.routes)

    def to(self, device: torch.device | str) -> Batch:
        """On another device; what was found ahead goes along, and :attr:`on_host` stays at hand."""
        found = self.map(lambda tensor: moved(tensor, device))
        if found.input_ids.device == self.input_ids.device:
            found.assignment, found._host = self.assignment, self._host
        elif self.input_ids.device.type == "cpu":
            found._host = self
        found.bounds = None if self.bounds is None else self.bounds.to(device)
        return found

    @property
    def on_host(self) -> Batch:
        """The same in main memory, where what it holds is known without waiting for a device.

        A batch that was made on a device is copied, which waits for it.
        """
        if self.input_ids.device.type == "cpu":
            return self
        if self._host is None:
            self._host = self.map(lambda tensor: tensor.cpu())
        return self._host


def moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    """On the device; on its way to a GPU from pinned memory, so that nobody waits for what runs there."""
    if tensor.device.type != "cpu" or torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
