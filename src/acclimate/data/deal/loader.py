"""The stream of rows becomes the micro-batches of one optimizer step for this rank."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from acclimate.config.schema import BudgetSection
from acclimate.data.deal.live import Live
from acclimate.data.deal.mix import Mixer
from acclimate.data.deal.pack import Row, build_batch
from acclimate.types.central import IGNORE, PAD_DOCUMENT, Batch
from acclimate.types.errors import ConfigError


def total_steps(budget: BudgetSection, counted_tokens_per_epoch: int, longest: int = 1) -> int:
    """Optimizer steps that spend the budget.

    Of ``tokens`` the last one is a whole step. ``epochs`` are divided evenly into steps of at most ``batch_tokens``, or
    of a little more where a step would be smaller than a row of ``longest`` trained tokens, and so might be empty.
    """
    if budget.steps is not None:
        return budget.steps
    if budget.tokens is not None:
        return math.ceil(budget.tokens / budget.batch_tokens)
    goal = epochs_goal(budget, counted_tokens_per_epoch)
    assert goal is not None  # BudgetSection holds exactly one of the three
    return max(1, min(math.ceil(goal / budget.batch_tokens), goal // longest))


def epochs_goal(budget: BudgetSection, counted_tokens_per_epoch: int) -> int | None:
    """Counted trained tokens with which a budget in epochs ends; None of another budget."""
    return None if budget.epochs is None else math.ceil(budget.epochs * counted_tokens_per_epoch - 1e-9)


class Loader:
    """Deals out optimizer steps.

    A step draws rows until the counted trained tokens reach ``step * batch_tokens`` *since the start*, so
    over the whole run the budget is met within one row. With a ``goal`` a step is its ``last_step``-th part, and the
    last one then draws each other source to its share: after whole passes every counted row was drawn that often.

    A micro-batch holds only rows that are compared with the same references. Student and reference
    must run on identical shapes: bf16 matrix products are not row-invariant (the same row in a batch of
    another shape differs by more than 1.0 in hidden units on SmolLM2-135M), and the KL must be exactly 0
    at step 0. The micro-batch is the unit on which a reference runs, whole or not at all.

    Args:
        mixer: the stream.
        count: the source whose trained tokens are counted, or ``all``.
        batch_tokens: counted trained tokens per optimizer step.
        micro_batch_size: most rows in a micro-batch.
        compares: [routes] the references that a route's terms compare with, one bit each.
        pad_id: input at padding.
        last_step, goal: the number of the last step, and the counted tokens with which it ends.
        rank, world_size: every rank draws the same rows and keeps its part; all have equally many micro-batches.
        all_or_none: in which what one rank alone cannot do fails on all; of use with live sources.
        whole_rows: pads rows to the length that they were filled up to, but for live ones. On a GPU few shapes make
            for reused memory, and a step costs little more: packed rows are nearly full.
        ahead: gets every batch when it is made, which is before its step is asked for, to find out what it holds.

    Raises:
        ConfigError: nothing of ``count`` is trained, or no more after some tokens, or a row may hold more than a step.
    """

    def __init__(
        self,
        mixer: Mixer,
        count: str,
        batch_tokens: int,
        micro_batch_size: int,
        compares: NDArray[np.int64],
        pad_id: int = 0,
        rank: int = 0,
        world_size: int = 1,
        last_step: int = 0,
        goal: int | None = None,
        all_or_none: Callable[[], AbstractContextManager[None]] = nullcontext,
        whole_rows: bool = False,
        ahead: Callable[[Batch], None] | None = None,
    ) -> None:
        sources = mixer.sources | mixer.live.sources
        if count != "all" and count not in sources:
            raise ConfigError(
                f"budget.count is '{count}', but the method learns nothing from it; "
                f"accepted: {', '.join(sources)} or all."
            )
        longest = max(source.sequence_length for source in sources.values())
        if batch_tokens < longest:
            raise ConfigError(
                f"budget.batch_tokens is {batch_tokens}, but one packed row may hold {longest} trained tokens; "
                f"set it to at least data.sequence_length ({longest}), or shorten the rows."
            )
        end = goal or max(last_step, 1) * batch_tokens
        if count != "all" and math.isinf(mixer.shares.reached(end, count)):
            raise ConfigError(
                f"budget.count is '{count}', but its share falls to 0 before {end} of its tokens are trained on; count "
                "another source, or let its share end above 0."
            )
        self.mixer, self.count, self.batch_tokens = mixer, count, batch_tokens
        self.micro_batch_size, self.compares, self.pad_id = micro_batch_size, compares, pad_id
        self.rank, self.world_size = rank, world_size
        self.last_step, self.goal, self.all_or_none = last_step, goal, all_or_none
        self.whole_rows, self.ahead = whole_rows, ahead
        self.step = 0

    @property
    def counted(self) -> int:
        """Trained tokens by which a step ends, so far: those that count, or where live ones do, all others."""
        trained = self.mixer.trained
        return trained[self.count] if self.count in trained else sum(trained.values())

    def progress(self) -> dict[str, float]:
        """``trained_tokens/<source>`` and ``epochs/<source>`` so far; where shares move ``asked_tokens/<source>``, what
        belongs to each of the tokens of all."""
        tokens = {f"trained_tokens/{name}": float(count) for name, count in self.mixer.trained.items()}
        if (shares := self.mixer.shares).moving:
            total = self.mixer.total
            tokens |= {f"asked_tokens/{name}": shares.quota(total, name) for name in shares(total)}
        return tokens | {f"epochs/{name}": epochs for name, epochs in self.mixer.epochs.items()} | self.live.progress()

    @property
    def live(self) -> Live:
        return self.mixer.live

    def next_step(self) -> list[Batch]:
        """This rank's micro-batches of the next optimizer step."""
        return self.prepared() + self.made_now(sum(self.mixer.trained.values()))

    def prepared(self) -> list[Batch]:
        """Those of the next step that can be made before it is asked for."""
        return self._batches(self.next_rows(), self.whole_rows)

    def next_rows(self) -> list[Row]:
        """The rows of the next step, of all ranks, without those of live sources."""
        self.step += 1
        self.mixer.shares.begin(self.step, self.mixer.total)
        rows: list[Row] = []
        until: float = self.step * self.batch_tokens
        if self.goal is not None:
            until = self.goal * min(self.step, self.last_step) / self.last_step
        if self.live and self.count not in self.mixer.trained:
            until = self.live.others_until(until, self.count)
        while self.counted < until:
            rows.append(self.mixer.next_row()[1])
        if self.goal is not None and self.step >= self.last_step and self.count in self.mixer.trained:
            rows += self.mixer.rows_beside(self.count)
        return rows

    def made_now(self, given: int) -> list[Batch]:
        """Those of live sources, beside a step with which the others have given so many tokens."""
        return self._batches(self.live.rows(given), whole=False)

    def _batches(self, rows: Sequence[Row], whole: bool) -> list[Batch]:
        batches: list[Batch] = []
        references = [int(np.bitwise_or.reduce(self.compares[list(row.routes)])) for row in rows]
        for wanted in sorted(set(references)):
            group = [row for row, has in zip(rows, references, strict=True) if has == wanted]
            batches += self._micro_batches(group, whole)
        if self.ahead is not None:
            for batch in batches:
                self.ahead(batch)
        return batches

    def _micro_batches(self, group: Sequence[Row], whole: bool) -> list[Batch]:
        # Rows of like length share a micro-batch and ranks get like amounts; the sum over a step has no order.
        ordered = sorted(group, key=lambda row: -row.length)
        mine = ordered[self.rank :: self.world_size]
        count = math.ceil(math.ceil(len(ordered) / self.world_size) / self.micro_batch_size)
        chunks = [mine[i * self.micro_batch_size : (i + 1) * self.micro_batch_size] for i in range(count)]
        return [build_batch(chunk, self.pad_id, whole) if chunk else self._dummy() for chunk in chunks]

    def _dummy(self) -> Batch:
        """A batch without labels, so that this rank takes part in the other ranks' collectives."""
        ids = torch.full((1, 2), self.pad_id, dtype=torch.int64)
        return Batch(
            input_ids=ids,
            labels=torch.full_like(ids, IGNORE),
            position_ids=torch.arange(2).expand_as(ids).clone(),
            document=torch.full_like(ids, PAD_DOCUMENT),
            route=torch.zeros_like(ids),
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "mixer": self.mixer.state_dict(),
            "shares": self.mixer.shares.state_dict(),
        } | self.now

    @property
    def now(self) -> dict[str, Any]:
        """The part of the state that does not run ahead."""
        return {"pushed": self.mixer.shares.pushed, "live": self.live.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step = state["step"]
        self.mixer.load_state_dict(state["mixer"])
        self.mixer.shares.load_state_dict(state.get("shares", {}), state.get("pushed", {}))  # 0.1.0 had neither
        self.live.load_state_dict(state.get("live", {}))

    def close(self) -> None:
        """Ends what runs in the background."""
        self.mixer.close()
