"""Every metric: what it is made of, its unit and direction, what it is called, and how a change of it is estimated.

One entry of :data:`METRICS` makes a metric. Records, panels, comparisons, report, card and gate read it from there; the
gate's policy when it is imported, since it has a key for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from acclimate.paired.bootstrap import mean_interval, ratio_interval
from acclimate.paired.estimate import ANY, NOT_NEGATIVE, SHARE, Estimate, Range
from acclimate.paired.flips import score_change
from acclimate.paired.grouped import Groups, count, subset
from acclimate.paired.ratio import FEWEST_DOCUMENTS, ratio, ratio_change

Array = NDArray[np.float64]
Scores = Mapping[str, Array]
"""Column -> [M], one entry an item; ``group`` numbers the group of each, where items share one."""
PERCENT = ("%", "points")


@dataclass(frozen=True)
class Metric:
    """``sum(above) / per / sum(below)`` over items: a mean where ``below`` is None.

    Args:
        unit: of its records.
        label: in headings of tables.
        above, below: columns of scores.
        base: the column that is ``above`` of the base, so that there is a paired change; or the value of a model that
            is its base, where the metric compares the two already.
        per: what sums are divided by: ln 2 for bits.
        possible: values that it can have; an interval is cut off there.
        words: what a reader of a card calls it; empty: a card does not say it.
        title: in tables of a panel, where it has another label.
        key: in an item's line of a panel, after ``model_`` and ``base_``.
        shown: roles of sets in whose columns of the report's table it stands; ``kept`` is the one that says what was
            kept.
        margins: units of a gate's margins; ``%`` is relative to the base's own.
        max_drop, min_gain: what the gate's policy says of the two margins; without the first there is no gate.
        lost: what a drop is called, where that is neither a rise nor a loss.
    """

    name: str
    unit: str
    label: str
    above: str
    below: str | None = None
    base: str | float = 0.0
    per: float = 1.0
    possible: Range = ANY
    higher_is_better: bool = False
    words: str = ""
    title: str = ""
    key: str = ""
    shown: tuple[str, ...] = ()
    margins: tuple[str, ...] = ()
    max_drop: str = ""
    min_gain: str = ""
    lost: str = ""

    @property
    def paired(self) -> bool:
        """Whether the base has a value of its own, so that there is a change between the two."""
        return isinstance(self.base, str)

    @property
    def columns(self) -> tuple[str, ...]:
        below = () if self.below is None else (self.below,)
        return (self.above, self.base, *below) if isinstance(self.base, str) else (*below, self.above)

    @property
    def heading(self) -> str:
        """The label, with an arrow to the better."""
        return f"{self.label} {'↑' if self.higher_is_better else '↓'}"

    def verdict(self, kind: str) -> str:
        """What a gate's check of this kind (max_drop, min_gain) is called."""
        names = ("lost", "won") if self.higher_is_better else ("rise", "fall")
        return self.lost or f"{self.label} {names[kind == 'min_gain']}"

    def change_range(self, base: float) -> Range:
        """Of a change from ``base``: what is not negative falls by all of it at most, a share by 1.

        >>> METRICS["bits_per_byte"].change_range(1.5), METRICS["accuracy"].change_range(0.25)
        ((-1.5, inf), (-1.0, 1.0))
        """
        least, most = self.possible
        return (-most, most) if most < math.inf else (least - base, most)

    def sums(self, scores: Scores) -> tuple[Array, Array, Array, Groups | None]:
        """The model's and the base's sums, the denominators, and the groups, of the items that have a denominator."""
        above = scores[self.above]
        size = np.ones(len(above)) if self.below is None else scores[self.below]
        base = scores[self.base] if isinstance(self.base, str) else self.base * size
        kept = size > 0
        return above[kept], base[kept], size[kept], subset(_groups(scores), kept)

    def value(self, above: Array, below: Array | None, groups: Groups | None = None) -> Estimate | None:
        """Of one model; None where no item has a denominator."""
        if below is None:
            return replace(mean_interval(above, groups=groups), unit=self.unit)
        if not (kept := below > 0).any():
            return None
        found = ratio_interval(above[kept] / self.per, below[kept], groups=subset(groups, kept))
        return replace(found, unit=self.unit)

    def change(self, scores: Scores) -> Estimate | None:
        """Of the model from its base over the same items; None where no item has a denominator."""
        tuned, base, size, groups = self.sums(scores)
        return self.difference(tuned / self.per, base / self.per, size, groups=groups) if len(size) else None

    def difference(
        self, first: Array, second: Array, size: Array, level: float = 0.95, groups: Groups | None = None
    ) -> Estimate:
        """``first`` less ``second`` over the same items, no bounds of fewer than ``FEWEST_DOCUMENTS`` or groups.

        Args:
            first, second: sums over ``per``, [M].
            size: denominators, [M].
        """
        if count(groups, len(size)) < FEWEST_DOCUMENTS:
            if self.below is None:
                return Estimate(float(np.mean(first - second)), n=len(size), unit=self.unit)
            return Estimate(float((first.sum() - second.sum()) / size.sum()), n=len(size), unit=self.unit)
        if self.below is None:
            found = score_change(first, second, level, groups=groups)
        else:
            found = ratio_change(first, second, size, level, groups)
        return replace(found, unit=self.unit).within(self.change_range(float(second.sum() / size.sum())))

    def drop(self, kind: str, unit: str, scores: Scores, level: float) -> Estimate:
        """How much worse the model is than its base (max_drop), or how much better (min_gain), in a margin's unit.

        ``(first - second) / size``, first and second being the model and the base where a lower value is better. In
        percent of the base's own sums for ``%``, in percent of the denominators for ``points``.
        """
        tuned, base, size, groups = self.sums(scores)
        rises = self.higher_is_better != (kind == "max_drop")
        first, second = (tuned, base) if rises else (base, tuned)
        factor = 100.0 if unit in PERCENT else 1.0
        if self.below is None:
            found = score_change(first, second, level, factor, groups)
        elif unit == "%":
            found = ratio(factor * (first - second), base, level, groups=groups)
        else:
            found = ratio(factor * (first / self.per - second / self.per), size, level, groups=groups)
        if not isinstance(self.base, str):
            least, most = (end - self.base for end in self.possible)
        else:
            least, most = self.change_range(1.0 if unit == "%" else float(base.sum() / self.per / size.sum()))
        low, high = (least, most) if rises else (0.0 - most, 0.0 - least)
        return replace(found, unit=unit).within((factor * low, factor * high))


