"""A PDF file: the text of its pages in the order that they have, one below the other."""

from __future__ import annotations

import io

from pypdf import PdfReader


def text_of(raw: bytes) -> str:
    """Lines are those of the page. A file that asks for a password is opened with the empty one, as viewers do."""
    pages = [page.extract_text().strip() for page in PdfReader(io.BytesIO(raw)).pages]
    return "\n\n".join(page for page in pages if page)
