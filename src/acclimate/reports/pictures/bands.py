"""A predicted curve in its intervals, and the measured points beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from acclimate.paired.estimate import Estimate
from acclimate.reports.pictures.palette import Slot
from acclimate.reports.pictures.picture import Picture, plain
from acclimate.reports.pictures.svg import INK, MUTED, PAPER, colour, draw

HEIGHT = 270

Mark = tuple[str, float, float, bool]
"""A measured point: its name, x, y, and whether it differs from the curve in nothing else."""


def band(
    slug: str, title: str, curve: Sequence[tuple[float, Estimate]], marks: Sequence[Mark], slot: Slot, x_axis: str,
    y_axis: str, limit: float | None = None, advised: float | None = None, log: bool = False, caption: str = "",
) -> Picture:  # fmt: skip
    """The curve where it has an interval; points of other settings are small and grey.

    Args:
        curve: (x, prediction), by rising x.
        limit: a line that the curve should stay below.
        advised: the x that is advised.
        log: x is a factor.
    """
    known = [(x, one) for x, one in curve if one.bounded]
    ink = colour(slot)

    def paint(axes: Axes) -> None:
        xs = [x for x, _ in known]
        lows, highs = ([getattr(one, end) for _, one in known] for end in ("low", "high"))
        axes.fill_between(xs, lows, highs, color=ink, alpha=0.18, lw=0)
        axes.plot(xs, [one.value for _, one in known], color=ink, lw=1.9)
        for _, x, y, alike in marks:
            look: dict[str, Any] = {"s": 58, "c": ink, "ec": PAPER} if alike else {"s": 20, "c": MUTED, "ec": PAPER}
            axes.scatter([x], [y], marker=slot.marker, lw=1, zorder=4 if alike else 3, **look)
        if limit is not None:
            axes.axhline(limit, color=INK, lw=1.1, ls=(0, (4, 3)))
            place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
            axes.annotate("limit", (0.01, limit), xytext=(0, 4), color=INK, fontsize=10, **place)
        if advised is not None:
            axes.axvline(advised, color=ink, lw=1.1, ls=(0, (1.4, 1.8)))
        if log:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.set_xlabel(x_axis, fontsize=10)
        axes.set_ylabel(y_axis, fontsize=10)

    columns = ("what", x_axis, y_axis, "low (90 %)", "high (90 %)")
    rows = [("predicted", plain(x), *map(plain, (one.value, one.low, one.high))) for x, one in known]
    rows += [(name, plain(x), plain(y), "", "") for name, x, y, _ in marks]
    first, last = known[0], known[-1]
    spoken = f"{plain(first[1].value)} at {plain(first[0])} to {plain(last[1].value)} at {plain(last[0])}"
    return Picture(slug, columns, tuple(rows), title, draw(slug, f"{title} {spoken}", HEIGHT, paint), caption)
