"""A page of blocks, as HTML that needs nothing else and as Markdown: what a comparison and a panel are shown as."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from acclimate.disk.files import write_text
from acclimate.reports.pictures.picture import Numbers, Picture
from acclimate.reports.words.answer import KINDS

TEMPLATES = Path(__file__).parent / "templates"
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""Characters that no HTML page may hold."""


@dataclass(frozen=True)
class Grid:
    """A table; columns at the places ``words`` are set like text. A row in ``claimed`` is bold."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[int] = (0,)
    claimed: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Block:
    """One section. Text may hold ``**bold**`` and `` `code` ``, and nothing else that is markup."""

    title: str
    before: Sequence[str] = ()
    grid: Grid | None = None
    after: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    numbers: Sequence[Numbers] = ()


@dataclass(frozen=True)
class Page:
    """``kind`` is a key of :data:`~acclimate.reports.words.answer.KINDS` and gives the answer its mark and colour."""

    eyebrow: str
    title: str
    kind: str
    word: str
    answer: str
    notes: Sequence[str] = ()
    blocks: Sequence[Block] = ()

    @property
    def mark(self) -> str:
        return KINDS[self.kind][0]

    @property
    def sentence(self) -> str:
        return f"{self.mark} {self.word}. {self.answer}"


def write_html(page: Page, output: Path) -> Path:
    """The file appears whole or not at all.

    Raises:
        RunError: it cannot be written.
    """
    text = CONTROL.sub("\N{REPLACEMENT CHARACTER}", _template().render(page=page))
    write_text(output, text.encode("utf-8", errors="replace").decode("utf-8"))
    return output


def markdown(page: Page) -> str:
    """The same; pictures are files ``SLUG.svg`` beside it."""
    parts = [f"# {escaped(page.title)}", f"**{page.mark} {escaped(page.word)}.** {escaped(page.answer)}"]
    parts += [escaped(note) for note in page.notes]
    for block in page.blocks:
        grid = [table(block.grid)] if block.grid else []
        grid += ["\n".join(f"![{picture.title}]({picture.slug}.svg)" for picture in block.pictures)]
        parts += [f"## {block.title}", *map(escaped, block.before), *grid, *map(escaped, block.after)]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(grid: Grid) -> str:
    """As Markdown."""
    lines = [grid.head, ["---" if at in grid.words else "---:" for at in range(len(grid.head))]]
    for at, row in enumerate(grid.rows):
        lines.append([f"**{cell}**" if at in grid.claimed and cell else cell for cell in row])
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def escaped(text: str) -> str:
    """Markdown in which no HTML begins."""
    return text.replace("<", "&lt;")


def _cell(text: str) -> str:
    """Inside a table: what would end the cell or begin markup is escaped."""
    return escaped(text.replace("\n", " ").replace("|", "\\|"))


def inline(text: str) -> Markup:
    """Bold and code as HTML; all else is text.

    >>> inline("**a** `b` <i>")
    Markup('<b>a</b> <code>b</code> &lt;i&gt;')
    """
    found = str(escape(text))
    found = re.sub(r"`([^`]+)`", r"<code>\1</code>", found)
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", found))


def environment(html: bool = True) -> jinja2.Environment:
    """What pages are made in. In HTML all that is not marked as safe is text."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _template() -> jinja2.Template:
    pages = environment()
    pages.filters["inline"] = inline
    return pages.get_template("page.html.j2")
