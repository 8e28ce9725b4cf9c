"""Configuration to built objects."""

from acclimate.assembly.heldout import heldout_prompts, heldout_sets, watched_metric
from acclimate.assembly.mixture import Mixture, mix
from acclimate.assembly.models import check_vocabulary, load_base, load_model, load_references, load_tuned, resolve
from acclimate.assembly.reread import Reread, reread
from acclimate.assembly.training import build_loader, build_objective, build_training

__all__ = [
    "Mixture",
    "Reread",
    "build_loader",
    "build_objective",
    "build_training",
    "check_vocabulary",
    "heldout_prompts",
    "heldout_sets",
    "load_base",
    "load_model",
    "load_references",
    "load_tuned",
    "mix",
    "reread",
    "resolve",
    "watched_metric",
]
