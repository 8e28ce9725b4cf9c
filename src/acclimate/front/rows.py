"""Text that is mixed at shares of trained tokens and packed into the micro-batches of optimizer steps."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from acclimate.build.mixture import mix as mixed
from acclimate.config.chosen.online import ONLINE
from acclimate.config.explain import Places
from acclimate.config.load import RunConfig, parse_config, with_absolute_paths
from acclimate.config.source_schema import AUTO, SELF
from acclimate.data.corpus import load_corpora
from acclimate.data.deal.shares import Scheduled, constant, linear
from acclimate.front.packed import Packed
from acclimate.objective.cross_entropy import CrossEntropy
from acclimate.objective.objective import Objective
from acclimate.types.central import RoutedTerm
from acclimate.types.errors import UsageError, nearest

Paths = str | Path | Sequence[str | Path]
SELDOM = 0.05
"""Part of the steps without a token of a route, from which on that is said."""


@dataclass(frozen=True)
class Text:
    """Where text is and how it is read, as ``text`` says it."""

    settings: Mapping[str, Any]


def text(
    path: Paths, *, route: str | None = None, heldout: float | int | Literal["auto"] = AUTO, **settings: Any
) -> Text:
    """Documents of one source, for ``mix``.

    Args:
        path: file, folder, glob or URL of .txt, .md, .jsonl, .csv, .tsv or .parquet, a hub id, or a list of them.
        route: the route of its learned tokens, which loss terms name in ``on``; by default the source's name.
        heldout: documents that are never trained on: a share below 1, a count, or auto: 5 %, but enough to judge by.
        settings: what else ``sources.NAME`` of a configuration knows: ``fields``, ``format``, ``max_documents``,
            ``streaming`` ...

    Raises:
        UsageError: a share, which ``mix`` takes.

    >>> text("wiki.jsonl", route="general", fields={"text": "body"}).settings["route"]
    'general'
    """
    if "share" in settings:
        raise UsageError("text: share belongs to mix, which knows all sources: mix({...}, shares={...}).")
    given = [str(one) for one in path] if not isinstance(path, str | Path) else str(path)
    return Text({"path": given, "heldout": heldout} | ({} if route is None else {"route": route}) | settings)


class Shares(Scheduled):
    """Which part of the trained tokens each source gets, as a function of the tokens so far.

    Args:
        shares: of each source, constant; or trained tokens of all sources -> shares of each, between which they go in
            straight lines, from 0 on.

    Raises:
        ConfigError: a share below 0, knots of unlike sources, or none at 0.

    >>> Shares({"law": 1, "web": 3})(500)
    {'law': 0.25, 'web': 0.75}
    >>> Shares({0: {"law": 0.25, "web": 0.75}, 1000: {"law": 0.75, "web": 0.25}})(500)
    {'law': 0.5, 'web': 0.5}
    """

    def __init__(self, shares: Mapping[str, float] | Mapping[float, Mapping[str, float]]) -> None:
        knots = [value for value in shares.values() if isinstance(value, Mapping)]
        moving = bool(knots) or not shares
        super().__init__((linear(shares) if moving else constant(shares)).pieces)  # type: ignore[arg-type]

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(self(0.0))


def mix(
    sources: Mapping[str, Text | Paths],
    shares: Mapping[str, float | Mapping[float, float]] | Shares | None = None,
    *,
    mixture: Mapping[str, Any] | None = None,
    seed: int = 0,
    cache_dir: str | Path | None = None,
) -> Mix:
    """Text of several sources at shares that are counted in trained tokens.

    No source is ever more than one row away from its share, and nothing about the order is random but the seed.

    Args:
        sources: by name, what ``text`` gives, or a path alone.
        shares: of each source a number, or stages by the part of the run from which on each holds; or ``Shares`` that
            move with the tokens; by default as a configuration without ``share`` has it.
        mixture: a rule in place of shares, as ``mixture`` of a configuration: ``{"temperature": {0: 5, 0.5: 1}}``.
        seed: of the order of documents.
        cache_dir: where prepared corpora are kept; by default ``~/.cache/acclimate``.

    Raises:
        UsageError: no source, shares of other sources, or shares beside a rule.
        ConfigError: a setting of a source is wrong.

    >>> rows = mix({"domain": "medical.jsonl", "general": "wiki.jsonl"}, shares={"domain": 0.5, "general": 0.5})
    >>> rows.config.sources["domain"].share
    0.5
    >>> late = mix({"domain": "law.jsonl", "general": "wiki.jsonl"}, shares={"domain": {0: 1, 0.8: 3}, "general": 1})
    >>> late.config.sources["domain"].share
    {0.0: 0.5, 0.8: 0.75}
    """
    if not sources:
        raise UsageError('mix: there is no source; give at least {"domain": "FILE"}.')
    given = {name: one if isinstance(one, Text) else text(one) for name, one in sources.items()}
    if shares is not None:
        named = shares.sources if isinstance(shares, Shares) else tuple(shares)
        if set(named) != set(given):
            odd = next(name for name in (*named, *given) if (name in named) != (name in given))
            what = "there is no such source" if odd in named else "it has no share"
            raise UsageError(f"mix: shares and sources differ at '{odd}': {what}.{nearest(odd, given)}")
    if own := next((name for name, one in given.items() if one.settings["path"] in (SELF, [SELF])), None):
        raise UsageError(
            f"mix: '{own}' is to be written by the base, which needs a run; `acclimate replay` writes such rows to a "
            "file, whose path is accepted."
        )
    if mixture is not None and shares is not None:
        raise UsageError("mix: shares and mixture are both given, and each says what the other would; keep one.")
    ramp = (mixture or {}).get("ramp")
    if isinstance(ramp, Mapping) and "drift" in ramp:
        raise UsageError("mix: a ramp that follows drift needs a run, which measures it; give until in place of drift.")
    if rule := next((name for name in ONLINE if name in (mixture or {})), None):
        raise UsageError(
            f"mix: mixture.{rule} needs a run, which measures its sources; a loop of your own gives Shares."
        )
    fixed = _of_run(shares) if shares is not None and not isinstance(shares, Shares) else {}
    data: dict[str, Any] = {
        "seed": seed,
        "model": {"path": "."},  # nobody opens it: the tokenizer is given
        "method": "sft",
        "sources": {
            name: dict(one.settings) | ({"share": fixed[name]} if name in fixed else {}) for name, one in given.items()
        },
        "mixture": None if mixture is None else dict(mixture),
        "budget": {"count": "all", "epochs": 1.0},
        "data": {} if cache_dir is None else {"cache_dir": str(cache_dir)},
    }
    if any(one.settings.get("streaming") for one in given.values()):
        data["budget"] = {"count": "all", "steps": 1}
    config = with_absolute_paths(parse_config(data, Places("mix", {})), keep_missing=True)
    return Mix(config, shares if isinstance(shares, Shares) else None)


def _of_run(shares: Mapping[str, float | Mapping[float, float]]) -> dict[str, float | dict[float, float]]:
    """Shares that sum to 1 in every stage."""
    parts = sorted({0.0, *(part for share in shares.values() if isinstance(share, Mapping) for part in share)})
    if len(parts) == 1 and not any(isinstance(share, Mapping) for share in shares.values()):
        return dict(constant(shares)(0.0))  # type: ignore[arg-type]
    found: dict[str, dict[float, float]] = {name: {} for name in shares}
    for part in parts:
        here = {name: _at(name, share, part) for name, share in shares.items()}
        for name, share in constant(here)(0.0).items():
            found[name][part] = share
    return dict(found)


def _at(name: str, share: float | Mapping[float, float], part: float) -> float:
    if not isinstance(share, Mapping):
        return share
    if (last := max((at for at in share if at <= part), default=None)) is None:
        raise UsageError(f"mix: no stage of '{name}' begins at 0, where the run does; accepted: {{0: 0.2, 0.8: 0.5}}.")
    return share[last]


@dataclass(frozen=True)
class Mix:
    """What ``mix`` gives: sources and shares, before anything is read.

    Args:
        config: sources and shares as a run's configuration has them.
        moving: shares that move; None: those of the configuration.
    """

    config: RunConfig
    moving: Shares | None = None

    def packed(
        self,
        tokenizer: Any,
        *,
        length: int = 512,
        tokens: int = 2048,
        rows: int = 8,
        epochs: float | None = None,
        steps: int | None = None,
        device: torch.device | str = "cpu",
    ) -> Packed:
        """The steps of a loop: micro-batches of packed rows, every token tagged with its route.

        Reading, duplicates, held-out documents and the cache of tokens are those of a run.

        Args:
            tokenizer: a Hugging Face tokenizer.
            length: most positions in a row [tokens]; a longer document is cut into pieces.
            tokens: trained tokens of an optimizer step, over all sources.
            rows: most rows in a micro-batch.
            epochs: passes over all sources together; 1 unless ``steps`` are given.
            steps: optimizer steps, in place of ``epochs``.
            device: where the batches go.

        Raises:
            UsageError: numbers that do not go together.
            DataError, ConfigError: a source cannot be read or used.
        """
        for name, value in (("length", length), ("tokens", tokens), ("rows", rows), ("steps", steps)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise UsageError(f"packed: {name} is {value!r}; accepted: a whole number of 1 or more.")
        if tokens < length:
            raise UsageError(f"packed: a step of {tokens} tokens is less than a row of {length}; give tokens={length}.")
        if epochs is not None and steps is not None:
            raise UsageError("packed: epochs and steps are both given; keep one.")
        if epochs is not None and not 0 < epochs < math.inf:
            raise UsageError(f"packed: epochs is {epochs!r}; accepted: a number above 0.")
        streamed = next((name for name, source in self.config.sources.items() if source.streaming), None)
        if streamed is not None and steps is None:
            raise UsageError(f"packed: nobody knows how long '{streamed}' is, which is streamed; give steps.")
        how_long = {"steps": steps, "epochs": None} if steps is not None else {"epochs": epochs or 1.0}
        config = self.config.model_copy(
            update={
                "budget": self.config.budget.model_copy(update={"batch_tokens": tokens, **how_long}),
                "data": self.config.data.model_copy(update={"sequence_length": length}),
                "training": self.config.training.model_copy(update={"micro_batch_size": rows}),
            }
        )
        corpora = load_corpora(config, tokenizer)
        names = list(dict.fromkeys(route.name for route in corpora.routes))
        objective = Objective([RoutedTerm(name, CrossEntropy(), (name,)) for name in names], corpora.routes, {})
        mixture = mixed(config, corpora, objective)
        if self.moving is None:
            for name, absent in zip(names, mixture.absent, strict=True):
                if absent > SELDOM:
                    warnings.warn(
                        f"packed: {absent:.0%} of the steps hold no token of the route '{name}', so a term on it pulls "
                        "less than its weight says; raise tokens, or its share.",
                        stacklevel=2,
                    )
        pad = getattr(tokenizer, "pad_token_id", None)
        return Packed(config, corpora, mixture, self.moving, 0 if pad is None else int(pad), torch.device(device))
