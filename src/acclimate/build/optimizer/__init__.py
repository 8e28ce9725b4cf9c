"""What moves the weights: an optimizer by its name, and the groups of parameters that it moves alike."""

from acclimate.build.optimizer.groups import GroupOf, parameter_groups
from acclimate.build.optimizer.kinds import OPTIMIZERS, build_optimizer, check_optimizer, state_bytes, step_bytes

__all__ = [
    "OPTIMIZERS",
    "GroupOf",
    "build_optimizer",
    "check_optimizer",
    "parameter_groups",
    "state_bytes",
    "step_bytes",
]
