"""What of each source is learned, where a row or the chat template makes it other than meant."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from transformers import GenerationConfig

from acclimate.config.load import RunConfig
from acclimate.config.schema import ModelSection
from acclimate.data.chat.rendering import TurnEnd
from acclimate.data.corpus import Corpora


def label_notes(config: RunConfig, corpora: Corpora, tokenizer: Any) -> Iterator[tuple[str, str]]:
    """Source and sentence: what rows carry that is not read or not learned, and turns that do not end."""
    stops: set[int] | None = None
    for name, corpus in corpora.sources.items():
        yield from ((name, f"source '{name}': {note}") for note in corpus.label_notes)
        if corpus.turn_end is not None:
            stops = _stops(config.model, tokenizer) if stops is None else stops
            if (sentence := _unending(corpus.turn_end, stops, tokenizer)) is not None:
                yield name, f"source '{name}': {sentence}"


def turn_ends(corpora: Corpora) -> list[str]:
    """One line for each way in which turns end, all of which are learned."""
    found: dict[TurnEnd, list[str]] = {}
    for name, corpus in corpora.sources.items():
        if corpus.turn_end is not None and (corpus.turn_end.last or corpus.turn_end.earlier):
            found.setdefault(corpus.turn_end, []).append(f"'{name}'")
    return [f"Turns of {', '.join(names)} end with {_shown(end)}" for end, names in found.items()]


def _shown(end: TurnEnd) -> str:
    only = "" if end.last == end.earlier else " (the last)"
    added = " The chat template leaves it out behind the last answer, so it is put there." if end.added else ""
    return f"{end.last!r}{only}, which is learned.{added}"


def _unending(end: TurnEnd, stops: set[int], tokenizer: Any) -> str | None:
    if not end.last:
        return (
            "the chat template ends no answer, and the tokenizer has no eos, so no end is learned, and a tuned model "
            "may run on; name an eos in tokenizer_config.json."
        )
    if not end.ids:
        return (
            f"answers end with the text {end.last!r}, which is learned but no token of its own: generation stops there "
            "only if it is given as a stop string."
        )
    if end.ids[0] not in stops:
        others = ", ".join(repr(tokenizer.convert_ids_to_tokens(i)) for i in sorted(stops)) or "none"
        return (
            f"answers end with {end.last!r}, which is learned, but the base stops elsewhere (its eos: {others}); a "
            "whole model that is tuned here stops at both, and beside an adapter what generates must be told so."
        )
    return None


def _stops(section: ModelSection, tokenizer: Any) -> set[int]:
    """Token ids at which the base stops: of its generation_config.json, else its tokenizer's eos."""
    path = os.path.expanduser(section.path)
    local = os.path.isdir(path)
    try:
        given = GenerationConfig.from_pretrained(
            path if local else section.path, revision=None if local else section.revision, local_files_only=local
        ).eos_token_id
    except (OSError, ValueError):  # there is none, or it is not a model folder
        given = None
    ids = given if isinstance(given, list) else [given]
    return {i for i in ids if i is not None} or {tokenizer.eos_token_id} - {None}
