"""Methods side by side at equal budgets: trials, seeds, panels, one table that is continued, and where each stands."""

from acclimate.compare.outcome import Outcome, outcome_of
from acclimate.compare.schema import Comparison, load_comparison
from acclimate.compare.work import compare, pending

__all__ = ["Comparison", "Outcome", "compare", "load_comparison", "outcome_of", "pending"]
