"""How fast a model learns and how long: by its size, and by how much text there is."""

from __future__ import annotations

STEPS = 50
"""Optimizer steps of a run, about: enough for a schedule."""
PASSES = ((500_000, 3), (5_000_000, 2))
"""Trained tokens below which so many passes are made."""
KNOWN = {True: (1e-3, 0.41), False: (2e-4, 0.58)}
"""With LoRA, or without: learning rate at 0.135B weights, and the power of the size with which it falls."""
SIZE, SMALLEST = 1.35e8, 5e7


def usual_rate(weights: int, lora: bool) -> float:
    """The learning rate that is tried first for a model of this size, rounded to a digit.

    ``2e-4 (N / 0.135B)^-0.58`` of all weights, ``1e-3 (N / 0.135B)^-0.41`` of an adapter: what the comparison chose at
    0.135B, and the customary 2e-5 and 2e-4 at 7B [ours]. Below 0.05B it rises no further.

    >>> usual_rate(135_000_000, lora=False), usual_rate(135_000_000, lora=True)
    (0.0002, 0.001)
    >>> usual_rate(7_000_000_000, lora=False), usual_rate(7_000_000_000, lora=True)
    (2e-05, 0.0002)
    """
    known, power = KNOWN[lora]
    rate = known * (max(weights, SMALLEST) / SIZE) ** -power
    return float(f"{rate:.0e}")
