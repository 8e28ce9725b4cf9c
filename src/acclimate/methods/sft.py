"""Ordinary tuning, the first control."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from acclimate.methods.fields import STRICT
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.types.central import RoutedTerm
from acclimate.types.plan import Facts, Method


@dataclass(frozen=True, config=STRICT)
class Sft(Method):
    """Cross-entropy on domain tokens only: ordinary continued pre-training or supervised fine-tuning.

    ``L = mean over domain tokens of -log p(x_i | x_<i)``

    General sources are not trained on; they are still evaluated.
    """

    neutral: ClassVar[tuple[dict[str, Any], str] | None] = None
    facts: ClassVar[Facts] = Facts(
        stores="nothing",
        costs="nothing beyond the step itself",
        needs="nothing",
        reference='the common baseline; Gururangan et al., "Don\'t Stop Pretraining", 2020, arXiv 2004.10964',
    )

    @property
    def terms(self) -> tuple[RoutedTerm, ...]:
        return (RoutedTerm("cross_entropy", CrossEntropy(), ("domain",)),)
