"""A micro-batch's packed documents, each in a row of its own.

Some networks cannot tell packed documents apart: recurrent layers carry a state on, convolutions look across the
boundary, learned positions are counted from the beginning of a row. The data stays packed for them, too: documents of
like length are put together in batches before the decoder, and their hidden states go back to where the tokens came
from. Padding sits behind a document, where no causal layer looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from acclimate.kernels.attention import Packing
from acclimate.types.batch import moved

DUMMY = (1, 2)
"""One row of two tokens, which are none of the micro-batch's: its hidden states are used nowhere, with gradient 0."""


@dataclass(frozen=True)
class Regrouped:
    """Where each document of a micro-batch goes, on the device of its tokens."""

    packing: Packing

    @classmethod
    def of(cls, position_ids: Tensor, agree: Callable[[int], int], device: torch.device | None = None) -> Regrouped:
        """Reads the documents off position ids [B, T] that restart at each.

        Args:
            agree: the number of forwards that every rank makes, from what this one needs. FSDP gathers weights in
                each, so a rank with fewer adds dummy rows.
            device: of the tokens, where the position ids are not on it.
        """
        packing = Packing.of(position_ids.cpu())  # which waits for a device that they are on
        missing = agree(len(packing.shapes)) - len(packing.shapes)
        slots, real = packing.slots, packing.real
        if missing:
            room = missing * DUMMY[0] * DUMMY[1]
            real = torch.ones(len(slots), dtype=torch.bool) if real is None else real
            real = torch.cat([real, torch.zeros(room, dtype=torch.bool)])
            slots = torch.cat([slots, slots.new_zeros(room)])
        to = position_ids.device if device is None else device
        return cls(
            Packing(
                moved(slots, to),
                None if real is None else moved(real, to),
                moved(packing.places, to),
                packing.shapes + (DUMMY,) * missing,
            )
        )

    @property
    def positions(self) -> int:
        """That are computed, padding and dummies included."""
        return len(self.packing.slots)

    def of_slots(self, kept: Tensor) -> Tensor:
        """[B, T] bool of positions to [S] of slots, in the order of the forwards; padding and dummies are False."""
        found = kept.flatten()[self.packing.slots]
        return found if self.packing.real is None else found & self.packing.real

    def hidden(self, states: Callable[[Tensor], Tensor], input_ids: Tensor) -> Tensor:
        """[B, T] packed rows to hidden states [B, T, D].

        Args:
            states: from rows [n, L] of one document each to hidden states [n, L, D].
        """
        sizes = [documents * length for documents, length in self.packing.shapes]
        rows = torch.split(input_ids.flatten()[self.packing.slots], sizes)
        found = [states(row.view(shape)).flatten(0, 1) for row, shape in zip(rows, self.packing.shapes, strict=True)]
        return self.packing.scatter(torch.cat(found)[:, None]).view(*input_ids.shape, -1)
