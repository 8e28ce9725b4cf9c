"""Which documents of a source are used, and which of these are held out: by content, never by position."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

from acclimate.data.records import Document
from acclimate.errors import ConfigError, DataError
from acclimate.schema import SourceSection


def without_duplicates(documents: Sequence[Document], seen: dict[str, str], dropped: Counter[str]) -> list[Document]:
    """Keeps the first document of each normalised text (runs of whitespace count as one blank).

    Args:
        seen: normalised text (as a hash) -> source that has it, over all sources of the run; is extended.
        dropped: gets ``duplicate`` and ``duplicate of <source>``.
    """
    kept = []
    for document in documents:
        text = _normalised(document)
        if text not in seen:
            seen[text] = document.source
            kept.append(document)
        else:
            dropped["duplicate" if seen[text] == document.source else f"duplicate of {seen[text]}"] += 1
    return kept


def _normalised(document: Document) -> str:
    """A hash of the text with whitespace collapsed; of a chat, also who said what."""
    if document.templated:
        said = [[part.role, " ".join(part.text.split()), part.extra] for part in document.parts]
        text = json.dumps(said, sort_keys=True)
    else:
        text = " ".join(document.text.split())
    return hashlib.sha256(text.encode()).hexdigest()


def subsample(documents: Sequence[Document], count: int | None, seed: int) -> list[Document]:
    """``count`` documents, in their order."""
    if count is None or count >= len(documents):
        return list(documents)
    return [documents[i] for i in sorted(_ranked(documents, f"subsample:{seed}")[:count])]


def held_out(documents: Sequence[Document], name: str, section: SourceSection, seed: int) -> list[int]:
    """Indices of the held-out documents, ascending.

    Raises:
        ConfigError: ``heldout`` is neither a share nor a whole count.
        DataError: no document would be left to train on.
    """
    heldout, total = section.heldout, len(documents)
    if heldout >= 1 and heldout != int(heldout):
        raise ConfigError(
            f"sources.{name}.heldout: {heldout} is neither a share (below 1) nor a whole count of documents."
        )
    count = int(heldout) if heldout >= 1 else max(round(heldout * total), 1 if heldout > 0 else 0)
    if count >= total:
        documents_text = f"{total} document{'' if total == 1 else 's'}"
        raise DataError(
            f"sources.{name}.heldout: {heldout} holds out {count} of {documents_text}, which leaves none to train on; "
            "lower it, or set heldout: 0 and give more or shorter documents."
        )
    return sorted(_ranked(documents, f"heldout:{seed}")[:count])


def _ranked(documents: Sequence[Document], purpose: str) -> list[int]:
    """Indices in an order that depends on seed and content alone, so that adding a document or another
    source moves few documents across the split."""
    order = [hashlib.sha256(f"{purpose}:{document.fingerprint}".encode()).digest() for document in documents]
    return sorted(range(len(documents)), key=lambda i: order[i])
