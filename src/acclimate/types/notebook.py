"""What results look like in a notebook."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 124
"""Columns of what is shown as it would be in a terminal."""
PAGE = '<pre style="line-height:normal;font-family:monospace">{code}</pre>'


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]], said: Sequence[str] = ()) -> str:
    """A plain table, whose look is the notebook's own.

    Args:
        columns: headings.
        rows: cells as text; those of the first column are headings of their row.
        said: sentences above the table.

    >>> html_table(["set", "KL"], [["law", "<0.1"]], ["Kept."])  # doctest: +ELLIPSIS
    '<p>Kept.</p><table>...<tr><th>law</th><td>&lt;0.1</td></tr></tbody></table>'
    """
    text = "".join(f"<p>{escape(sentence)}</p>" for sentence in said)
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        f"<tr><th>{escape(row[0])}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>" for row in rows
    )
    return f"{text}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else text


def printed(show: Callable[[Console], None]) -> str:
    """What ``show`` prints to a terminal, with its colours.

    >>> printed(lambda console: console.print("[bold]kept"))  # doctest: +ELLIPSIS
    '<pre style=...><span style="font-weight: bold">kept</span>...</pre>'
    """
    from rich.console import Console

    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_jupyter=False)
    show(console)
    return console.export_html(inline_styles=True, code_format=PAGE)


def image(svg: str, title: str) -> str:
    """A drawing with its title, whose styles stay its own.

    >>> image("<svg/>", "A & B")
    '<img alt="A &amp; B" style="max-width:48%" src="data:image/svg+xml;base64,PHN2Zy8+">'
    """
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{escape(title)}" style="max-width:48%" src="data:image/svg+xml;base64,{data}">'
