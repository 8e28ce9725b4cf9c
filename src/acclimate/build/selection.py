"""Labels that a method does not learn are taken out of the corpora before rows are packed.

They become context like any other, so that trained tokens, shares, budgets and steps count what is learned. The base's
nats are kept in the cache: ranks and resumed runs choose alike, and another threshold costs no second forward.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from acclimate.build.plan import Composition
from acclimate.config.load import RunConfig
from acclimate.data.corpus import Corpora, Corpus, Mask
from acclimate.data.deal.pack import PackedSource, Row, build_batch
from acclimate.data.prepare.ranges import concatenated
from acclimate.data.prepare.routes import NOT_LEARNED
from acclimate.data.prepare.store import Writer, is_stored, key_of, stored
from acclimate.data.prepare.tokens import TokenCorpus
from acclimate.kernels.chunk_size import CE_COPIES, chunk_size
from acclimate.kernels.projection import Projection
from acclimate.model.causal import CausalModel
from acclimate.model.identity import model_digest
from acclimate.parallel.shard import release
from acclimate.parallel.world import SOLO, World, in_turns
from acclimate.types.central import IGNORE
from acclimate.types.errors import ConfigError, DataError


@dataclass(frozen=True)
class _Labels:
    """Of the training documents, one after the other: n tokens, and which of them are labels that may be taken out."""

    at: NDArray[np.int64]  # [n] place in the arrays of the corpus
    document: NDArray[np.int64]  # [n]
    chosen: NDArray[np.bool_]  # [n]
    first: NDArray[np.bool_]  # [n] the label before it is not chosen

    @classmethod
    def of(cls, corpus: TokenCorpus, routes: NDArray[np.bool_]) -> _Labels:
        at = concatenated(corpus.bounds[:, 0], corpus.lengths)
        document = np.repeat(np.arange(len(corpus)), corpus.lengths)
        chosen = np.append(routes[corpus.table], False)[corpus.routes[at]]  # NOT_LEARNED is -1
        chosen[np.cumsum(corpus.lengths) - corpus.lengths] = False  # a document's first token is no label
        return cls(at, document, chosen, chosen & ~np.append(False, chosen[:-1]))


def check_selection(composition: Composition, corpora: Corpora) -> None:
    """Refuses a streamed source whose labels a method wants to choose from.

    Raises:
        ConfigError: it names the source.
    """
    for name, corpus in corpora.sources.items():
        if corpus.stream is not None and _routes(composition, corpora)[corpus.train.table].any():
            raise ConfigError(
                f"sources.{name}.streaming: the method scores every label with the base before training, and of a "
                "streamed source only the beginning is read by then; leave streaming out."
            )


def select_labels(
    config: RunConfig, composition: Composition, corpora: Corpora, model: CausalModel, world: World = SOLO
) -> Corpora:
    """The corpora without the labels that the method leaves out.

    Args:
        model: untrained, so that it is its own base.
        world: whose ranks score together, where the model is spread over them.

    Raises:
        ConfigError: a source is streamed.
        DataError: nothing of a source is left to learn.
    """
    if (selection := composition.selection) is None:
        return corpora
    check_selection(composition, corpora)
    routes = _routes(composition, corpora)
    trained = {name: corpus for name, corpus in corpora.sources.items() if config.sources[name].share != 0}
    reached = {name: corpus for name, corpus in trained.items() if routes[corpus.train.table].any()}
    labels = {name: _Labels.of(corpus.train, routes) for name, corpus in reached.items()}
    used = {name: corpus for name, corpus in reached.items() if labels[name].chosen.any()}
    if not used:  # refused later, with every route that no token is on
        return corpora
    nats = {name: base_nats(config, corpus, labels[name], routes, model, world) for name, corpus in used.items()}
    first = [labels[name].first[labels[name].chosen] for name in used]
    learned = selection(np.concatenate([nats[name] for name in used]), np.concatenate(first))
    parts = np.split(learned, np.cumsum([len(nats[name]) for name in used])[:-1])
    sources = dict(corpora.sources)
    for (name, corpus), kept in zip(used.items(), parts, strict=True):
        if not kept.any():
            raise DataError(
                f"sources.{name}: the method masks all of its {len(kept):,} labels (the base's median perplexity is "
                f"{np.exp(np.median(nats[name])):.3g}); raise its threshold, or let it mask by percentile."
            )
        sources[name] = _without(corpus, labels[name], kept)
    return replace(corpora, sources=sources)


def _routes(composition: Composition, corpora: Corpora) -> NDArray[np.bool_]:
    """[routes] those of the terms with a selection."""
    names = {name for routed in composition.terms if routed.selection is not None for name in routed.routes}
    return np.array([route.name in names for route in corpora.routes])


def base_nats(
    config: RunConfig,
    corpus: Corpus,
    labels: _Labels,
    routes: NDArray[np.bool_],
    model: CausalModel,
    world: World = SOLO,
) -> NDArray[np.float32]:
    """[chosen labels] cross-entropy of each under the model as it is, with the context it has in training."""
    train = corpus.train
    tokens = hashlib.sha256(train.ids[labels.at].tobytes())
    tokens.update(labels.chosen.tobytes() + train.bounds.tobytes())
    identity = {
        "model": model_digest(config.model),
        "settings": config.model.model_dump(include={"dtype", "quantization", "attention"}),
        "computed in": str(model.dtype),
        "sequence_length": config.data.sequence_length,
        "tokens": tokens.hexdigest(),
    }

    def scored() -> NDArray[np.float32]:
        source = PackedSource(train, corpus.name, config.data.sequence_length, routes, seed=0)
        rows, size = source.rows_in_order(), config.training.micro_batch_size
        offsets = np.cumsum(train.lengths) - train.lengths
        found = np.zeros(len(labels.at), dtype=np.float32)
        starts = range(0, len(rows), size)
        for own in in_turns(world, starts[world.rank :: world.size]):
            start = own or 0  # a rank that has no more helps the others to gather weights
            batch = [rows[i] for i in range(start, min(start + size, len(rows)))]
            _score(batch, offsets, found if own is not None else found.copy(), config.objective.chunk_tokens, model)
        world.sum(torch.from_numpy(found))  # a label is in one row
        release(model)
        return found[labels.chosen]

    def fill(writer: Writer) -> dict[str, Any]:
        writer.append("nats", nats if nats is not None else scored())
        return {}

    cache, key, nats = config.data.cache_dir, key_of(identity), None
    if world.size > 1:
        if not all(world.gather(is_stored(cache, "base_nats", key))):
            nats = scored()
        return world.main_first(lambda: stored(cache, "base_nats", key, fill).arrays["nats"])
    return stored(cache, "base_nats", key, fill).arrays["nats"]


def _score(
    rows: list[Row],
    offsets: NDArray[np.int64],
    found: NDArray[np.float32],
    chunk_tokens: int | Literal["auto"],
    model: CausalModel,
) -> None:
    """Puts the nats of the rows' labels where they belong in ``found``."""
    batch = build_batch(rows).to(model.device)
    places = np.full(tuple(batch.labels.shape), -1, dtype=np.int64)
    for b, row in enumerate(rows):
        at = 0
        for piece in row.pieces:
            last = offsets[piece.document] + piece.stop  # what stands before its own labels is IGNORE
            places[b, at : at + piece.length] = np.arange(last - piece.length, last)
            at += piece.length
    with model.inference():
        hidden = model(batch).flatten(0, 1)
        head = Projection(model.head, torch.promote_types(model.dtype, torch.float32))
        label = batch.labels.flatten()
        size = chunk_size(model.device, model.vocabulary, False, CE_COPIES) if chunk_tokens == "auto" else chunk_tokens
        for positions in torch.split((label != IGNORE).nonzero().squeeze(1), size):
            nats = torch.nn.functional.cross_entropy(head.logits(hidden[positions]), label[positions], reduction="none")
            found[places.reshape(-1)[positions.cpu().numpy()]] = nats.float().cpu().numpy()


def _without(corpus: Corpus, labels: _Labels, learned: NDArray[np.bool_]) -> Corpus:
    """The corpus with labels that are not ``learned`` [chosen labels] as context."""
    masked = np.flatnonzero(labels.chosen)[~learned]
    routes, counts = np.array(corpus.train.routes), np.array(corpus.train.labels)
    np.subtract.at(counts, (labels.document[masked], routes[labels.at[masked]]), 1)
    routes[labels.at[masked]] = NOT_LEARNED
    mask = Mask(float((~learned).mean()), hashlib.sha256(np.packbits(learned).tobytes()).hexdigest())
    return replace(corpus, train=replace(corpus.train, routes=routes, labels=counts), mask=mask)
