"""A PDF file: the text of its pages in the order that they have, one below the other."""

from __future__ import annotations

import io


def text_of(raw: bytes) -> str:
    """Lines are those of the page. One that is locked by an empty password is opened, as viewers do."""
    from pypdf import PdfReader

    pages = [page.extract_text().strip() for page in PdfReader(io.BytesIO(raw)).pages]
    return "\n\n".join(page for page in pages if page)
