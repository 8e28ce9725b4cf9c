"""Tokenised corpora: memory-mapped from the cache, where they are keyed by content and settings and written once."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acclimate.data.chat.control import Spelt, prefix_of
from acclimate.data.chat.label_notes import LabelNote, LabelNotes, notes_of
from acclimate.data.prepare.encoding import Encoded, Encoder
from acclimate.data.prepare.routes import NOT_LEARNED
from acclimate.data.prepare.store import Strings, Writer, key_of, stored
from acclimate.data.read.chat_template import DAY, asks_for_the_day
from acclimate.data.read.records import Document

LABELS = 3
"""Raised whenever the same rows become other tokens or labels, so that an older cache is not taken for the same."""
NONE: NDArray[Any] = np.empty(0)
"""A column that is not given."""


@dataclass(frozen=True)
class TokenCorpus:
    """Tokenised documents of one source, or a choice of them: a subset shares the arrays of tokens."""

    ids: NDArray[np.int32]  # [n]
    routes: NDArray[np.int16]  # [n] which of the source's routes a token is learned under, else NOT_LEARNED
    token_bytes: NDArray[np.int32]  # [n] UTF-8 bytes of text, 0 for special tokens
    bounds: NDArray[np.int64]  # [documents, 2] first token of each document and the one after its last
    labels: NDArray[np.int32]  # [documents, routes of the source] tokens learned under each; a first one is no label
    where: Sequence[str]  # [documents] place each document was read from
    table: NDArray[np.int64]  # [routes of the source] index of each in the run's route table
    notes: tuple[LabelNote, ...] = ()  # of all documents that were tokenised together
    lead: NDArray[np.int32] = field(
        default_factory=lambda: NONE
    )  # [documents] first tokens that the tokenizer puts before every text; default 0
    prompted: NDArray[np.bool_] = field(
        default_factory=lambda: NONE
    )  # [documents] a chat or pair: context, then what is learned; default false
    control: NDArray[np.int32] = field(
        default_factory=lambda: NONE
    )  # [documents] bytes of text that spell special tokens; default 0
    unmasked: NDArray[np.int16] = field(
        default_factory=lambda: NONE
    )  # [n] routes as they were before a method masked labels; default ``routes``

    def __post_init__(self) -> None:
        for name, dtype in (("lead", np.int32), ("prompted", np.bool_), ("control", np.int32)):
            if getattr(self, name) is NONE:
                object.__setattr__(self, name, np.zeros(len(self.bounds), dtype=dtype))
        if self.unmasked is NONE:
            object.__setattr__(self, "unmasked", self.routes)

    def __len__(self) -> int:
        return len(self.bounds)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[documents] tokens of each."""
        return self.bounds[:, 1] - self.bounds[:, 0]

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum())

    def document(
        self, i: int, start: int = 0, stop: int | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]:
        """ids, routes (of the run's table, else NOT_LEARNED) and token_bytes of document ``i``, or of a part of it."""
        first, end = self.bounds[i]
        here = slice(first + start, end if stop is None else first + stop)
        return self.ids[here], np.append(self.table, NOT_LEARNED)[self.routes[here]], self.token_bytes[here]

    def route_counts(self, routes: int) -> NDArray[np.int64]:
        """[routes of the run] labels of each route."""
        counts = np.zeros(routes, dtype=np.int64)
        counts[self.table] = self.labels.sum(0)
        return counts

    def subset(self, indices: ArrayLike) -> TokenCorpus:
        """The documents at ``indices``, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        where = self.where.take(chosen) if isinstance(self.where, Strings) else [self.where[i] for i in chosen]
        names = ("bounds", "labels", "lead", "prompted", "control")
        return replace(self, where=where, **{name: getattr(self, name)[chosen] for name in names})


def tokenise(
    documents: Callable[[], Iterable[Document]],
    contents: str,
    where: Sequence[str],
    encoder: Encoder,
    cache_dir: str,
) -> TokenCorpus:
    """Tokenises documents of one source, or maps the result of an earlier run.

    Args:
        documents: reads them, in the order of the result.
        contents: digest of what they hold.
        where: [documents] place of each.
        encoder: of the source.
        cache_dir: results live in ``cache_dir/tokens/<key>/``.

    Raises:
        ConfigError: the cache cannot be written.
        DataError: a chat cannot be rendered, or a document cannot be read.
    """

    def fill(writer: Writer) -> dict[str, Any]:
        notes, spelt = LabelNotes(), Spelt(encoder.tokenizer)
        for encoded in encoder.encode(spelt.watch(documents()), notes):
            for name, values in (vars(encoded) | beginnings(encoded, encoder)).items():
                writer.append(name, values)
        writer.append("control", spelt.column())
        return {"notes": notes.facts}

    found = stored(cache_dir, "tokens", _key(contents, encoder), fill)
    arrays = dict(found.arrays)
    apart = {name: arrays.pop(name) for name in ("lead", "prompted", "control")}
    return corpus_of(Encoded(**arrays), where, encoder, apart, notes_of(found.facts["notes"], where))


def encoded_now(documents: Iterable[Document], encoder: Encoder, where: Sequence[str]) -> TokenCorpus:
    """Tokenises into memory."""
    notes, spelt = LabelNotes(), Spelt(encoder.tokenizer)
    encodings = encoder.encode(spelt.watch(documents), notes)
    batches = [vars(encoded) | beginnings(encoded, encoder) for encoded in encodings]
    columns = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    apart = {name: columns.pop(name) for name in ("lead", "prompted")} | {"control": spelt.column()}
    return corpus_of(Encoded(**columns), where, encoder, apart, notes_of(notes.facts, where))


def corpus_of(
    encoded: Encoded,
    where: Sequence[str],
    encoder: Encoder,
    apart: Mapping[str, NDArray[Any]],
    notes: tuple[LabelNote, ...],
) -> TokenCorpus:
    """Documents that were tokenised by ``encoder``; ``apart``: columns of the corpus that the encoder does not make."""
    ends = np.cumsum(encoded.lengths)
    return TokenCorpus(
        ids=encoded.ids,
        routes=encoded.routes,
        token_bytes=encoded.token_bytes,
        bounds=np.stack([ends - encoded.lengths, ends], axis=1),
        labels=encoded.labels.reshape(len(ends), -1),
        where=where,
        table=encoder.table,
        notes=notes,
        **apart,
    )


def beginnings(encoded: Encoded, encoder: Encoder) -> dict[str, NDArray[Any]]:
    """``lead`` and ``prompted`` of each document."""
    lengths, first = encoded.lengths, np.cumsum(encoded.lengths) - encoded.lengths
    put = prefix_of(encoder)
    lead = np.zeros(len(lengths), dtype=np.int32)
    if put and len(lengths):
        at = np.minimum(first[:, None] + np.arange(len(put)), len(encoded.ids) - 1)
        lead[(encoded.ids[at] == put).all(1) & (lengths > len(put))] = len(put)
    learned = np.concatenate([[0], np.cumsum(encoded.routes != NOT_LEARNED)])
    context = lengths - (learned[first + lengths] - learned[first])
    return {"lead": lead, "prompted": context > lead}


def _key(contents: str, encoder: Encoder) -> str:
    """sha256 over all that decides the arrays."""
    tokenizer, section = encoder.tokenizer, encoder.section
    # What stands before its added tokens is truncation and padding: set by whoever called the tokenizer
    # last, and not used here.
    _, key, backend = tokenizer.backend_tokenizer.to_str().partition('"added_tokens"')
    assert key
    day = {"day": str(DAY.date())} if asks_for_the_day(tokenizer) else {}
    return key_of(
        day
        | {
            "versions": [importlib.metadata.version(name) for name in ("tokenizers", "transformers")],
            "tokenizer": backend,
            "split_special_tokens": tokenizer.split_special_tokens,
            "specials": {str(name): str(token) for name, token in tokenizer.special_tokens_map.items()},
            "chat_template": tokenizer.chat_template,
            "eos": encoder.eos,
            "labels": LABELS,
            "thinking": section.thinking,
            "roles": encoder.roles,
            "routes": encoder.routes,
            "documents": contents,
        }
    )
