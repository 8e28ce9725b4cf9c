"""Online weights: rules that move the shares of sources while a run learns, and what they read."""

from acclimate.training.control.online.credit import Credit
from acclimate.training.control.online.dids import DIDS
from acclimate.training.control.online.doge import DoGE
from acclimate.training.control.online.doremi import DoReMi
from acclimate.training.control.online.odm import ODM
from acclimate.training.control.online.weights import OnlineWeights, Rule

__all__ = ["DIDS", "ODM", "Credit", "DoGE", "DoReMi", "OnlineWeights", "Rule"]
