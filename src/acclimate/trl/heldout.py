"""Held-out text as rows that are measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from acclimate.config.source_schema import SourceSection
from acclimate.data.deal.pack import heldout_batches
from acclimate.data.prepare.encoding import Encoder
from acclimate.data.prepare.routes import route_table
from acclimate.data.prepare.tokens import encoded_now
from acclimate.data.read.documents import Document, Part
from acclimate.types.central import Batch
from acclimate.types.errors import UsageError

Rows = Sequence[tuple[Batch, Tensor]]
"""Batches with the bytes of each label."""
ROWS = 4
"""In a batch."""
FEWEST = 2
"""Documents, of which a set is made."""


def heldout(text: Any, tokenizer: Any, length: int, name: str) -> Rows:
    """
    Args:
        text: rows that are ready (``heldout`` of packed rows), or a list of texts.
        length: tokens in a row.
        name: of the set, for sentences.

    Raises:
        UsageError: it is none of these, or too little.
    """
    if isinstance(text, Sequence) and not isinstance(text, str) and len(text) and _is_ready(text[0]):
        if getattr(text, "role", None) == "domain":
            raise UsageError(
                f"ForgettingBudget: on['{name}'] is held-out text of the domain, which is to change; accepted: text of "
                "role general or chat."
            )
        return text
    if isinstance(text, str | Path):
        raise UsageError(
            f"ForgettingBudget: on['{name}'] is the path '{text}'; accepted: a list of texts, or what "
            "acclimate.mix({...}).packed(tokenizer).heldout[NAME] gives of files."
        )
    texts = list(text) if hasattr(text, "__iter__") else []
    if len(texts) < FEWEST or not all(isinstance(one, str) and one.strip() for one in texts):
        raise UsageError(
            f"ForgettingBudget: on['{name}'] holds {len(texts)} texts; accepted: at least {FEWEST} texts, none of them "
            "empty (32 or more tell a budget from chance), or held-out rows of acclimate.mix."
        )
    section = SourceSection(path=name)
    table = route_table({name: section})
    where = [f"{name}:{number}" for number in range(len(texts))]
    documents = [
        Document(name, at, (Part("text", one),), templated=False) for at, one in zip(where, texts, strict=True)
    ]
    corpus = encoded_now(documents, Encoder(tokenizer, name, section, table), where)
    return heldout_batches(corpus, 0, table, length, ROWS)


def _is_ready(first: Any) -> bool:
    return isinstance(first, tuple) and len(first) == 2 and isinstance(first[0], Batch)
