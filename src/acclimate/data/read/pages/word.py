"""A Word file (.docx): its paragraphs, and its tables a row a line. Headers, footers and footnotes are not in it."""

from __future__ import annotations

import io
from typing import Any


def text_of(raw: bytes) -> str:
    from docx import Document

    blocks = [_block(block) for block in Document(io.BytesIO(raw)).iter_inner_content()]
    return "\n\n".join(block for block in blocks if block.strip())


def _block(block: Any) -> str:
    """Of a table: cells with tabs between; one that spans columns once."""
    if not hasattr(block, "rows"):
        return str(block.text)
    rows = ([cell.text.replace("\n", " ") for cell in dict.fromkeys(row.cells)] for row in block.rows)
    return "\n".join("\t".join(cells) for cells in rows)
