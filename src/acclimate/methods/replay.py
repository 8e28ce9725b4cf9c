"""Replay, the second control."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from acclimate.methods.fields import STRICT
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.types.central import RoutedTerm
from acclimate.types.plan import Facts, Method


@dataclass(frozen=True, config=STRICT)
class Replay(Method):
    """Cross-entropy on domain and general tokens alike: ordinary mixed continued pre-training.

    ``L = mean over all trained tokens of -log p(x_i | x_<i)``

    One term over both routes, hence one denominator: the share of a source is its weight [paper].
    """

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = None
    facts: ClassVar[Facts] = Facts(
        stores="nothing",
        costs="the forward and backward of the general rows",
        needs="a general source",
        reference=(
            'the common baseline; Ibrahim et al., "Simple and Scalable Strategies to Continually Pre-train Large '
            'Language Models", 2024, arXiv 2403.08763'
        ),
        evidence=("paper",),
        strength="the weight of general tokens, 1",
    )

    @property
    def terms(self) -> tuple[RoutedTerm, ...]:
        return (RoutedTerm("cross_entropy", CrossEntropy(), ("domain", "general"), anchors=("general",)),)
