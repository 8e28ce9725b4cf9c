"""A number with its interval: one class, and one place that writes it to records and reads it from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Range = tuple[float, float]

ALPHA = 0.05
SHARE: Range = (0.0, 1.0)
NOT_NEGATIVE: Range = (0.0, math.inf)
ANY: Range = (-math.inf, math.inf)


def no_number_of_items(limit: float) -> float:
    """Of an estimate that does not say what would decide: infinite."""
    return math.inf


@dataclass(frozen=True)
class Estimate:
    """A value over ``n`` items with its equal-tailed interval; nothing is claimed of one whose bounds are infinite.

    Args:
        p: two-sided, of no change; nan of a value that was not tested.
        mde: minimum detectable effect, a true change that another such sample would show with 80 % power, in either
            direction; infinite where no such change was found.
        groups: that the items belong to; None: each is its own.
        error: standard error.
        base: of a change, what it is a change from.
        clean: of a change, the same over items that share no text with training.
        items_to_tell_from: limit -> how many items in all would tell the value from it with 80 % power, were it true.
    """

    value: float
    low: float = -math.inf
    high: float = math.inf
    n: int = 0
    p: float = math.nan
    mde: float = math.inf
    unit: str = ""
    groups: int | None = None
    error: float = math.inf
    base: float = math.nan
    clean: Estimate | None = None
    items_to_tell_from: Callable[[float], float] = field(default=no_number_of_items, compare=False, repr=False)

    @property
    def bounded(self) -> bool:
        """Whether there is an interval, so that something may be claimed."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def independent(self) -> int:
        """Groups, or items where each is its own: what the sample has drawn apart from each other."""
        return self.n if self.groups is None else self.groups

    @property
    def apart(self) -> bool:
        """Whether it is told from 0."""
        return self.p < ALPHA and (self.low > 0 or self.high < 0)

    @property
    def below(self) -> bool:
        return self.apart and self.value < 0

    @property
    def above(self) -> bool:
        return self.apart and self.value > 0

    def within(self, possible: Range) -> Estimate:
        """With an interval that holds no value the quantity cannot have.

        >>> Estimate(0.1, -0.01, 0.2).within(NOT_NEGATIVE).low
        0.0
        """
        least, most = possible
        return replace(self, low=min(max(self.low, least), most), high=max(min(self.high, most), least))

    def scaled(self, factor: float) -> Estimate:
        """In other units, ``factor`` times as many; a negative one turns it round.

        >>> turned = Estimate(1.0, 0.5, 2.0).scaled(-100)
        >>> turned.value, turned.low, turned.high
        (-100.0, -200.0, -50.0)
        """
        low, high = sorted((factor * self.low, factor * self.high))
        return replace(
            self,
            value=factor * self.value,
            low=low,
            high=high,
            mde=abs(factor) * self.mde,
            error=abs(factor) * self.error,
        )

    def record(self, *, change: bool = False) -> dict[str, Any]:
        """Plain data: unit, value, low, high and n, of a change also p and mde; unit and groups where there are any.

        >>> Estimate(0.25, n=2).record(change=True)
        {'value': 0.25, 'low': None, 'high': None, 'n': 2, 'p': None, 'mde': None}
        """
        names = ("value", "low", "high", "n", "p", "mde") if change else ("value", "low", "high", "n")
        said: dict[str, Any] = {"unit": self.unit} if self.unit else {}
        said |= {name: finite(getattr(self, name)) for name in names}
        return said | ({} if self.groups is None else {"groups": self.groups})

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Estimate:
        """What :meth:`record` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is no estimate, or its value is not finite.
        """
        value, clean = float(record["value"]), record.get("clean")
        if not math.isfinite(value):
            raise ValueError(f"{record['value']} is not a finite number")

        def known(name: str, otherwise: float) -> float:
            number = otherwise if record.get(name) is None else float(record[name])
            return number if math.isfinite(number) else otherwise

        return cls(
            value,
            known("low", -math.inf),
            known("high", math.inf),
            int(record["n"]),
            known("p", math.nan),
            known("mde", math.inf),
            str(record.get("unit", "")),
            record.get("groups"),
            base=known("base", math.nan),
            clean=None if clean is None else cls.from_record(clean),
        )


def finite(value: float) -> float | None:
    """JSON has no infinity: None for an open end, and for what was not tested."""
    return value if math.isfinite(value) else None
