"""A Word file (.docx): its paragraphs, and its tables a row a line."""

from __future__ import annotations

import io

from docx import Document
from docx.table import Table


def text_of(raw: bytes) -> str:
    blocks = Document(io.BytesIO(raw)).iter_inner_content()
    parts = [table_text(block) if isinstance(block, Table) else block.text for block in blocks]
    return "\n\n".join(part for part in parts if part.strip())


def table_text(table: Table) -> str:
    """Cells with tabs between; one that spans columns once."""
    rows = [[cell.text.replace("\n", " ") for cell in dict.fromkeys(row.cells)] for row in table.rows]
    return "\n".join("\t".join(cells) for cells in rows)
