"""What a run takes of a memory at its peak, by what the bytes are for."""

from acclimate.verbs.footprint.estimate import Estimate, Work, estimate, expert_copies
from acclimate.verbs.footprint.fit import Fit, changed, copies_of, fit_of, footprint, room_on, structure
from acclimate.verbs.footprint.settle import settled, with_checkpointing

__all__ = [
    "Estimate",
    "Fit",
    "Work",
    "changed",
    "copies_of",
    "estimate",
    "expert_copies",
    "fit_of",
    "footprint",
    "room_on",
    "settled",
    "structure",
    "with_checkpointing",
]
