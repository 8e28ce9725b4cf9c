"""Every form by its name, with its options."""

from __future__ import annotations

from collections.abc import Callable

from acclimate.laws.form import Form
from acclimate.laws.forms.annealing import annealing
from acclimate.laws.forms.continual import continual, out_of_domain
from acclimate.laws.forms.d_cpt import d_cpt
from acclimate.laws.forms.forgetting import forgetting
from acclimate.laws.forms.mixtures import additive_mixture, exponential_mixture, joint_mixture
from acclimate.laws.forms.power import power, rise_and_fall
from acclimate.laws.forms.repetition import repetition
from acclimate.laws.forms.sft_mixture import sft_mixture

FORMS: dict[str, Callable[..., Form]] = {
    "annealing": annealing,
    "continual": continual,
    "out_of_domain": out_of_domain,
    "power": power,
    "rise_and_fall": rise_and_fall,
    "d_cpt": d_cpt,
    "exponential_mixture": exponential_mixture,
    "additive_mixture": additive_mixture,
    "joint_mixture": joint_mixture,
    "sft_mixture": sft_mixture,
    "repetition": repetition,
    "forgetting": forgetting,
}
"""What makes each: ``FORMS["d_cpt"](size=True)``; of mixtures the sources are needed."""
