"""Which matrices of a network an adapter reaches, by kind, and what the experts would take."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acclimate.model.lora.keys import adapted
from acclimate.model.lora.matrices import ALL_LINEAR, Kind, Matrix, matrices


@dataclass(frozen=True)
class Coverage:
    """One kind of matrices: how many have an adapter, of how many, and why the others have none."""

    kind: str
    reached: int
    total: int
    why: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.reached} of {self.total}"


def coverage(network: Any, left_out: Mapping[str, str] | None = None) -> list[Coverage]:
    """A row for each kind that the network has.

    Args:
        network: with its adapter.
        left_out: name of each matrix that was asked for and has none, and why.
    """
    every, found = matrices(network), adapted(network)
    return [_row(kind, own, found, left_out or {}) for kind in Kind if (own := [m for m in every if m.kind is kind])]


def _row(kind: Kind, own: Sequence[Matrix], found: Collection[str], left_out: Mapping[str, str]) -> Coverage:
    missed = [matrix for matrix in own if matrix.name not in found]
    reasons: dict[str, list[str]] = {}  # why -> last names
    for matrix in missed:
        why = SAID.get(kind) or left_out.get(matrix.name) or matrix.idle or "not named in lora.target_modules"
        if kind is Kind.EXPERTS:
            why = left_out.get(matrix.name) or matrix.idle or ON_REQUEST
        reasons.setdefault(why, []).append(matrix.layer)
    said = [
        why if kind in SAID or why == ON_REQUEST else f"{', '.join(sorted(set(names)))}: {why}"
        for why, names in reasons.items()
    ]
    return Coverage(kind.value, len(own) - len(missed), len(own), "; ".join(said))


ON_REQUEST = "on request: lora.experts: true"
SAID = {
    Kind.ROUTER: "by name only",
    Kind.INDEXER: "it chooses tokens, and no gradient comes through a choice",
    Kind.EMBEDDINGS: "frozen",
    Kind.HEAD: "frozen",
    Kind.TOWER: "frozen",
}
"""Of kinds that all-linear does not reach."""


def expert_factors(network: Any, rank: int) -> int:
    """Parameters of an adapter on every stack of experts."""
    return sum(m.factors(rank) for m in matrices(network) if m.kind is Kind.EXPERTS and m.idle is None)


def expert_weights(network: Any, asked: bool) -> list[int]:
    """Numbers in each stack of experts that has an adapter, or could have one.

    Args:
        asked: those without one, too.
    """
    found = adapted(network)
    stacks = (m for m in matrices(network) if m.kind is Kind.EXPERTS and len(m.shape) == 3)
    return [m.shape[0] * m.shape[1] * m.shape[2] for m in stacks if asked or m.name in found]


def partial(rows: Sequence[Coverage]) -> str | None:
    """A sentence where an adapter leaves out layers that all-linear is for, else None."""
    dense = [row for kind in ALL_LINEAR for row in rows if row.kind == kind.value]
    experts = [row for row in rows if row.kind == Kind.EXPERTS.value]
    if all(row.reached == row.total for row in dense):
        return None
    said = "; ".join(f"{row} ({row.why})" for row in (*dense, *experts) if row.why)
    return f"LoRA reaches {', '.join(map(str, (*dense, *experts)))}. Left out: {said}."