def _groups(scores: Scores) -> Groups | None:
    return scores["group"].astype(np.int64) if "group" in scores else None


BITS = "bits_per_byte"
"""What was gained or lost: how well text is predicted."""
DRIFT = "kl_base_tuned"
"""How far the model is from its base: ``KL(base || tuned)``."""
REVERSE_DRIFT = "kl_tuned_base"
AGREEMENT = "top1_agreement"

# fmt: off
METRICS: dict[str, Metric] = {metric.name: metric for metric in (
    Metric(
        BITS, "bits/byte", "bits/byte", above="nats", below="bytes", base="base_nats", per=math.log(2),
        possible=NOT_NEGATIVE, words="bits per byte", shown=("domain", "general"), margins=("bits/byte", "%"),
        max_drop="rise over the base: '0.02 bits/byte', or '2 %' of its own",
        min_gain="fall below the base: '0.1 bits/byte', or '5 %' of its own",
    ),
    Metric(
        DRIFT, "nats/token", "KL, nats/token", above=DRIFT, below="tokens", possible=NOT_NEGATIVE,
        words="KL(base‖tuned), nats/token", title="KL(base||model)", lost="KL(base‖tuned)", shown=("general", "chat"),
        margins=("nats/token",), max_drop="KL(base || tuned): '0.2 nats/token'",
    ),
    Metric(
        REVERSE_DRIFT, "nats/token", "reverse KL, nats/token", above=REVERSE_DRIFT, below="tokens",
        possible=NOT_NEGATIVE, words="KL(tuned‖base), nats/token", title="KL(model||base)",
    ),
    Metric(
        AGREEMENT, "share of tokens", "top-1 agreement", above="agree", below="tokens", base=1.0, possible=SHARE,
        higher_is_better=True, words="top-1 agreement", lost="top-1 disagreement", shown=("kept",),
        margins=("points",), max_drop="fall below full agreement: '15 points' (percent of tokens)",
    ),
    Metric("entropy_change", "nats/token", "entropy change", above="entropy_change", below="tokens"),
    Metric(
        "accuracy", "share of items", "accuracy", above="right", base="base_right", possible=SHARE,
        higher_is_better=True, words="accuracy", key="correct", margins=("points",),
        max_drop="of a panel's set, fall below the base: '2 points'",
        min_gain="of a panel's set, rise over the base: '3 points'",
    ),
    Metric(
        "accuracy_norm", "share of items", "accuracy/char", above="right_norm", base="base_right_norm", possible=SHARE,
        higher_is_better=True, key="correct_norm", margins=("points",),
        max_drop="the same by character: '2 points'",
        min_gain="the same by character: '3 points'",
    ),
    Metric(
        "word_nats", "nats/word", "nats/word", above="word_nats", base="base_word_nats", possible=NOT_NEGATIVE,
        margins=("nats/word",),
        max_drop="of a panel's cloze, rise over the base: '0.1 nats/word'",
        min_gain="of a panel's cloze, fall below the base: '0.1 nats/word'",
    ),
)}
# fmt: on


def known(name: str) -> Metric:
    """The metric of that name; of a task's own, one that is a mean of items and may have any value."""
    return METRICS.get(name) or Metric(name, "mean of items", name, name)


def of_texts() -> Iterable[Metric]:
    """Those that are gated from the scores of documents."""
    return [metric for metric in METRICS.values() if metric.margins and metric.below is not None]


def of_drift() -> list[str]:
    """Names of those that compare the model with its base on the same tokens."""
    return [name for name, metric in METRICS.items() if metric.below == "tokens" and not metric.paired]


def gated(scores: Iterable[str]) -> list[str]:
    """Names of the gated metrics that these columns make."""
    has = set(scores)
    return [name for name, metric in METRICS.items() if metric.margins and has.issuperset(metric.columns)]
