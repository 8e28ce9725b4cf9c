"""Which part of the trained tokens each source gets, as a function of the tokens so far."""

from acclimate.data.deal.shares.delayed import DELAY, Delayed
from acclimate.data.deal.shares.dials import DialledShares, share_dial, share_dials
from acclimate.data.deal.shares.quota import Piece, Scheduled, Shares, constant, linear, normalised, stages

__all__ = [
    "DELAY",
    "Delayed",
    "DialledShares",
    "Piece",
    "Scheduled",
    "Shares",
    "constant",
    "linear",
    "normalised",
    "share_dial",
    "share_dials",
    "stages",
]
