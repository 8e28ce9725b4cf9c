"""An HTML page: its main part where it names one, else all but what its tags call menus, headers and footers."""

from __future__ import annotations

import re
from typing import Any

ABOUT = (
    "//head | //nav | //aside | //footer | //form | //button | //header[not(ancestor::article)] | "
    "//*[@role='navigation']"
)
BLOCKS = ("details", "summary", "figure", "figcaption", "section", "article", "address", "legend", "dt", "dd")
"""Stand on lines of their own in a browser; inscriptis would join some to the word before."""
CHARSET = re.compile(rb"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
DECLARED_WITHIN = 4096
"""Bytes. Browsers look at the first 1024."""


def text_of(raw: bytes) -> str:
    """What is left out is what tags say, and nothing is guessed: a menu costs tokens, a lost paragraph is never seen.

    Raises:
        ValueError: no charset is declared, and it is not UTF-8.
    """
    from inscriptis import Inscriptis
    from inscriptis.css_profiles import CSS_PROFILES
    from inscriptis.model.config import ParserConfig
    from lxml.html import HTMLParser, document_fromstring

    if not (text := decoded(raw)).strip():
        return ""
    page: Any = document_fromstring(text.encode(), HTMLParser(encoding="utf-8"))
    main = page.xpath("//main | //*[@role='main']")
    if len(main) == 1:
        (page,) = main
    else:
        for part in page.xpath(ABOUT):
            part.drop_tree()
    for part in page.iter(*BLOCKS):
        part.tag = "div"
    return str(Inscriptis(page, ParserConfig(css=CSS_PROFILES["strict"])).get_text())


def decoded(raw: bytes) -> str:
    """As UTF-8 where it can be, else as the page declares.

    >>> decoded("<p>Kehlköpfe".encode()), decoded('<meta charset="latin-1"><p>Kehlköpfe'.encode("latin-1"))[-9:]
    ('<p>Kehlköpfe', 'Kehlköpfe')
    """
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        declared = CHARSET.search(raw[:DECLARED_WITHIN])
        if declared is None:
            raise ValueError("it is not UTF-8, and no charset is declared") from None
        return raw.decode(declared[1].decode())
