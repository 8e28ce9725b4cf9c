"""Control tokens of a text: what a tokenizer puts before every one, and what spells a special token in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.data.chat.rendering import special_tokens
from acclimate.data.prepare.encoding import Encoder
from acclimate.data.read.records import Document


def prefix_of(encoder: Encoder) -> list[int]:
    """Ids that stand before every text: a bos that the tokenizer puts, or else one that the chat template writes.

    A template's bos that opens every turn too (SmolLM2's ``<|im_start|>``) is a turn mark and stands for no beginning.
    """
    encoding = encoder.backend.encode("a")
    put: list[int] = []
    for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if end > start:
            break
        put.append(token)
    bos = encoder.tokenizer.bos_token
    if put or bos is None or encoder.tokenizer.chat_template is None:
        return put
    asked = encoder.template.attempt([{"role": "user", "content": "a"}], None, generation_prompt=True) or ""
    return [encoder.tokenizer.bos_token_id] if asked.startswith(bos) and asked.count(bos) == 1 else []


class Spelt:
    """Counts the bytes of documents that a tokenizer reads as special tokens, where the text itself spells them."""

    def __init__(self, tokenizer: Any) -> None:
        spellings = [] if tokenizer.split_special_tokens else sorted(set(special_tokens(tokenizer).values()))
        longest_first = sorted((s for s in spellings if s), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._bytes: list[int] = []

    def watch(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The same documents."""
        for document in documents:
            self._bytes.append(self.bytes_of(document))
            yield document

    def bytes_of(self, document: Document) -> int:
        if self._pattern is None:
            return 0
        found = (match for part in document.parts for match in self._pattern.findall(part.text))
        return sum(len(match.encode()) for match in found)

    def column(self) -> NDArray[np.int32]:
        """[documents watched] bytes of each."""
        return np.array(self._bytes, dtype=np.int32)
