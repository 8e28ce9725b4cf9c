"""Documents become tokens, each with the route it is learned under and the bytes of text it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.data.chat import ChatTemplate, special_tokens, thinking_of
from acclimate.data.records import Document, Part
from acclimate.data.routes import NOT_LEARNED, role_routes
from acclimate.errors import ModelError
from acclimate.schema import SourceSection
from acclimate.types import Route

BATCH_CHARACTERS = 1_000_000
"""Characters handed to the tokenizer in one call: enough to keep its threads busy, little enough for memory."""


@dataclass(frozen=True)
class Encoded:
    """One tokenised document of n tokens."""

    ids: NDArray[np.int32]  # [n]
    routes: NDArray[np.int16]  # [n] index into the run's route table, NOT_LEARNED for context
    token_bytes: NDArray[np.int32]  # [n] UTF-8 bytes of text, 0 for special tokens


@dataclass(frozen=True)
class _Raw:
    """A text about to be tokenised, and the route of each of its characters."""

    text: str
    routes: NDArray[np.int16]  # [characters + 1]; the last entry is for what comes after the text
    templated: bool


class Encoder:
    """Tokenises the documents of one source."""

    def __init__(self, tokenizer: Any, source: str, section: SourceSection, table: Sequence[Route]) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(
                f"The tokenizer {type(tokenizer).__name__} gives no character offsets, which tell what is learned; "
                "a fast tokenizer (tokenizer.json) is required."
            )
        self.tokenizer = tokenizer
        self.section = section
        self.indices = {route.name: index for index, route in enumerate(table) if route.source == source}
        self.roles = role_routes(source, section)
        self.template = ChatTemplate(tokenizer)
        self.specials = np.array(sorted(special_tokens(tokenizer)), dtype=np.int64)
        self.eos: int | None = tokenizer.eos_token_id if section.append_eos else None

    def encode(self, documents: Sequence[Document]) -> Iterator[Encoded]:
        """Yields one :class:`Encoded` per document, in order."""
        batch: list[_Raw] = []
        characters = 0
        for document in documents:
            raw = self._characters(document)
            batch.append(raw)
            characters += len(raw.text)
            if characters >= BATCH_CHARACTERS:
                yield from self._batch(batch)
                batch, characters = [], 0
        yield from self._batch(batch)

    def route_of(self, part: Part) -> int:
        """Route index of a part, or NOT_LEARNED. Its own route wins, then the route of its role."""
        name = part.route or (None if part.context else self.roles.get(part.role))
        return NOT_LEARNED if name is None else self.indices[name]

    def _characters(self, document: Document) -> _Raw:
        part_routes = [self.route_of(part) for part in document.parts]
        if document.templated:
            wanted = [i for i, route in enumerate(part_routes) if route != NOT_LEARNED]
            rendered = self.template.render(document, thinking_of(document, self.section.thinking), wanted)
            text, after = rendered.text, NOT_LEARNED
            spans = [(span.start, span.end, part_routes[span.part_index]) for span in rendered.spans]
        else:
            text, after = document.text, part_routes[-1]
            ends = np.cumsum([len(part.text) for part in document.parts]).tolist()
            spans = list(zip([0, *ends[:-1]], ends, part_routes, strict=True))
        routes = np.full(len(text) + 1, NOT_LEARNED, dtype=np.int16)
        for start, end, route in spans:
            routes[start:end] = route
        routes[-1] = after
        return _Raw(text, routes, document.templated)

    def _batch(self, batch: list[_Raw]) -> Iterator[Encoded]:
        encoded: dict[int, Encoded] = {}
        for templated in (False, True):
            chosen = [i for i, raw in enumerate(batch) if raw.templated == templated]
            if not chosen:
                continue
            output = self.tokenizer(
                [batch[i].text for i in chosen],
                add_special_tokens=not templated,  # a template writes its own
                return_offsets_mapping=True,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )
            for i, ids, offsets in zip(chosen, output["input_ids"], output["offset_mapping"], strict=True):
                encoded[i] = self._tokens(batch[i], ids, offsets)
        return (encoded[i] for i in range(len(batch)))

    def _tokens(self, raw: _Raw, token_ids: list[int], offsets: list[tuple[int, int]]) -> Encoded:
        ids = np.array(token_ids, dtype=np.int64)
        spans = np.array(offsets, dtype=np.int64).reshape(-1, 2)
        # Tokens the tokenizer adds around a text have no characters: those before it are context,
        # those behind it (an eos) belong to the end of the text.
        written = np.flatnonzero(spans[:, 1] > spans[:, 0])
        first, last = (written[0], written[-1] + 1) if len(written) else (len(ids), len(ids))
        spans[last:] = len(raw.text)
        codepoints = np.frombuffer(raw.text.encode("utf-32-le"), dtype=np.uint32)
        token_bytes = bytes_of_tokens(spans[:, 1], np.isin(ids, self.specials), codepoints)
        starts = spans[:, 0]
        # ' word' whose blank still belongs to the prompt or template: the model has to produce it as one token.
        padded = np.append(codepoints, 0)
        starts = starts + (
            (raw.routes[starts] == NOT_LEARNED) & (padded[starts] == ord(" ")) & (spans[:, 1] > starts + 1)
        )
        routes = raw.routes[starts]
        routes[:first] = NOT_LEARNED
        if not raw.templated and self.eos is not None and (len(ids) == 0 or ids[-1] != self.eos):
            ids, routes, token_bytes = (
                np.append(ids, self.eos),
                np.append(routes, raw.routes[-1]),
                np.append(token_bytes, 0),
            )
        return Encoded(ids.astype(np.int32), routes.astype(np.int16), token_bytes.astype(np.int32))


def bytes_of_tokens(
    ends: NDArray[np.int64], special: NDArray[np.bool_], codepoints: NDArray[np.uint32]
) -> NDArray[np.int64]:
    """UTF-8 bytes each token stands for.

    Args:
        ends: [n] character at which each token ends.
        special: [n] whether it is a special token; those stand for no text.
        codepoints: [characters] of the text.

    Returns:
        [n] bytes. They sum to the bytes of the text less those that spell special tokens. Tokens that share a
        character (pieces of an emoji) share its bytes evenly; characters that a normaliser dropped
        count for the token after them, at the end for the last one.

    Example:
        >>> text = np.frombuffer("aé".encode("utf-32-le"), dtype=np.uint32)
        >>> bytes_of_tokens(np.array([1, 2, 2]), np.array([False, False, False]), text).tolist()
        [1, 1, 1]
    """
    widths = 1 + (codepoints > 0x7F).astype(np.int64) + (codepoints > 0x7FF) + (codepoints > 0xFFFF)
    position = np.concatenate([[0], np.cumsum(widths)])  # [characters + 1] bytes before each character
    reached = np.maximum.accumulate(position[ends]) if len(ends) else position[:0]
    covered = np.diff(reached, prepend=0)
    result = np.zeros(len(ends), dtype=np.int64)
    plain = np.flatnonzero(~special)
    if len(plain) == 0:
        return result
    covered[plain[-1]] += position[-1] - reached[-1]
    covered = covered[plain]
    # A token that reaches no further than the one before it shares that one's bytes.
    group = np.maximum(np.cumsum(covered > 0) - 1, 0)
    size = np.bincount(group)
    total = np.bincount(group, weights=covered).astype(np.int64)
    rank = np.arange(len(plain)) - np.concatenate([[0], np.cumsum(size)[:-1]])[group]
    result[plain] = total[group] // size[group] + (rank < total[group] % size[group])
    return result
