"""The steps of a loop of one's own: packed rows of a mixture, dealt as a run deals them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acclimate.build.mixture import Mixture
from acclimate.build.training import rows_of
from acclimate.config.load import RunConfig
from acclimate.data.corpora import Corpora
from acclimate.data.deal.loader import Loader
from acclimate.data.deal.mix import Mixer
from acclimate.data.deal.pack import HeldoutBatches, Row, build_batch, heldout_batches
from acclimate.data.deal.shares import Shares
from acclimate.types.central import Batch, Route


@dataclass(frozen=True)
class TrainingRows(Sequence[dict[str, Tensor]]):
    """Packed rows, each made when it is asked for."""

    rows: Sequence[Row]
    routes: tuple[Route, ...] = ()
    """The table that ``route`` points into."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Tensor]:  # type: ignore[override]
        batch = build_batch([self.rows[i]])
        return {name: value[0] for name, value in vars(batch).items() if isinstance(value, Tensor)}


@dataclass(frozen=True)
class HeldoutRows(HeldoutBatches):
    """Documents of one source that are never trained on, packed in their order."""

    role: str = "general"
    groups: Mapping[int, str] = field(default_factory=dict)
    """Document id -> what names its group."""


class Packed:
    """Optimizer steps, each a list of micro-batches; every ``for`` begins anew, or where a state was loaded.

    Args:
        config, corpora, mixture: what a run would be built of.
        moving: shares that move.
        pad_id: input at padding.
        device: where the batches go.
    """

    def __init__(
        self,
        config: RunConfig,
        corpora: Corpora,
        mixture: Mixture,
        moving: Shares | None,
        pad_id: int,
        device: torch.device,
    ) -> None:
        self.config, self.corpora, self.device = config, corpora, device
        self._mixture, self._moving, self._pad_id = mixture, moving, pad_id
        self._loader: Loader | None = None
        self._state: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        """Optimizer steps."""
        return self._mixture.total_steps

    def __iter__(self) -> Iterator[list[Batch]]:
        self._loader = loader = self._fresh()
        if self._state is not None:
            loader.load_state_dict(self._state)
            self._state = None
        try:
            while loader.step < len(self):
                yield [replace(batch, routes=self.routes).to(self.device) for batch in loader.next_step()]
        finally:
            loader.close()

    @property
    def routes(self) -> tuple[Route, ...]:
        """The table that ``Batch.route`` points into."""
        return self.corpora.routes

    @property
    def train(self) -> Sequence[dict[str, Tensor]]:
        """All rows in their order, as a trainer's data set: ``input_ids``, ``labels`` (shifted already),
        ``position_ids``, ``document`` and ``route``, [T] each.

        The routes are numbers of ``routes``: ``Objective(..., routes=packed.routes)``. A trainer that draws rows
        keeps their shares on the whole, and not in every step.
        """
        loader = self._fresh()
        rows: list[Row] = []
        try:
            while loader.step < len(self):
                rows += loader.next_rows()
        finally:
            loader.close()
        return TrainingRows(rows, self.routes)

    @property
    def heldout(self) -> dict[str, HeldoutRows]:
        """By source, documents that are never trained on: what ``acclimate.measure`` takes."""
        return {
            name: HeldoutRows(
                **vars(
                    heldout_batches(
                        corpus.heldout,
                        corpus.first_heldout_id,
                        self.routes,
                        self.config.data.sequence_length,
                        self.config.training.micro_batch_size,
                        pad_id=self._pad_id,
                    )
                ),
                role=corpus.role,
                groups=dict(enumerate(corpus.groups, corpus.first_heldout_id)),
            )
            for name, corpus in self.corpora.sources.items()
            if len(corpus.heldout)
        }

    def state_dict(self) -> dict[str, Any]:
        """The place of the next step, as JSON has it."""
        return (self._loader or self._fresh()).state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next ``for`` goes on where ``state`` was taken.

        Raises:
            RunError: when it begins, of other sources or documents.
        """
        self._state = state

    def progress(self) -> dict[str, float]:
        """``trained_tokens/<source>`` and ``epochs/<source>`` so far."""
        return (self._loader or self._fresh()).progress()

    def _fresh(self) -> Loader:
        shares = self._mixture.schedule if self._moving is None else self._moving
        active = np.ones(len(self.routes), dtype=bool)
        names = list(dict.fromkeys(route.name for route in self.routes))
        sources = {
            name: rows_of(self.config, self.corpora.sources[name], active, self._mixture.row_lengths[name])
            for name in self._mixture.shares
        }
        # Rows of one micro-batch have the same routes, so that a reference runs on as few as it can.
        apart = np.array([1 << names.index(route.name) for route in self.routes], dtype=np.int64)
        return Loader(
            Mixer(sources, shares),
            "all",
            self.config.budget.batch_tokens,
            self.config.training.micro_batch_size,
            apart,
            self._pad_id,
            last_step=self._mixture.total_steps,
            goal=self._mixture.goal,
        )

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self._mixture.shares.items())
        return f"Packed({len(self)} steps of {self.config.budget.batch_tokens} tokens: {shares})"
