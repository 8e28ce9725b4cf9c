"""Which part of the trained tokens each source gets, as a function of the tokens so far."""

from acclimate.data.deal.shares.delayed import DELAY, Delayed
from acclimate.data.deal.shares.dials import DialledShares, share_dials
from acclimate.data.deal.shares.quota import Piece, Scheduled, Shares, constant, linear, normalised, stages
from acclimate.data.deal.shares.race import Race

__all__ = [
    "DELAY",
    "Delayed",
    "DialledShares",
    "Piece",
    "Race",
    "Scheduled",
    "Shares",
    "constant",
    "linear",
    "normalised",
    "share_dials",
    "stages",
]
