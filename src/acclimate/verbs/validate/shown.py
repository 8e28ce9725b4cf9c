"""The first documents of each source as the model reads them: its tokens as text, what is learned marked."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from acclimate.data.corpora import Corpora, Corpus
from acclimate.data.prepare.groups import file_of
from acclimate.data.prepare.routes import NOT_LEARNED

OPEN, CLOSE = "⟦", "⟧"
"""Around what is learned, also where there are no colours."""
HEAD, TAIL = 400, 100
"""Characters of a stretch that are shown from its beginning and from its end; one or two more are not worth a gap."""
MOST_STRETCHES = 40


LOOKED_AT = 200_000
"""Documents among which other kinds of files are looked for."""


@dataclass(frozen=True)
class Stretch:
    """Tokens that follow each other and are learned alike. ``route`` is None of context."""

    text: str
    route: str | None


@dataclass(frozen=True)
class ShownDocument:
    """One training document before it is cut into rows."""

    source: str
    where: str
    tokens: int
    labels: int
    stretches: tuple[Stretch, ...]


def first_documents(corpora: Corpora, tokenizer: Any, count: int) -> list[ShownDocument]:
    """The first ``count`` training documents of each source and kind of file."""
    routes = [route.name for route in corpora.routes]
    return [
        _document(corpus, number, tokenizer, routes)
        for corpus in corpora.sources.values()
        for number in _first_of_each_kind(corpus.train.where, count)
    ]


def _first_of_each_kind(where: Sequence[str], count: int) -> Iterator[int]:
    found: Counter[str] = Counter()
    for number in range(min(len(where), LOOKED_AT)):
        kind = os.path.splitext(file_of(str(where[number])))[1]
        found[kind] += 1
        if found[kind] <= count:
            yield number


def _document(corpus: Corpus, number: int, tokenizer: Any, routes: list[str]) -> ShownDocument:
    ids, learned, _ = corpus.train.document(number)
    learned = learned.copy()
    learned[:1] = NOT_LEARNED  # nothing stands before it to predict it from
    return ShownDocument(
        source=corpus.name,
        where=str(corpus.train.where[number]),
        tokens=len(ids),
        labels=int((learned != NOT_LEARNED).sum()),
        stretches=tuple(_stretches(ids.tolist(), learned, tokenizer, routes)),
    )


def _stretches(ids: list[int], learned: Any, tokenizer: Any, routes: list[str]) -> Iterator[Stretch]:
    """A stretch is decoded with all before it, since the first token of a text may lose its blank."""
    changes = [0, *(np.flatnonzero(np.diff(learned)) + 1).tolist(), len(ids)]
    before = ""
    for first, end in pairwise(changes):
        upto = tokenizer.decode(ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        text = upto.removeprefix(before) if upto.startswith(before) else tokenizer.decode(ids[first:end])
        before = upto
        route = int(learned[first])
        yield Stretch(text, None if route == NOT_LEARNED else routes[route])


def print_documents(documents: list[ShownDocument], console: Console) -> None:
    """Context is dim, what is learned stands in marks; long stretches have a gap."""
    for document in documents:
        routes = list(dict.fromkeys(s.route for s in document.stretches if s.route is not None))
        by = f", route {routes[0]}" if len(routes) == 1 else ""
        about = f"{document.tokens:,} tokens, {document.labels:,} {OPEN}learned{CLOSE}{by}"
        console.print(Text(f"\n{document.source}: {document.where} ({about})", style="cyan"), soft_wrap=True)
        text = Text()
        for stretch in document.stretches[:MOST_STRETCHES]:
            shown = _printable(_with_gap(stretch.text))
            if stretch.route is None:
                text.append(shown, style="dim")
            else:
                name = f"{stretch.route}: " if len(routes) > 1 else ""
                text.append(f"{OPEN}{name}{shown}{CLOSE}", style="green")
        if (left := len(document.stretches) - MOST_STRETCHES) > 0:
            text.append(f" … {left} stretches more", style="dim")
        console.print(text, soft_wrap=True)


def _with_gap(text: str) -> str:
    if len(text) <= HEAD + TAIL + 40:
        return text
    return f"{text[:HEAD]} … {len(text) - HEAD - TAIL:,} characters … {text[-TAIL:]}"


def _printable(text: str) -> str:
    """Characters that a terminal would obey are spelt."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
