"""Every source of a run, ready to be trained on and measured; what was dropped is counted with its reason.

A prepared source is read once (index), reduced and split by hashes, and tokenised into the cache. A streamed source is
read while it is trained on; before, only its beginning is looked at.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.config.load import RunConfig
from acclimate.config.source_schema import AUTO, SourceSection
from acclimate.data.chat.label_notes import joined
from acclimate.data.chat.pieces import cut, too_long
from acclimate.data.chat.rendering import check_thinking, turn_end
from acclimate.data.corpora import OVERLAPS, STREAM_IDS, Corpora, Corpus, Mask, Role
from acclimate.data.deal.beginning import Beginning, Divided, divide, read_beginning
from acclimate.data.deal.stream import DocumentStream, Heldout, numeric
from acclimate.data.prepare.encoding import Encoder
from acclimate.data.prepare.groups import Labels, labels, names, streamed_names
from acclimate.data.prepare.index import Index, read_index
from acclimate.data.prepare.overlap import Texts, cached_overlap, check_drop
from acclimate.data.prepare.routes import all_domain, check_roles, extend_table, message_routes, route_table
from acclimate.data.prepare.split import Counts, Fingerprints, drawing_order, held_out, subsample, without_duplicates
from acclimate.data.prepare.store import key_of
from acclimate.data.prepare.tokens import TokenCorpus, encoded_now, tokenise
from acclimate.data.read.dialects import Readings
from acclimate.data.read.documents import Reader
from acclimate.data.reserved import Stock, reserved
from acclimate.types.errors import ConfigError, DataError

__all__ = ["Corpora", "Corpus", "Mask", "Role", "load_corpora", "route_table"]


@dataclass(frozen=True)
class _Chosen:
    """The documents of a prepared source that are used."""

    index: Index
    documents: NDArray[np.int64]  # ascending
    fingerprints: Fingerprints  # of these
    groups: Labels | None
    dropped: Counter[str]

    @property
    def chats(self) -> float:
        """Part of the documents that are chats."""
        return float(self.index.templated[self.documents].mean())


def load_corpora(config: RunConfig, tokenizer: Any) -> Corpora:
    """Prepares every source of the configuration, in its order; of streamed ones, the beginning.

    Raises:
        DataError, ConfigError, ModelError: see the steps; each names the source or the file and line.
    """
    check_drop(config)
    asked = config.sources
    config = config.model_copy(update={"sources": {n: _settled(n, s, tokenizer) for n, s in asked.items()}})
    table = route_table(config.sources)
    chosen: dict[str, _Chosen] = {}
    beginnings: dict[str, Beginning] = {}
    seen: dict[str, NDArray[np.uint64]] = {}  # by source, hashes of its texts, ascending
    for name, section in config.sources.items():
        if section.streaming:
            beginnings[name] = beginning = read_beginning(name, section)
            documents = beginning.documents
            roles = {part.role for document in documents for part in document.parts}
            chats = any(document.templated for document in documents)
            among = f"none of {beginning.described}"
            _check(name, section, roles, chats, tokenizer, among)
            _check_pairs(name, asked[name], beginning.readings, among)
            table = extend_table(table, name, message_routes(documents))
            continue
        index = read_index(name, section, config.data.cache_dir)
        _check(name, section, index.roles, bool(index.templated.any()), tokenizer, "no document")
        _check_pairs(name, asked[name], index.readings, "no document")
        table = extend_table(table, name, index.message_routes)
        dropped = Counter(index.dropped)
        unique, seen[name] = without_duplicates(index.texts, seen, dropped)
        _require(unique, name, "is left after removing duplicates", dropped)
        fingerprints = index.fingerprints.take(unique)
        kept = subsample(fingerprints, section.max_documents, config.data.split_seed, config.data.cache_dir)
        used = fingerprints.take(kept)
        alike = None if index.sketches is None else index.sketches[unique[kept]]
        groups = labels(index.groups[unique[kept]], alike, used, section, config.data.cache_dir)
        chosen[name] = _Chosen(index, unique[kept], used, groups, dropped)

    stocks = {
        name: Stock(found.index.section, _role(name, found.index.section, found.chats), len(found.documents))
        for name, found in chosen.items()
    }
    counts = reserved(stocks, config.data, config.evaluation.validation_documents)
    sources: dict[str, Corpus] = {}
    train: dict[str, Texts] = {}
    heldout: dict[str, Texts] = {}
    measured: frozenset[int] = frozenset()
    for name, found in chosen.items():
        first = sum(len(corpus.train) + len(corpus.heldout) for corpus in sources.values())
        encoder = Encoder(tokenizer, name, found.index.section, table)
        sources[name], training, testing = _prepared(config, found, encoder, first, counts[name])
        train[name], heldout[name] = _texts(found, training), _texts(found, testing)
        measured |= frozenset(found.index.texts[testing].tolist())
    seed = config.data.split_seed
    parts = {n: divide(b, Heldout(b.section, seed), seen.values()) for n, b in beginnings.items()}
    measured = measured.union(*(part.measured for part in parts.values()))
    for number, (name, part) in enumerate(parts.items(), 1):
        encoder = Encoder(tokenizer, name, config.sources[name], table)
        apart = Heldout(config.sources[name], seed, measured, part.groups)
        sources[name] = _streamed(config, part, encoder, apart, number * STREAM_IDS)
        heldout[name] = Texts(Fingerprints.of(sources[name].read_heldout()).digest, sources[name].read_heldout)
    overlap = cached_overlap(
        {name: train.get(name) for name in config.sources},
        {name: heldout[name] for name in config.sources if len(sources[name].heldout)},
        config.evaluation.overlap_ngram,
        config.data.cache_dir,
    )
    for name, hit in overlap.hit.items():
        corpus = replace(sources[name], overlapping=hit)
        if config.data.overlap == "drop" and hit.any():
            _require(np.flatnonzero(~hit), name, "is left to hold out", Counter({OVERLAPS: int(hit.sum())}))
            corpus = corpus.without(hit)
        sources[name] = corpus
    return Corpora(table, {name: sources[name] for name in config.sources}, overlap.rows)


def _prepared(
    config: RunConfig, found: _Chosen, encoder: Encoder, first: int, counts: Counts
) -> tuple[Corpus, NDArray[np.int64], NDArray[np.int64]]:
    """The corpus, and which documents of the index are trained on and held out."""
    index, dropped = found.index, found.dropped
    name, section, cache_dir = index.name, index.section, config.data.cache_dir
    contents, where = found.fingerprints.digest, index.where.take(found.documents)
    held, apart = held_out(found.fingerprints, name, section, config.data, found.groups, counts)
    tokens = tokenise(lambda: index.read(found.documents), contents, where, encoder, cache_dir)
    usable = _usable(tokens, dropped)
    training, testing = np.setdiff1d(np.flatnonzero(usable), apart), np.intersect1d(np.flatnonzero(usable), held)
    if section.too_long == "drop":
        long = too_long(tokens, cut(tokens, config.data.sequence_length))[training]
        dropped["longer than a row"] += int(long.sum())
        training = training[~long]
    _require(training, name, "is left to train on", dropped)
    if len(held):
        _require(testing, name, "is left to hold out", dropped)
    corpus = Corpus(
        name=name,
        section=section,
        role=_role(name, section, found.chats),
        train=tokens.subset(training),
        heldout=tokens.subset(testing),
        read_heldout=lambda: index.read(found.documents[testing]),
        documents_read=len(index) + dropped["empty"],
        dropped=dict(+dropped),
        unread=index.unread.sentences(name),
        read_as=index.readings.sentences(name),
        has_pairs=index.readings.pairs,
        passed_over=dict(index.passed_over),
        digest=contents,
        first_document_id=first,
        first_heldout_id=first + len(training),
        heldout_order=drawing_order(found.fingerprints, found.groups, testing, f"heldout:{config.data.split_seed}"),
        groups=tuple(names(found.groups, found.fingerprints, testing)),
        overlapping=np.zeros(len(testing), dtype=bool),
        reserved=counts[0] if section.heldout == AUTO else section.heldout,
        label_notes=tokens.notes,
        turn_end=turn_end(encoder.template) if found.index.templated[found.documents].any() else None,
    )
    return corpus, found.documents[training], found.documents[testing]


def _streamed(config: RunConfig, part: Divided, encoder: Encoder, apart: Heldout, first: int) -> Corpus:
    """The held-out documents of the beginning, a sample of the others, and the stream."""
    name, section = part.name, part.section
    sample = encoded_now(part.sample, encoder, [document.where for document in part.sample])
    if section.too_long == "drop":
        long = too_long(sample, cut(sample, config.data.sequence_length))
        fitting = np.flatnonzero(~long)
        _require(fitting, name, "at its beginning is left to train on", Counter({"longer than a row": int(long.sum())}))
        sample = sample.subset(fitting)
    heldout, order = sample.subset([]), np.empty(0, dtype=np.int64)
    usable = np.empty(0, dtype=np.int64)
    if part.heldout:
        contents, where = Fingerprints.of(part.heldout), [document.where for document in part.heldout]
        heldout = tokenise(lambda: part.heldout, contents.digest, where, encoder, config.data.cache_dir)
        dropped: Counter[str] = Counter()
        usable = np.flatnonzero(_usable(heldout, dropped))
        _require(usable, name, "is left to hold out", dropped)
        order = contents.take(usable).order(f"heldout:{config.data.split_seed}")
    return Corpus(
        name=name,
        section=section,
        role=_role(name, section, sum(document.templated for document in part.sample) / len(part.sample)),
        train=sample,
        heldout=heldout.subset(usable),
        read_heldout=lambda: [part.heldout[i] for i in usable.tolist()],
        documents_read=part.documents_read,
        dropped=None,
        unread=part.unread.sentences(name),
        read_as=part.readings.sentences(name),
        has_pairs=part.readings.pairs,
        passed_over=dict(part.passed_over),
        digest=key_of(Reader(name, section).identity()),
        first_document_id=first + len(usable),
        first_heldout_id=first,
        heldout_order=order,
        groups=tuple(streamed_names([part.heldout[i] for i in usable.tolist()], section)),
        overlapping=np.zeros(len(usable), dtype=bool),
        reserved=numeric(section),
        stream=DocumentStream(name, section, encoder, apart, first + len(usable)),
        label_notes=joined(sample.notes, heldout.notes if part.heldout else ()),
        turn_end=turn_end(encoder.template) if any(document.templated for document in part.sample) else None,
    )


def _check(name: str, section: SourceSection, roles: Iterable[str], chats: bool, tokenizer: Any, among: str) -> None:
    """Refuses settings that no document of the source can use."""
    check_roles(name, section, roles, among)
    if section.too_long == "drop" and not chats and "completion" not in roles:
        raise ConfigError(
            f"sources.{name}.too_long is 'drop', but the source has no chats and no pairs of prompt and completion, so "
            "it would have no effect; plain text is always cut. Leave it out."
        )
    if section.thinking is None:
        return
    if not chats:
        raise ConfigError(
            f"sources.{name}.thinking is '{section.thinking}', but the source has no chats, so it would have no "
            "effect; leave it out."
        )
    check_thinking(tokenizer, name)


def _settled(name: str, section: SourceSection, tokenizer: Any) -> SourceSection:
    """What ``pairs: auto`` means with this tokenizer; ``routes`` that learn halves of pairs have them joined."""
    if section.pairs == "chat" and tokenizer.chat_template is None:
        raise ConfigError(
            f"sources.{name}.pairs is 'chat', but the model's tokenizer has no chat template; joined learns prompt and "
            "completion as they stand."
        )
    if section.pairs != "auto":
        return section
    joined = tokenizer.chat_template is None or bool({"prompt", "completion"} & set(section.routes or ()))
    return section.model_copy(update={"pairs": "joined" if joined else "chat"})


def _check_pairs(name: str, section: SourceSection, readings: Readings, among: str) -> None:
    if section.pairs == "chat" and not readings.pairs:
        raise ConfigError(
            f"sources.{name}.pairs is 'chat', but {among} is a pair of a prompt and a completion that are two strings, "
            "so it would have no effect; leave it out."
        )


def _require(documents: NDArray[np.int64], name: str, what: str, dropped: Counter[str]) -> None:
    if not len(documents):
        reasons = ", ".join(f"{count} {reason}" for reason, count in (+dropped).items()) or "nothing"
        raise DataError(f"sources.{name}: no document {what} (dropped: {reasons}).")


def _usable(tokens: TokenCorpus, dropped: Counter[str]) -> NDArray[np.bool_]:
    """[documents] whether there is a label; the first token of a document is none, having no predecessor."""
    short, silent = tokens.lengths < 2, tokens.labels.sum(1) == 0
    dropped["too short"] += int(short.sum())
    dropped["nothing to learn"] += int((silent & ~short).sum())
    usable: NDArray[np.bool_] = ~(short | silent)
    return usable


def _role(name: str, section: SourceSection, chats: float) -> Role:
    """``chats``: part of the documents that are chats."""
    if section.role is not None:
        return section.role
    if all_domain(name, section):
        return "domain"
    return "chat" if 2 * chats > 1 else "general"


def _texts(found: _Chosen, documents: NDArray[np.int64]) -> Texts:
    chosen = hashlib.sha256(documents.tobytes()).hexdigest()
    return Texts(f"{found.fingerprints.digest} {chosen}", lambda: found.index.read(documents))
