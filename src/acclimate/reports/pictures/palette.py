"""Colour and mark of each run: the same method looks the same in every picture, table and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from acclimate.reports.collect import Run

# Known methods keep their slot whatever they are compared with.
FIXED = {
    "sft": 1, "replay": 2, "mol": 3, "wise": 4, "l2": 5, "dae": 6, "ewc": 7, "asft": 8,
    "dft": 4, "talr": 5, "stm": 6, "hlr": 7, "dba": 8,
}  # fmt: skip
SLOTS = 8
MARKERS = "osDv^P<>"
DASHES = ("solid", (0, (5, 1.6)), "solid", (0, (1.4, 1.4)), (0, (6, 1.5, 1.4, 1.5)), (0, (3, 1.2)), "solid", "solid")


@dataclass(frozen=True)
class Slot:
    """Position in the palette, 1 to 8; 0 is the base. The CSS variable is ``--run-<index>``."""

    index: int

    @property
    def marker(self) -> str:
        return MARKERS[self.index - 1] if self.index else "o"

    @property
    def dash(self) -> str | tuple[int, tuple[float, ...]]:
        return DASHES[self.index - 1] if self.index else "solid"


BASE = Slot(0)


def slots(runs: Sequence[Run]) -> dict[str, Slot]:
    """Run label -> slot."""
    return slots_of({run.label: run.method for run in runs})


def slots_of(methods: Mapping[str, str]) -> dict[str, Slot]:
    """Label -> slot, by its method. Colours and marks (and so curves) differ for up to eight labels, then they repeat.

    >>> {label: slot.index for label, slot in slots_of({"mol-50": "mol", "mol-25": "mol", "sft": "sft"}).items()}
    {'mol-50': 3, 'mol-25': 4, 'sft': 1}
    """
    taken: dict[str, Slot] = {}
    for label, method in methods.items():
        wanted = FIXED.get(method)
        if wanted and Slot(wanted) not in taken.values():
            taken[label] = Slot(wanted)
    free = [index for index in (4, 5, 6, 7, 8, 1, 2, 3) if Slot(index) not in taken.values()]
    for label in methods:
        if label not in taken:
            taken[label] = Slot(free.pop(0) if free else 1 + len(taken) % SLOTS)
    return {label: taken[label] for label in methods}
