"""Keys of tables from acclimate 0.1, whose defaults were others, still mean what they meant."""

from __future__ import annotations

from typing import Any

from acclimate.config.load import parse_config
from acclimate.verbs.compare.identity import identity


def sources(**given: dict[str, Any]) -> Any:
    whole = {name: {"path": name} | own for name, own in given.items()}
    return identity(parse_config({"model": {"path": "a"}, "sources": whole, "budget": {"steps": 1}}))["sources"]


def test_old_defaults_are_no_part_of_a_key_and_new_ones_are() -> None:
    before = {"heldout": 0.05, "share": None}
    assert sources(domain=before, general=before) == {"domain": {}, "general": {}}
    assert sources(domain={}, general={}) == {
        "domain": {"heldout": "auto"},
        "general": {"heldout": "auto"},
    }  # half each
    three = sources(domain={}, faq={"route": "domain"}, general={})
    assert [section["share"] for section in three.values()] == ["auto"] * 3
    given = sources(domain={"share": 0.5, "heldout": 8}, general={"share": 0.5, "heldout": 8})
    assert given["domain"] == {"share": 0.5, "heldout": 8}
