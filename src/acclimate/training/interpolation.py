"""Weights between the base's and the tuned ones, and the choice of the point by held-out text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from acclimate.types.plan import Settled, Tuned


@dataclass(frozen=True)
class Interpolation:
    """``theta = (1 - alpha) theta_start + alpha theta_tuned``; bitwise the start at 0 and the tuned model at 1.

    An adapter starts at ``B = 0``, so B is scaled: ``s (alpha B) A = alpha dW``. Of several alphas, see :func:`choose`.
    """

    alphas: tuple[float, ...]
    max_general_rise: float

    def __call__(self, tuned: Tuned) -> Settled:
        start, end = tuned.start, tuned.end

        def place(alpha: float) -> None:
            tuned.place((name, torch.lerp(start[name], end[name], alpha)) for name in start)  # exact at 0 and at 1

        found: list[dict[str, Any]] = []
        for alpha in self.alphas:
            place(alpha)
            found += [record | {"alpha": alpha} for record in tuned.measure()]
        alpha, within = choose(found, self.max_general_rise) if len(self.alphas) > 1 else (self.alphas[0], True)
        place(alpha)
        among = f" of {', '.join(map(str, self.alphas))}" if len(self.alphas) > 1 else ""
        beyond = "" if within else f"; with each, some general set rises by more than {self.max_general_rise:.1%}"
        return Settled(
            f"Interpolated between {tuned.origin} and the tuned ones: alpha {alpha}{among}{beyond}.",
            {"alpha": alpha, "within": within, "records": found},
        )


def choose(found: Sequence[dict[str, Any]], max_general_rise: float) -> tuple[float, bool]:
    """The alpha of least mean bits per byte on the domain's sets, among those where no other set's bits per byte rise
    above the base's by more than the part ``max_general_rise``; if there is none, the one that rises least [ours].

    Args:
        found: records with ``alpha`` and the base's value, ``base``.

    Returns:
        The alpha, and whether it stays within the bound.
    """
    domain, rise = {}, {}
    for alpha in dict.fromkeys(record["alpha"] for record in found):
        bits = [r for r in found if r["alpha"] == alpha and r["metric"] == "bits_per_byte"]
        domain[alpha] = fmean(r["value"] for r in bits if r["role"] == "domain")
        rise[alpha] = max((r["value"] / r["base"] - 1 for r in bits if r["role"] != "domain"), default=0.0)
    within = [alpha for alpha in rise if rise[alpha] <= max_general_rise]
    return (min(within, key=lambda a: domain[a]), True) if within else (min(rise, key=lambda a: rise[a]), False)
