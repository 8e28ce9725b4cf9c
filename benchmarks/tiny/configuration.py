"""Any family's configuration in a few thousand parameters: one rule for all, and what the rule does not know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from benchmarks.tiny.population import VARIANTS
from benchmarks.tiny.repairs import DROP, REPAIRS
from benchmarks.tiny.sizes import DROPOUT, FREE, SIZES, TOKENS, VOCABULARY
from transformers import PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

SPECIAL_TOKEN = re.compile(r"_token_(id|index)$|_(start|end|newline|patch)_id$")
DROPS = re.compile(r"dropout|dropout_rate|dropout_prob|\w*_dropout|\w*_dropout_prob|\w*_pdrop|attention_dropout_p")


def tiny_config(family: str) -> Any:
    """The configuration of a family, or of a variant of one."""
    return _tiny(CONFIG_MAPPING[VARIANTS.get(family, family)], family, "")


def _tiny(kind: Any, family: str, place: str) -> Any:
    """A configuration of type ``kind`` at ``place`` ("" or "text_config." ...), and those within it."""
    default = kind()
    settings = shrunk(default)
    for key, value in _settings(default):
        if isinstance(value, PretrainedConfig):
            settings[key] = _tiny(type(value), family, f"{place}{key}.")
    for repair in REPAIRS:
        if re.fullmatch(repair.families, family) and re.fullmatch(repair.place, place):
            change = repair.change(default) if callable(repair.change) else repair.change
            settings = {key: value for key, value in (settings | change).items() if value is not DROP}
    return kind(**settings)


def _settings(config: Any) -> Iterator[tuple[str, Any]]:
    return ((key, value) for key, value in vars(config).items() if not key.startswith("_"))


def shrunk(default: Any) -> dict[str, Any]:
    """What is set in place of a family's defaults: sizes, special tokens, dropout, and two layers or one of a kind."""
    given = dict(_settings(default))
    free = iter(range(FREE, VOCABULARY))
    found: dict[str, Any] = {}
    for key, value in given.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if key in TOKENS and (isinstance(value, list) or number):
            found[key] = TOKENS[key]
        elif key in SIZES and number:
            found[key] = SIZES[key]
        elif number and SPECIAL_TOKEN.search(key) and value >= VOCABULARY:
            found[key] = next(free, VOCABULARY - 1)
        elif isinstance(value, float) and DROPS.fullmatch(key):
            found[key] = DROPOUT
    if "num_key_value_heads" in found and given["num_key_value_heads"] == given.get("num_attention_heads"):
        found["num_key_value_heads"] = SIZES["num_attention_heads"]  # every head its own keys, as in the family
    return found | _layers(given, found) | _rope(given)


def _layers(given: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Two layers, or as many as there are kinds of them."""
    kinds = {
        key: list(dict.fromkeys(given[key]))
        for key in ("layer_types", "mlp_layer_types")
        if isinstance(given.get(key), list | tuple) and given[key]
    }
    count = max([2, *map(len, kinds.values())])
    changed: dict[str, Any] = {"num_hidden_layers": count} if "num_hidden_layers" in found else {}
    if "layer_types" in kinds:
        changed["layer_types"] = (kinds["layer_types"] * count)[:count]
    if "mlp_layer_types" in kinds:  # dense ones come first
        last = len(kinds["mlp_layer_types"]) - 1
        changed["mlp_layer_types"] = [kinds["mlp_layer_types"][min(at, last)] for at in range(count)]
    return changed


def _rope(given: dict[str, Any]) -> dict[str, Any]:
    rope = given.get("rope_parameters")
    if isinstance(rope, dict) and "mrope_section" in rope:
        return {"rope_parameters": rope | {"mrope_section": [4, 2, 2]}}
    return {}
