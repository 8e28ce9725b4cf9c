"""The processes that train one model together: a single one, or those that torchrun or ``--nproc`` started."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d

from acclimate.parallel.launch import launched_processes, launched_rank
from acclimate.types.errors import AcclimateError, ModelError, PeerError, RunError, UsageError, listed, reason

T = TypeVar("T")
BUCKET_BYTES = 2**26
"""Gradients that travel in one collective."""
PATIENCE = timedelta(days=1)
"""How long ranks wait for one that reads or tokenises a corpus. A process that dies closes its connections, which gloo
notices at once; a machine that is gone, or a process that is stuck, is noticed after this only."""
SAVING = timedelta(hours=1)
"""How long ranks wait for the slowest disk."""
FIRST = 3.0
"""Meeting, and a run's first step, may take so many times what a later step may: torchtitan's ratio, 300 s to 100 s
[from code]."""
LAUNCHER = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class World:
    """This process (``rank``) among ``size`` of them; ``local_rank`` counts those on this machine.

    Every method is a collective, but those about waiting: all ranks call it, in the same order. In a world of one each
    is a no-op.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    control: Any = None
    """Group for short messages on the CPU, which outlives a long wait."""
    behind: Any = None
    """Another one, for what goes on in a background thread, since the messages of one group have an order."""
    minutes: float = 10.0
    """How long the others wait for a rank in a step: ``parallel.timeout_minutes``."""

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
        """The result of ``work``, done by rank 0, then by the first rank of each other machine, then by the rest, who
        find what it left in caches: on a disk that all machines see, or on their own."""
        result: list[T] = []
        mine = 0 if self.is_main else 1 if self.local_rank == 0 else 2
        for turn in range(3):
            with self.all_or_none():
                if turn == mine:
                    result.append(work())
        return result[0]

    def in_background(self) -> World:
        """The same ranks, for the collectives of a thread of each."""
        return replace(self, control=self.behind)

    def hurry(self, times: float = 1.0) -> None:
        """From here on whoever waits for a rank longer than ``times`` of ``minutes`` ends with an error: in a step all
        ranks do alike, so one that is late is gone or stuck."""
        if self.size > 1:
            _wait_at_most(timedelta(minutes=times * self.minutes), *_of_tensors(self), self.control)

    def be_patient(self, wait: timedelta = PATIENCE) -> None:
        """From here on one rank may be long at work that the others wait for by a message."""
        if self.size > 1:
            _wait_at_most(wait, self.control)


SOLO = World()
"""One process."""


def join(device: str, minutes: float = World.minutes) -> World:
    """Joins the processes that the launcher's environment describes (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and
    MASTER_PORT, as torchrun sets them); without it, the world is this process.

    Collectives on tensors, NCCL's among them, wait for minutes from the start: no rank reads a corpus while others are
    in one. Short messages are patient until :meth:`World.hurry`.

    Args:
        minutes: ``parallel.timeout_minutes``; ranks may take three times as long to meet.

    Raises:
        UsageError: the environment speaks of several processes and does not say which this is.
        ModelError: there are more processes on this machine than GPUs.
        RunError: not all of them come.
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
    try:
        if not dist.is_initialized():
            wait = timedelta(minutes=FIRST * minutes)
            dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=wait)
        control, behind = _groups()
    except RuntimeError as error:  # of the store where they meet, or of the connections between them
        raise RunError(
            f"Rank {rank} on {socket.gethostname()} did not meet the others of {size} processes at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} ({reason(error)}). Look whether all were "
            "started, and whether that address and port can be reached from every machine; parallel.timeout_minutes "
            f"({minutes:g}) times {FIRST:g} is how long they wait."
        ) from error
    return World(rank, size, local_rank, control, behind, minutes)


@cache
def _groups() -> tuple[Any, Any]:
    """For messages, and for those of a thread. A process joins once, also where it trains several runs."""
    return dist.new_group(backend="gloo", timeout=PATIENCE), dist.new_group(backend="gloo", timeout=SAVING)


def is_late(error: RuntimeError) -> bool:
    """Whether a collective waited for as long as it may, rather than saw a connection end."""
    return re.search(r"timed? ?out", str(error), re.IGNORECASE) is not None


def lost(error: RuntimeError) -> str | None:
    """A sentence on a collective that failed because another process is gone or stuck; None of any other error.

    Example:
        >>> lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
        True
    """
    if not dist.is_initialized():
        return None
    text = str(error)
    if "gloo" not in text and not isinstance(error, dist.DistBackendError):
        return None
    who = f"Rank {dist.get_rank()} of {dist.get_world_size()}, on {socket.gethostname()},"
    if is_late(error):
        how = "has heard nothing of another rank for as long as parallel.timeout_minutes lets it wait"
    else:
        peer = re.search(r"peer \[(.+?)\]", text)
        how = f"has lost its connection to another rank{f' at {peer[1]}' if peer else ''}"
    return (
        f"{who} {how}; that one died, is stuck, or cannot be reached. A rank that says nothing here is the one to look "
        "for. The same command with --resume continues from the last checkpoint."
    )


def in_turns(world: World, items: Sequence[T]) -> Iterator[T | None]:
    """This rank's own items, and None where others have more: all ranks take equally many turns."""
    turns = max(world.gather(len(items)))
    for turn in range(turns):
        yield items[turn] if turn < len(items) else None


def _of_tensors(world: World) -> list[Any]:
    """The groups in which ranks exchange tensors: that of all, and those of a mesh."""
    return [group for group in distributed_c10d._world.pg_map if group not in (world.control, world.behind)]


def _wait_at_most(wait: timedelta, *groups: Any) -> None:
    for group in groups:  # as torchtitan shortens its timeouts after the first step [from code]
        if group != dist.GroupMember.NON_GROUP_MEMBER:
            distributed_c10d._set_pg_timeout(wait, group)


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
