"""Configuration to built objects."""

from acclimate.build.expert import base_apart, experts
from acclimate.build.heldout.checks import Checks, checks_of
from acclimate.build.heldout.reread import Chosen, Reread, choose_reread, reread
from acclimate.build.heldout.scored import Of, score_memorised, score_sets
from acclimate.build.heldout.sets import heldout_prompts, heldout_sets, validation_sets
from acclimate.build.heldout.untouched import score_untouched
from acclimate.build.job import Job, reopened, resolve
from acclimate.build.mixture import Mixture, mix
from acclimate.build.models import check_vocabulary, load_model, load_references
from acclimate.build.pairs import open_pair, open_run, trained_pair
from acclimate.build.selection import check_selection, select_labels
from acclimate.build.start import start
from acclimate.build.stores import check_stores
from acclimate.build.training import build_loader, build_objective, build_training, metrics_read, plan_of

__all__ = [
    "Checks",
    "Chosen",
    "Job",
    "Mixture",
    "Of",
    "Reread",
    "base_apart",
    "build_loader",
    "build_objective",
    "build_training",
    "check_selection",
    "check_stores",
    "check_vocabulary",
    "checks_of",
    "choose_reread",
    "experts",
    "heldout_prompts",
    "heldout_sets",
    "load_model",
    "load_references",
    "metrics_read",
    "mix",
    "open_pair",
    "open_run",
    "plan_of",
    "reopened",
    "reread",
    "resolve",
    "score_memorised",
    "score_sets",
    "score_untouched",
    "select_labels",
    "start",
    "trained_pair",
    "validation_sets",
]
