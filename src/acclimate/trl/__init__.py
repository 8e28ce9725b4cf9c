"""For those who stay with their trainer: transformers' ``Trainer``, TRL's ``SFTTrainer``, and what is built on them."""

from acclimate.trl.batches import collate
from acclimate.trl.budget import ForgettingBudget
from acclimate.trl.mixin import ObjectiveMixin
from acclimate.trl.panel import ForgettingPanel
from acclimate.trl.tags import tag_routes

__all__ = ["ForgettingBudget", "ForgettingPanel", "ObjectiveMixin", "collate", "tag_routes"]
