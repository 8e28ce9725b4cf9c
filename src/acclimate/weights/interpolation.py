"""Weights between the base's and the tuned ones, and the choice of the point by held-out text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from acclimate.evaluate.measure import measure
from acclimate.evaluate.summary import Record, records
from acclimate.model.reference import Reference
from acclimate.parallel.shard import local, release
from acclimate.provenance import write_json
from acclimate.train.tuned import Tuned
from acclimate.train.weights import Weights


@dataclass(frozen=True)
class Interpolation:
    """``theta = (1 - alpha) theta_start + alpha theta_tuned``; bitwise the start at 0 and the tuned model at 1.

    An adapter starts at ``B = 0``, so B is scaled: ``s (alpha B) A = alpha dW``. The numbers of every alpha on the
    validation documents go to ``interpolation.json`` in the run folder; see :func:`choose`.
    """

    alphas: tuple[float, ...]
    max_general_rise: float

    def __call__(self, tuned: Tuned) -> str:
        weights = tuned.training.weights
        start = start_weights(weights, tuned.pair.start())
        end = {name: local(weights.masters[name]).detach().clone() for name in start}
        found: list[Record] = []
        for alpha in self.alphas if tuned.validation else ():
            place(weights, start, end, alpha)
            found += [record | {"alpha": alpha} for record in _measured(tuned)]
        alpha, within = choose(found, self.max_general_rise) if len(self.alphas) > 1 else (self.alphas[0], True)
        place(weights, start, end, alpha)
        if tuned.training.world.is_main:
            write_json(tuned.run_dir / "interpolation.json", {"alpha": alpha, "within": within, "records": found})
        among = f" of {', '.join(map(str, self.alphas))}" if len(self.alphas) > 1 else ""
        beyond = "" if within else f"; with each, some general set rises by more than {self.max_general_rise:.1%}"
        where = "the base's weights" if tuned.pair.open_start is None else "the weights that training started from"
        return f"Interpolated between {where} and the tuned ones: alpha {alpha}{among}{beyond}."


def start_weights(weights: Weights, start: Reference) -> dict[str, Tensor]:
    """Where the trained parameters were before the first step: this rank's parts, in the masters' dtype.

    A of an adapter is left out: dW is linear in B alone.

    Args:
        start: what training started from.
    """
    release(start.model)  # whole since its last forward
    found = dict(start.model.network.named_parameters())
    return {
        name: torch.zeros_like(local(master)) if ".lora_B." in name else local(found[name]).detach().to(master.dtype)
        for name, master in weights.masters.items()
        if ".lora_A." not in name
    }


@torch.no_grad()
def place(weights: Weights, start: Mapping[str, Tensor], end: Mapping[str, Tensor], alpha: float) -> None:
    """Moves the trained weights to ``start + alpha (end - start)``."""
    for name in start:
        local(weights.masters[name]).copy_(torch.lerp(start[name], end[name], alpha))  # exact at 0 and at 1
    weights.publish()


def choose(found: Sequence[Record], max_general_rise: float) -> tuple[float, bool]:
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


def _measured(tuned: Tuned) -> list[Record]:
    """Records of the model as it is now on the validation documents; beside bits per byte, those of the base."""
    training, found = tuned.training, []
    for name, (role, batches) in tuned.validation.items():
        scores, before = measure(training.model, tuned.pair.base, batches, tuned.special_ids, training.world)
        assert before is not None
        base = {r["metric"]: r["value"] for r in records(before, run="base", seed=tuned.seed, set_name=name, role=role)}
        for record in records(scores, run="tuned", seed=tuned.seed, set_name=name, role=role):
            found.append(record | ({"base": base[record["metric"]]} if record["metric"] in base else {}))
    return found
