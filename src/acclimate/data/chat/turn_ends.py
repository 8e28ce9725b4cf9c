"""Which tokens end a turn, as a run learned them: where its model should stop."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np

from acclimate.data.chat.rendering import turn_end_ids
from acclimate.data.corpus import Corpora
from acclimate.data.prepare.routes import NOT_LEARNED
from acclimate.types.central import RoutedTerm


class Stopping(Protocol):
    """A model that knows what it stops at."""

    network: Any
    tokenizer: Any


def new_turn_ends(corpora: Corpora, model: Stopping, terms: Sequence[RoutedTerm]) -> dict[str, list[Any]]:
    """The ends of turns among the labels that the model does not stop at yet, as plain data for ``data.json``.

    A chat and a rendered pair count alike; of a stream its first documents are looked at.

    Args:
        terms: of the objective; text that is only held to a reference teaches no end.

    Returns:
        ``{ids, tokens, stops_at}``, all of what it should stop at in the last; ``{}`` where there is nothing new.
    """
    tokenizer, eos = model.tokenizer, model.network.generation_config.eos_token_id
    known = [] if eos is None else [eos] if isinstance(eos, int) else list(eos)
    learning = [term for term in terms if term.reference is None or "domain" in term.routes]
    routes = {name for term in learning for name in term.routes}
    new = [end for end in turn_end_ids(tokenizer) if end not in known and _is_learned(end, corpora, routes)]
    if not new:
        return {}
    return {"ids": new, "tokens": list(tokenizer.convert_ids_to_tokens(new)), "stops_at": [*known, *new]}


def _is_learned(token: int, corpora: Corpora, routes: Collection[str]) -> bool:
    for corpus in corpora.sources.values():
        part = corpus.train
        wanted = [k for k, route in enumerate(part.table) if corpora.routes[route].name in routes]
        found = part.routes[part.ids == token]
        if np.isin(found[found != NOT_LEARNED], wanted).any():
            return True
    return False
