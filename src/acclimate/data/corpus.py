"""Every source of a run: read, deduplicated, split, tokenised; what was dropped is counted with its reason."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from acclimate.config import RunConfig
from acclimate.data.chat import check_thinking
from acclimate.data.documents import Document, read_documents
from acclimate.data.overlap import OverlapRow, count_overlap
from acclimate.data.routes import check_roles, extend_table, role_routes, route_table
from acclimate.data.split import held_out, subsample, without_duplicates
from acclimate.data.tokens import TokenCorpus, tokenise
from acclimate.errors import ConfigError, DataError
from acclimate.schema import SourceSection
from acclimate.types import Route

__all__ = ["Corpora", "Corpus", "Role", "load_corpora", "route_table"]

Role = Literal["domain", "general", "chat"]


@dataclass(frozen=True)
class Corpus:
    """One source, ready to be packed."""

    name: str
    section: SourceSection
    role: Role
    train: TokenCorpus
    heldout: TokenCorpus
    heldout_documents: list[Document]  # aligned with heldout
    documents_read: int
    dropped: dict[str, int]  # reason -> documents
    digest: str  # sha256 of the contents of the documents in use
    first_document_id: int  # ids are unique in the run: train documents first, then held-out ones

    @property
    def first_heldout_id(self) -> int:
        return self.first_document_id + len(self.train)

    def where(self, document_id: int) -> str:
        """Place of a document by its id in the run."""
        if document_id < self.first_heldout_id:
            return self.train.where[document_id - self.first_document_id]
        return self.heldout.where[document_id - self.first_heldout_id]


@dataclass(frozen=True)
class Corpora:
    """All sources of a run and the route table their tokens point into."""

    routes: tuple[Route, ...]
    sources: dict[str, Corpus]
    overlap: list[OverlapRow]

    def document_name(self, document_id: int) -> str:
        """``source 'x', path:line`` for an id found in a batch."""
        for corpus in self.sources.values():
            if 0 <= document_id - corpus.first_document_id < len(corpus.train) + len(corpus.heldout):
                return f"source '{corpus.name}', {corpus.where(document_id)}"
        raise KeyError(document_id)


def load_corpora(config: RunConfig, tokenizer: Any) -> Corpora:
    """Reads, deduplicates, subsamples, splits and tokenises every source of the configuration, in its order.

    Raises:
        DataError, ConfigError, ModelError: see the steps; each names the source or the file and line.
    """
    table = route_table(config.sources)
    kept: dict[str, list[Document]] = {}
    read: dict[str, int] = {}
    dropped: dict[str, Counter[str]] = {}
    seen: dict[str, str] = {}
    for name, section in config.sources.items():
        documents, dropped[name] = read_documents(name, section)
        read[name] = len(documents) + dropped[name]["empty"]
        _check(name, section, documents, tokenizer)
        table = extend_table(table, documents)
        unique = without_duplicates(documents, seen, dropped[name])
        _require(unique, name, "is left after removing duplicates", dropped[name])
        kept[name] = subsample(unique, section.max_documents, config.data.split_seed)

    sources: dict[str, Corpus] = {}
    train: dict[str, list[Document]] = {}
    first = 0
    for name, section in config.sources.items():
        documents, reasons = kept[name], dropped[name]
        apart = set(held_out(documents, name, section, config.data.split_seed))
        tokens = tokenise(documents, tokenizer, name, section, table, config.data.cache_dir)
        usable = _usable(tokens, reasons)
        training = [i for i in usable if i not in apart]
        testing = [i for i in usable if i in apart]
        _require(training, name, "is left to train on", reasons)
        if apart:
            _require(testing, name, "is left to hold out", reasons)
        sources[name] = Corpus(
            name=name,
            section=section,
            role=_role(name, section, documents),
            train=tokens.subset(training),
            heldout=tokens.subset(testing),
            heldout_documents=[documents[i] for i in testing],
            documents_read=read[name],
            dropped=dict(reasons),
            digest=hashlib.sha256("".join(document.fingerprint for document in documents).encode()).hexdigest(),
            first_document_id=first,
        )
        train[name] = [documents[i] for i in training]
        first += len(usable)
    heldout = {name: corpus.heldout_documents for name, corpus in sources.items()}
    return Corpora(table, sources, count_overlap(train, heldout, config.evaluation.overlap_ngram))


def _check(name: str, section: SourceSection, documents: Sequence[Document], tokenizer: Any) -> None:
    """Refuses settings that no document of the source can use."""
    check_roles(name, section, documents)
    if section.thinking is None:
        return
    if not any(document.templated for document in documents):
        raise ConfigError(
            f"sources.{name}.thinking is '{section.thinking}', but the source has no chats, so it would have no "
            "effect; leave it out."
        )
    check_thinking(tokenizer, name)


def _require(documents: Sequence[Any], name: str, what: str, dropped: Counter[str]) -> None:
    if not documents:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "nothing"
        raise DataError(f"sources.{name}: no document {what} (dropped: {reasons}).")


def _usable(tokens: TokenCorpus, dropped: Counter[str]) -> list[int]:
    """Documents with at least one label; the first token of a document is none, having no predecessor."""
    usable = []
    for i in range(len(tokens)):
        _, routes, _ = tokens.document(i)
        if len(routes) < 2:
            dropped["too short"] += 1
        elif routes[1:].max() < 0:
            dropped["nothing to learn"] += 1
        else:
            usable.append(i)
    return usable


def _role(name: str, section: SourceSection, documents: Sequence[Document]) -> Role:
    if section.role is not None:
        return section.role
    if set(role_routes(name, section).values()) == {"domain"}:
        return "domain"
    templated = sum(document.templated for document in documents)
    return "chat" if 2 * templated > len(documents) else "general"
