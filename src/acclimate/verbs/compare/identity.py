"""What a configuration trains, apart from where things are and how the work is spread."""

from __future__ import annotations

from typing import Any

from acclimate.config.apart import SAME_WORK, without
from acclimate.config.load import RunConfig


def identity(config: RunConfig) -> dict[str, Any]:
    """Plain data, equal for equal work on any machine.

    Only what differs from the defaults counts, so that a new setting does not make an old table worthless.
    """
    plain = _with_all_sections(config.model_dump(mode="json", exclude_defaults=True))
    if plain["model"].get("attention") == "sdpa":  # what older tables, whose default it was, do not have in their keys
        del plain["model"]["attention"]
    return without(plain, RunConfig, SAME_WORK)


def _with_all_sections(plain: dict[str, Any]) -> dict[str, Any]:
    """These three were always in the keys of tables, empty or not."""
    return plain | {name: plain.get(name, {}) for name in ("model", "data", "training")}
