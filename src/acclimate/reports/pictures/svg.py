"""Matplotlib figures as small inline SVG whose colours and fonts belong to the page around them.

Every colour is drawn as a sentinel and becomes a CSS variable, so one picture serves light, dark and print.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from acclimate.reports.pictures.palette import SLOTS, Slot

INK, MUTED, RULE, PAPER = "#010101", "#010102", "#010103", "#010104"
VARIABLES = {INK: "currentColor", MUTED: "var(--muted)", RULE: "var(--rule)", PAPER: "var(--paper)"}
RUN_COLOURS = [f"#0102{index:02x}" for index in range(SLOTS + 1)]
VARIABLES |= {colour: f"var(--run-{index})" for index, colour in enumerate(RUN_COLOURS)}

WIDTH = 400  # pixels: a phone shows a panel at nearly its own size, so its letters stay readable
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a set named "$x$" is text
    "axes.unicode_minus": True,
    "font.size": 11,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 6,
    "lines.solid_capstyle": "round",
    "path.simplify_threshold": 0.5,
}


def colour(slot: Slot) -> str:
    """The sentinel of a run's colour."""
    return RUN_COLOURS[slot.index]


def draw(slug: str, label: str, height: int, paint: Callable[[Axes], None]) -> Markup:
    """Draws one panel.

    Args:
        slug: unique in the page; keeps the ids inside two pictures apart.
        label: what a screen reader says in place of the picture.
        height: pixels, at a width of 400.
        paint: draws on the axes.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": slug}), warnings.catch_warnings():
        # Letters are laid out with matplotlib's font and drawn with the reader's: a missing glyph is no loss.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        paint(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Markup(_inline(buffer.getvalue(), label))  # matplotlib escaped the text it wrote


def standalone(picture: Markup) -> str:
    """The picture as a file of its own, in the page's colours, light and dark."""
    palette = (Path(__file__).parents[1] / "templates" / "report.css").read_text(encoding="utf-8").split("\n* {")[0]
    look = "svg { background: var(--paper); color: var(--ink); font-family: system-ui, sans-serif; }"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" '
    return str(picture).replace("<svg ", head, 1).replace(">", f"><style>{palette}{look}</style>", 1) + "\n"


def _inline(source: str, label: str) -> str:
    """The bare ``<svg>``: no prolog, no namespace addresses, no ids nobody refers to, no fonts, no sentinels."""
    body = source[source.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.S)
    view = re.search(r'viewBox="[^"]*"', body)
    head = f'<svg role="img" aria-label="{escape(label)}" {view.group(0) if view else ""}>'
    body = re.sub(r"<svg[^>]*>", lambda _: head, body, count=1)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = body.replace("xlink:href", "href")
    body = re.sub(r"font: (?:[a-z]+ )?(?:(\d+) )?([\d.]+px) [^;\"]*", _font, body)
    body = re.sub(r"#0[0-9a-f]{5}", lambda match: VARIABLES.get(match.group(0), match.group(0)), body)
    return re.sub(r"\s*\n\s*", "\n", body).strip()


def _font(match: re.Match[str]) -> str:
    weight = f"; font-weight: {match.group(1)}" if match.group(1) else ""
    return f"font-size: {match.group(2)}{weight}"
