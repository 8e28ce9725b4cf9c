"""Methods side by side at equal budgets: trials, seeds, panels, one table that is continued, and where each stands."""

from acclimate.verbs.compare.outcome import Outcome, outcome_of
from acclimate.verbs.compare.schema import Comparison, load_comparison
from acclimate.verbs.compare.work import compare, pending

__all__ = ["Comparison", "Outcome", "compare", "load_comparison", "outcome_of", "pending"]
