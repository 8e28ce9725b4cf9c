"""Replay, the second control."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from acclimate.methods.fields import STRICT
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.types import Plan, PlanContext, RoutedTerm


@dataclass(frozen=True, config=STRICT)
class Replay:
    """Cross-entropy on domain and general tokens alike: ordinary mixed continued pre-training.

    ``L = mean over all trained tokens of -log p(x_i | x_<i)``

    One term over both routes, hence one denominator: the share of a source is its weight [paper].

    Stores: nothing. Costs per step: the forward and backward of the general rows. Needs: a general source.

    Reference: the common baseline; Ibrahim et al., "Simple and Scalable Strategies to Continually Pre-train Large
    Language Models", 2024, arXiv 2403.08763.
    """

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = None

    def plan(self, context: PlanContext) -> Plan:
        return Plan(terms=(RoutedTerm("cross_entropy", CrossEntropy(), ("domain", "general")),))
