"""Configuration to built objects."""

from acclimate.assembly.expert import experts
from acclimate.assembly.heldout import heldout_prompts, heldout_sets, validation_sets
from acclimate.assembly.job import Job, reopened, resolve
from acclimate.assembly.mixture import Mixture, mix
from acclimate.assembly.models import check_vocabulary, load_base, load_model, load_references, load_tuned
from acclimate.assembly.reread import Chosen, Reread, choose_reread, reread
from acclimate.assembly.scored import score_memorised, score_sets
from acclimate.assembly.selection import check_selection, select_labels
from acclimate.assembly.start import start
from acclimate.assembly.stores import check_stores
from acclimate.assembly.training import build_loader, build_objective, build_training, metrics_read

__all__ = [
    "Chosen",
    "Job",
    "Mixture",
    "Reread",
    "build_loader",
    "build_objective",
    "build_training",
    "check_selection",
    "check_stores",
    "check_vocabulary",
    "choose_reread",
    "experts",
    "heldout_prompts",
    "heldout_sets",
    "load_base",
    "load_model",
    "load_references",
    "load_tuned",
    "metrics_read",
    "mix",
    "reopened",
    "reread",
    "resolve",
    "score_memorised",
    "score_sets",
    "select_labels",
    "start",
    "validation_sets",
]
