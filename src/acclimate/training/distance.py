"""How far training moved the weights, as one number: the global L2 norm of W - W0, beside that of W0."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from acclimate.gradient.factors import by_expert, factors, is_factor
from acclimate.kernels.quantised import dense
from acclimate.parallel.shard import local, sum_of_parts
from acclimate.training.tuned import NEW_ROWS, TunedRun


@torch.no_grad()
def moved(tuned: TunedRun) -> dict[str, float] | None:
    """``||W - W0||``, ``||W0||`` over all weights of the network, and their ratio; None where training began elsewhere.

        relative = sqrt(sum (W - W0)²) / sqrt(sum W0²)

    W is what the run ends with, before it is rounded for storing, and W0 the base. Of an adapter ``W - W0 = s B A``. A
    frozen weight counts in ``||W0||`` alone, a 4-bit one as what it stands for. A collective under FSDP.

    Returns:
        ``norm``, ``of`` and ``relative``; None where the start is another model than the base, whose weights would have
        to be loaded for it.
    """
    if tuned.pair.open_start is not None:
        return None
    model, masters = tuned.training.model, tuned.training.weights.masters
    parts = [
        _square_sum(local(master).detach() - tuned.start_of(name, master), master)
        for name, master in masters.items()
        if not is_factor(name)
    ]
    experts = model.lora_experts
    for pair in factors(model.lora_scaling):
        a, b = pair.of(masters)  # [r, in], [out, r]
        if (many := experts.get(pair.module)) is not None:
            a, b = by_expert(a, b, many)
        # ||B A||² without B A: a trace of two r x r matrices
        parts.append(pair.scaling**2 * ((b.mT @ b).double() * (a @ a.mT).double()).sum().cpu())
    base = {name: p for name, p in tuned.began.items() if not (is_factor(name) or name.endswith(NEW_ROWS))}
    of = [_square_sum(local(dense(weight)).detach(), weight) for weight in base.values()]
    norm, whole = (_root(squares) for squares in (parts, of))
    return {"norm": norm, "of": whole, "relative": norm / whole}


def _square_sum(part: Tensor, like: Tensor) -> Tensor:
    """[] float64, over all ranks that hold a part."""
    # float32 sums by blocks, so millions of small squares are not lost beside the sum
    return sum_of_parts(torch.linalg.vector_norm(part, dtype=torch.float32).double().square().cpu(), like)


def _root(squares: Iterable[Tensor]) -> float:
    return math.sqrt(sum(float(square) for square in squares))
