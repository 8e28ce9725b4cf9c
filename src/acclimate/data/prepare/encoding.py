"""Documents become tokens, each with the route it is learned under and the bytes of text it stands for.

A token is learned as soon as one of its characters is: where a token straddles a prompt and its completion (``kid`` +
``ney``), or a template and a content, the model has to produce the whole token. Its bytes are those of the whole token,
so that nats and bytes of a label belong to the same text.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.config.source_schema import SourceSection
from acclimate.data.chat.label_notes import Kind, LabelNotes
from acclimate.data.chat.rendering import ChatTemplate, special_tokens, thinking_of
from acclimate.data.deal.ahead import Ahead
from acclimate.data.prepare.ranges import concatenated
from acclimate.data.prepare.routes import NOT_LEARNED, role_routes
from acclimate.data.read.records import Document, Part
from acclimate.types.central import Route
from acclimate.types.errors import ModelError

TURN_ENDS = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|return|>", "<end_of_turn>", "<turn|>", "<|eot|>",
    "<|END_OF_TURN_TOKEN|>", "<|assistant_end|>", "<|end_of_text|>", "<|endoftext|>", "</s>", "<eos>", "[e~[",
    "<｜end▁of▁sentence｜>", "<|endofturn|>", "<|end_of_turn|>",
)  # fmt: skip
"""Tokens that end a turn in published templates [ours]: a text that ends with one that is a token here ends itself."""
BATCH_CHARACTERS = 1_000_000
"""Characters handed to the tokenizer in one call: enough to keep its threads busy, little enough for memory."""


@dataclass(frozen=True)
class Encoded:
    """D tokenised documents, n tokens in all, one document after the other."""

    ids: NDArray[np.int32]  # [n]
    routes: NDArray[np.int16]  # [n] which of the source's routes, NOT_LEARNED for context
    token_bytes: NDArray[np.int32]  # [n] UTF-8 bytes of text, 0 for special tokens
    lengths: NDArray[np.int64]  # [D] tokens of each
    labels: NDArray[np.int32]  # [D, routes of the source] tokens learned under each; a first token is no label


@dataclass(frozen=True)
class _Raw:
    """A text about to be tokenised, and the routes of its characters as runs."""

    text: str
    runs: list[tuple[int, int]]  # (characters, route), over the text and one place for what comes after it
    templated: bool
    ended: bool = False  # whether a plain text spells its own end, or has none
    notes: tuple[tuple[Kind, str], ...] = ()


@dataclass(frozen=True)
class _Tokenised:
    """What the tokenizer made of a batch: plain documents, then chats."""

    raws: list[_Raw]
    encodings: list[Any]
    order: NDArray[np.int64]  # [D] place in the source's order -> place here


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
        self.table = np.array([i for i, route in enumerate(table) if route.source == source], dtype=np.int64)
        """[routes of the source] index of each in the run's table."""
        self.routes = [table[i].name for i in self.table]
        """Their names; tokens hold indices into these, so that another source does not change them."""
        self.roles = role_routes(source, section)
        self.template = ChatTemplate(tokenizer)
        self.specials = np.array(sorted(special_tokens(tokenizer)), dtype=np.int64)
        self.eos: int | None = tokenizer.eos_token_id if section.append_eos else None
        self.ends = _spelt_ends(tokenizer, self.template)

    @cached_property
    def begin(self) -> NDArray[np.int64]:
        """[k] tokens that the tokenizer puts before a text, most often a bos or nothing."""
        text, around = (self.backend.encode("a", add_special_tokens=on).ids for on in (False, True))
        starts = (i for i in range(len(around)) if around[i : i + len(text)] == text)
        return np.array(around[: next(starts, 0)], dtype=np.int64)

    @cached_property
    def backend(self) -> Any:
        """A tokenizer of this object's own: every call of the given one sets options on its backend, in any thread."""
        backend = deepcopy(self.tokenizer.backend_tokenizer)
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = self.tokenizer.split_special_tokens
        return backend

    def encode(self, documents: Iterable[Document], notes: LabelNotes | None = None) -> Generator[Encoded, None, None]:
        """Yields batches of documents, in order; ``notes`` gets what of them is not read or not learned.

        Reading and the tokenizer run in a thread each, so that the tokenizer's own threads, which need no Python, are
        busy while this thread turns their last result into arrays.
        """
        raws = Ahead(self._batches(documents, notes or LabelNotes()))
        tokenised = Ahead(self._tokenise(raws))
        try:
            for batch in tokenised:
                yield self._arrays(batch)
        finally:
            tokenised.close()

    def route_of(self, part: Part) -> int:
        """The source's route of a part, or NOT_LEARNED. Its own route wins, then the route of its role."""
        name = part.route or (None if part.context else self.roles.get(part.role))
        return NOT_LEARNED if name is None else self.routes.index(name)

    def _batches(self, documents: Iterable[Document], notes: LabelNotes) -> Generator[list[_Raw], None, None]:
        batch: list[_Raw] = []
        characters = 0
        for number, document in enumerate(documents):
            raw = self._characters(document)
            notes.add(number, raw.notes)
            batch.append(raw)
            characters += len(raw.text)
            if characters >= BATCH_CHARACTERS:
                yield batch
                batch, characters = [], 0
        if batch:
            yield batch

    def _characters(self, document: Document) -> _Raw:
        part_routes = [self.route_of(part) for part in document.parts]
        if not document.templated:
            runs = [(len(part.text), route) for part, route in zip(document.parts, part_routes, strict=True)]
            text = document.text
            spelt = bool(self.ends) and text.rstrip().endswith(self.ends)
            if spelt:  # blanks behind the end are never generated
                size, route = runs.pop()
                blanks = min(size, len(text) - len(text.rstrip()))
                runs += [(size - blanks, route), (blanks, NOT_LEARNED)]
            return _Raw(text, [*runs, (1, part_routes[-1])], templated=False, ended=spelt or not document.ended)
        wanted = [i for i, route in enumerate(part_routes) if route != NOT_LEARNED]
        rendered = self.template.render(document, thinking_of(document, self.section.thinking), wanted)
        runs, at = [], 0
        for span in sorted(rendered.spans, key=lambda span: span.start):
            runs += [(span.start - at, NOT_LEARNED), (span.end - span.start, part_routes[span.part_index])]
            at = span.end
        runs.append((len(rendered.text) - at + 1, NOT_LEARNED))
        return _Raw(rendered.text, runs, templated=True, notes=rendered.notes)

    def _tokenise(self, batches: Ahead[list[_Raw]]) -> Generator[_Tokenised, None, None]:
        try:
            for batch in batches:
                kinds = np.array([raw.templated for raw in batch])
                grouped = np.argsort(kinds, kind="stable")
                raws, plain = [batch[i] for i in grouped.tolist()], len(kinds) - int(kinds.sum())
                encodings = self.backend.encode_batch([raw.text for raw in raws[:plain]])
                # A template writes its own special tokens.
                encodings += self.backend.encode_batch([raw.text for raw in raws[plain:]], add_special_tokens=False)
                yield _Tokenised(raws, encodings, np.argsort(grouped, kind="stable"))
        finally:
            batches.close()

    def _arrays(self, batch: _Tokenised) -> Encoded:
        """Vectorised over the batch: every document has a slot for each of its characters and one for its end."""
        raws, lengths = batch.raws, np.array([len(encoding) for encoding in batch.encodings], dtype=np.int64)
        total = int(lengths.sum())
        ids = np.fromiter(chain.from_iterable(e.ids for e in batch.encodings), dtype=np.int64, count=total)
        offsets = chain.from_iterable(chain.from_iterable(e.offsets for e in batch.encodings))
        spans = np.fromiter(offsets, dtype=np.int64, count=2 * total).reshape(-1, 2)
        doubled = self._doubled(raws, ids, spans, lengths)
        document = np.repeat(np.arange(len(lengths)), lengths)
        lengths = lengths - np.bincount(document[doubled], minlength=len(lengths))
        ids, spans = ids[~doubled], spans[~doubled]
        sizes = np.array([len(raw.text) for raw in raws], dtype=np.int64)
        runs = np.array([run for raw in raws for run in raw.runs], dtype=np.int64)
        slot_routes = np.repeat(runs[:, 1], runs[:, 0])
        codepoints = np.frombuffer("\0".join([*(raw.text for raw in raws), ""]).encode("utf-32-le"), dtype=np.uint32)
        texts = Texts(np.cumsum(sizes + 1) - sizes - 1, sizes, np.cumsum(lengths) - lengths, lengths)
        starts, ends, outside = texts.place(spans)
        token_bytes = bytes_of_tokens(ends, np.isin(ids, self.specials), codepoints, texts)
        learned = np.append(slot_routes != NOT_LEARNED, True)  # a place beyond the last slot
        places = np.where(learned, np.arange(len(learned)), len(learned))
        first_learned = np.minimum.accumulate(places[::-1])[::-1][starts]  # from the token's start on
        straddles = first_learned < np.maximum(ends, starts + 1)
        routes = np.where(straddles & ~outside, slot_routes[np.where(straddles, first_learned, starts)], NOT_LEARNED)
        if self.eos is not None:
            last = np.where(lengths > 0, ids[np.maximum(texts.first_token + lengths - 1, 0)] if total else -1, -1)
            bare = np.flatnonzero(~np.array([raw.templated or raw.ended for raw in raws]) & (last != self.eos))
            at = (texts.first_token + lengths)[bare]
            ids, token_bytes = np.insert(ids, at, self.eos), np.insert(token_bytes, at, 0)
            routes = np.insert(routes, at, slot_routes[(texts.first_slot + sizes)[bare]])
            lengths = lengths.copy()
            lengths[bare] += 1
        first = np.cumsum(lengths) - lengths
        here = concatenated(first[batch.order], lengths[batch.order])
        return self._counted(ids[here], routes[here], token_bytes[here], lengths[batch.order])

    def _doubled(
        self, raws: list[_Raw], ids: NDArray[Any], spans: NDArray[Any], lengths: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """[n] tokens that the tokenizer puts around a plain text which spells its own: a second bos, an eos after the
        end of a turn."""
        doubled = np.zeros(len(ids), dtype=bool)
        plain = np.array([not raw.templated for raw in raws])
        firsts, width = np.cumsum(lengths) - lengths, len(self.begin)
        twice = firsts[plain & (lengths >= 2 * width)] if width else firsts[:0]
        for place, token in enumerate(self.begin.tolist()):
            twice = twice[(ids[twice + place] == token) & (ids[twice + width + place] == token)]
        for place in range(width):
            doubled[twice + place] = True
        for i in np.flatnonzero([raw.ended for raw in raws]).tolist():
            here = slice(firsts[i], firsts[i] + lengths[i])
            written = np.flatnonzero(spans[here, 0] < spans[here, 1])
            doubled[firsts[i] + written.max(initial=-1) + 1 : firsts[i] + lengths[i]] = len(written) > 0
        return doubled

    def _counted(
        self, ids: NDArray[Any], routes: NDArray[Any], token_bytes: NDArray[Any], lengths: NDArray[np.int64]
    ) -> Encoded:
        learned = routes.copy()
        learned[(np.cumsum(lengths) - lengths)[lengths > 0]] = NOT_LEARNED
        document, width = np.repeat(np.arange(len(lengths)), lengths), len(self.routes)
        cells = (document * width + learned)[learned >= 0]
        labels = np.bincount(cells, minlength=len(lengths) * width).reshape(-1, width)
        return Encoded(
            ids.astype(np.int32),
            routes.astype(np.int16),
            token_bytes.astype(np.int32),
            lengths,
            labels.astype(np.int32),
        )


def _spelt_ends(tokenizer: Any, template: ChatTemplate) -> tuple[str, ...]:
    """Spellings of tokens that end a text or a turn."""
    if tokenizer.split_special_tokens:
        return ()  # no text spells a token then
    known = set(template.added.values())
    ends = [*template.turns.ends] if tokenizer.chat_template is not None else []
    return tuple({end.lstrip() for end in ends if end} | {t for t in (*TURN_ENDS, tokenizer.eos_token) if t in known})


@dataclass(frozen=True)
class Texts:
    """Where the characters and the tokens of D documents stand when each is followed by one slot for its end."""

    first_slot: NDArray[np.int64]  # [D]
    characters: NDArray[np.int64]  # [D]
    first_token: NDArray[np.int64]  # [D]
    tokens: NDArray[np.int64]  # [D]

    @cached_property
    def document(self) -> NDArray[np.int64]:
        """[n] document of each token."""
        return np.repeat(np.arange(len(self.tokens)), self.tokens)

    def place(self, spans: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Spans [n, 2] of characters in documents become slots [n] of the batch.

        Tokens that the tokenizer adds around a text have no characters: those before it are context (the third
        result), those behind it (an eos) belong to the end of the text.
        """
        written = spans[:, 1] > spans[:, 0]
        before = np.concatenate([[0], np.cumsum(written)])
        so_far = before[1:] - before[self.first_token][self.document]
        in_all = (before[self.first_token + self.tokens] - before[self.first_token])[self.document]
        behind = ~written & (so_far == in_all) & (in_all > 0)
        slots = spans + self.first_slot[self.document][:, None]
        slots[behind] = (self.first_slot + self.characters)[self.document][behind][:, None]
        return slots[:, 0], slots[:, 1], so_far == 0


def bytes_of_tokens(
    ends: NDArray[np.int64], special: NDArray[np.bool_], codepoints: NDArray[np.uint32], texts: Texts
) -> NDArray[np.int64]:
    """UTF-8 bytes each token stands for.

    Args:
        ends: [n] slot at which each token ends.
        special: [n] whether it is a special token; those stand for no text.
        codepoints: [slots] of the texts.
        texts: which slots and tokens belong to which document.

    Returns:
        [n] bytes. They sum, in each document, to the bytes of the text less those that spell special tokens. Tokens
        that share a character (pieces of an emoji) share its bytes evenly; characters that a normaliser dropped
        count for the token after them, at the end for the last one.
    """
    widths = 1 + (codepoints > 0x7F).astype(np.int64) + (codepoints > 0x7FF) + (codepoints > 0xFFFF)
    ends_of_texts = texts.first_slot + texts.characters
    widths[ends_of_texts] = 0
    position = np.concatenate([[0], np.cumsum(widths)])  # [slots + 1] bytes before each slot
    result = np.zeros(len(ends), dtype=np.int64)
    plain = np.flatnonzero(~special)
    if len(plain) == 0:
        return result
    reached = np.maximum.accumulate(position[ends])
    filled = texts.tokens > 0
    before = np.concatenate([[0], reached[:-1]])
    before[texts.first_token[filled]] = position[texts.first_slot[filled]]
    covered = (reached - before)[plain]
    document = texts.document[plain]
    first = np.flatnonzero(np.diff(document, prepend=-1))  # of each document's plain tokens
    present = document[first]
    left = position[ends_of_texts[present]] - reached[(texts.first_token + texts.tokens - 1)[present]]
    covered[np.append(first[1:], len(plain)) - 1] += left
    # A token that reaches no further than the one before it shares that one's bytes.
    further = np.cumsum(covered > 0)
    further -= np.repeat((further - (covered > 0))[first], np.diff(np.append(first, len(plain))))
    group = np.cumsum((further > 1) & (covered > 0) | np.isin(np.arange(len(plain)), first)) - 1
    size = np.bincount(group)
    total = np.bincount(group, weights=covered).astype(np.int64)
    place = np.arange(len(plain)) - np.concatenate([[0], np.cumsum(size)[:-1]])[group]
    result[plain] = total[group] // size[group] + (place < total[group] % size[group])
    return result
