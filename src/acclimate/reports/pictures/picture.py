"""A picture or a table together with the numbers behind it, which a reader can take away as CSV."""

from __future__ import annotations

import csv
import io
import math
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from acclimate.reports.words import number

LONGEST_LABEL = 18
"""Letters of a label that fit beside a picture."""


@dataclass(frozen=True)
class Numbers:
    """Columns and rows, as they stand in a file ``slug.csv``."""

    slug: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def csv(self) -> str:
        """The file as a data: address, so that the page needs no file beside it and no network."""
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerows([inert(cell) for cell in row] for row in (self.columns, *self.rows))
        return "data:text/csv;charset=utf-8," + urllib.parse.quote(buffer.getvalue(), errors="replace")


@dataclass(frozen=True)
class Picture(Numbers):
    """A drawing of the numbers, under a title, with a caption where it needs one."""

    title: str
    svg: Markup
    caption: str = ""


def inert(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: quoted, unless it is a number.

    >>> inert("=cmd()"), inert("-2+3+cmd|' /C calc'!A0"), inert(" @SUM(1)"), inert("-0.25"), inert("mol")
    ("'=cmd()", "'-2+3+cmd|' /C calc'!A0", "' @SUM(1)", '-0.25', 'mol')
    """
    if cell.lstrip()[:1] not in ("=", "+", "-", "@") and cell[:1] not in ("\t", "\r", "\n"):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def plain(value: float | None) -> str:
    """A number for a file; empty where there is none."""
    return "" if value is None or not math.isfinite(value) else f"{value:.6g}"


def whole(seeds: Mapping[int, float] | Sequence[tuple[int, float, float]]) -> str:
    """The seed column of a run's own row."""
    return "mean" if len(seeds) > 1 else "".join(str(seed if isinstance(seed, int) else seed[0]) for seed in seeds)


def short(label: str) -> str:
    """A label that fits beside a picture."""
    text, left = number.clip(" ".join(label.split()), LONGEST_LABEL)
    return text + ("…" if left else "")
