"""The processes that train one model together: a single one, or those that torchrun or ``--nproc`` started."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from acclimate.parallel.launch import launched_processes, launched_rank
from acclimate.types.errors import AcclimateError, ModelError, PeerError, UsageError, listed

T = TypeVar("T")
BUCKET_BYTES = 2**26
"""Gradients that travel in one collective."""
PATIENCE = timedelta(days=1)
"""How long ranks wait for one that reads or tokenises a corpus. A rank that dies is noticed at once."""
LAUNCHER = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class World:
    """This process (``rank``) among ``size`` of them; ``local_rank`` counts those on this machine.

    Every method is a collective: all ranks call it, in the same order. In a world of one each is a no-op.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    control: Any = None
    """Group for short messages on the CPU, which outlives a long wait."""

    @property
    def is_main(self) -> bool:
        """Whether this rank prints and writes."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over ranks, in place, of a small tensor on the CPU."""
        if self.size > 1:
            dist.all_reduce(tensor, group=self.control)
        return tensor

    def largest(self, value: int) -> int:
        """The largest of the ranks' values."""
        found = torch.tensor(value)
        if self.size > 1:
            dist.all_reduce(found, dist.ReduceOp.MAX, group=self.control)
        return int(found)

    def sum_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Sum over ranks, in place, a bucket at a time."""
        if self.size == 1:
            return
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            dist.all_reduce(flat)
            parts = torch.split(flat, [gradient.numel() for gradient in bucket])
            torch._foreach_copy_(list(bucket), [part.view_as(g) for part, g in zip(parts, bucket, strict=True)])

    def gather(self, value: T) -> list[T]:
        """The value of every rank, on every rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self.control)
        return found

    def agree(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        return self.gather(value)[0]

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """If the body fails on one rank it fails on all: the first one raises its error, the others PeerError.

        The body holds no collective that a failing rank would leave the others waiting in.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as raised:
            error = raised
        failed = torch.zeros(self.size, dtype=torch.int64)
        if error is not None:  # one that another's brought about in the body tells nothing
            failed[self.rank] = 1 if isinstance(error, PeerError) else 2
        if not self.sum(failed).any():
            return
        first = int(failed.argmax())
        if self.rank == first:
            assert error is not None
            raise error
        raise PeerError(f"Rank {first} stopped with an error.")

    @contextmanager
    def all_alike(self) -> Iterator[None]:
        """As :meth:`all_or_none`, of a body with collectives, which fails on all ranks alike: with our own errors.

        Any other is raised where it is, as one of a step is: ranks in the middle of a collective cannot be told.
        """
        error: AcclimateError | None = None
        try:
            yield
        except AcclimateError as raised:
            error = raised
        with self.all_or_none():
            if error is not None:
                raise error

    def main_first(self, work: Callable[[], T]) -> T:
        """The result of ``work``, done by rank 0 before the others, who then find what it left in caches."""
        result: list[T] = []
        for turn in (True, False):
            with self.all_or_none():
                if self.is_main == turn:
                    result.append(work())
        return result[0]


SOLO = World()
"""One process."""


def join(device: str) -> World:
    """Joins the processes that the launcher's environment describes (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and
    MASTER_PORT, as torchrun sets them); without it, the world is this process.

    Raises:
        UsageError: the environment speaks of several processes and does not say which this is.
        ModelError: there are more processes on this machine than GPUs.
    """
    size = launched_processes()
    if size == 1:
        return SOLO
    if absent := [name for name in LAUNCHER if not os.environ.get(name)]:
        raise UsageError(
            f"WORLD_SIZE is {size} in the environment, so this is one of {size} processes, but {listed(absent)} is not "
            "set as torchrun sets it; unset WORLD_SIZE for one process, or start with torchrun or --nproc."
        )
    rank, local_rank = launched_rank(), int(os.environ["LOCAL_RANK"])
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu and local_rank >= torch.cuda.device_count():
        raise ModelError(
            f"Process {local_rank} of this machine has no GPU of its own: there are {torch.cuda.device_count()}; "
            "start as many processes as there are GPUs, or set model.device: cpu."
        )
    if on_gpu:
        torch.cuda.set_device(local_rank)
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    return World(rank, size, local_rank, dist.new_group(backend="gloo", timeout=PATIENCE))


def in_turns(world: World, items: Sequence[T]) -> Iterator[T | None]:
    """This rank's own items, and None where others have more: all ranks take equally many turns."""
    turns = max(world.gather(len(items)))
    for turn in range(turns):
        yield items[turn] if turn < len(items) else None


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Runs of one dtype of at most BUCKET_BYTES, or a single larger gradient."""
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        bytes_here = gradient.numel() * gradient.element_size()
        if bucket and (size + bytes_here > BUCKET_BYTES or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += bytes_here
    if bucket:
        yield bucket
