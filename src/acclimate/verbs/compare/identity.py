"""What a configuration trains, apart from where things are and how the work is spread."""

from __future__ import annotations

from typing import Any

from acclimate.config.apart import SAME_WORK, without
from acclimate.config.load import RunConfig
from acclimate.config.source_schema import AUTO
from acclimate.data.prepare.routes import has_route

OLD_HELDOUT = 0.05
"""The default of acclimate 0.1, which its tables therefore do not have in their keys."""


def identity(config: RunConfig) -> dict[str, Any]:
    """Plain data, equal for equal work on any machine.

    Only what differs from the defaults counts, so that a new setting does not make an old table worthless.
    """
    plain = _with_all_sections(config.model_dump(mode="json", exclude_defaults=True))
    for name, section in plain["sources"].items():
        if section.get("heldout", AUTO) == AUTO:
            section["heldout"] = AUTO
        elif section["heldout"] == OLD_HELDOUT:
            del section["heldout"]
        if section.get("share", AUTO) == AUTO and not _equal(config, name):
            section["share"] = AUTO
        elif "share" in section and section["share"] is None:
            del section["share"]
    if plain["model"].get("attention") == "sdpa":  # what older tables, whose default it was, do not have in their keys
        del plain["model"]["attention"]
    return without(plain, RunConfig, SAME_WORK)


def _equal(config: RunConfig, name: str) -> bool:
    """Whether a source without a share gets what older tables gave it: an equal part of what the others leave."""
    open_sources = {n: s for n, s in config.sources.items() if s.share == AUTO}
    general = [n for n, s in open_sources.items() if has_route(n, s, "general")]
    return len(open_sources) == 1 or (len(open_sources) == 2 and len(general) == 1)


def _with_all_sections(plain: dict[str, Any]) -> dict[str, Any]:
    """These three were always in the keys of tables, empty or not."""
    return plain | {name: plain.get(name, {}) for name in ("model", "data", "training")}
