"""An HTML page: its text without the menus, headers and footers that all pages of a site share."""

from __future__ import annotations

import trafilatura


def text_of(raw: bytes) -> str:
    """Rather too much than too little of the page; tables are in it, comments of readers are not."""
    return trafilatura.extract(raw, include_comments=False, include_tables=True, favor_recall=True) or ""
