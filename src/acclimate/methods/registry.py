"""What can be named in a configuration: one visible line per entry."""

from __future__ import annotations

from collections.abc import Callable

from acclimate.methods.asft import Asft
from acclimate.methods.dae import Dae
from acclimate.methods.dba import Dba
from acclimate.methods.dft import Dft
from acclimate.methods.ewc import Ewc
from acclimate.methods.hlr import Hlr
from acclimate.methods.l2 import L2
from acclimate.methods.mol import MoL
from acclimate.methods.replay import Replay
from acclimate.methods.sft import Sft
from acclimate.methods.stm import Stm
from acclimate.methods.talr import Talr
from acclimate.methods.wise import Wise
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.divergence import Divergence
from acclimate.types.central import LossTerm
from acclimate.types.plan import Method

METHODS: dict[str, type[Method]] = {
    "sft": Sft,
    "replay": Replay,
    "mol": MoL,
    "l2": L2,
    "dft": Dft,
    "talr": Talr,
    "stm": Stm,
    "asft": Asft,
    "dae": Dae,
    "wise": Wise,
    "ewc": Ewc,
    "hlr": Hlr,
    "dba": Dba,
}

TERMS: dict[str, Callable[[], LossTerm]] = {
    "cross_entropy": CrossEntropy,
    "reverse_kl": lambda: Divergence("reverse"),
    "forward_kl": lambda: Divergence("forward"),
    "js": lambda: Divergence("js"),
}
