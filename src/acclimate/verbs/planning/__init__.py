"""`acclimate plan`: what measured runs say about runs that nobody trained."""

from acclimate.verbs.planning.plan import Plan, plan

__all__ = ["Plan", "plan"]
