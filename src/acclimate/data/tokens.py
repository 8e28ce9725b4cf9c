"""Tokenised corpora: memory-mapped from the cache, where they are keyed by content and settings and written once."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acclimate.chat_template import DAY, asks_for_the_day
from acclimate.data.encoding import Encoded, Encoder
from acclimate.data.records import Document
from acclimate.data.routes import NOT_LEARNED
from acclimate.data.store import Strings, Writer, key_of, stored


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
        return replace(self, bounds=self.bounds[chosen], labels=self.labels[chosen], where=where)


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
        for encoded in encoder.encode(documents()):
            for name, values in vars(encoded).items():
                writer.append(name, values)
        return {}

    arrays = stored(cache_dir, "tokens", _key(contents, encoder), fill).arrays
    return corpus_of(Encoded(**arrays), where, encoder)


def corpus_of(encoded: Encoded, where: Sequence[str], encoder: Encoder) -> TokenCorpus:
    """Documents that were tokenised by ``encoder``."""
    ends = np.cumsum(encoded.lengths)
    return TokenCorpus(
        ids=encoded.ids,
        routes=encoded.routes,
        token_bytes=encoded.token_bytes,
        bounds=np.stack([ends - encoded.lengths, ends], axis=1),
        labels=encoded.labels.reshape(len(ends), -1),
        where=where,
        table=encoder.table,
    )


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
            "thinking": section.thinking,
            "roles": encoder.roles,
            "routes": encoder.routes,
            "documents": contents,
        }
    )
