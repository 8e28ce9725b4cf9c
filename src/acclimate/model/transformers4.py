"""A folder that transformers 5 wrote, so that transformers 4 reads the same model out of it.

Transformers 4, and servers built on it, know neither ``rope_parameters`` (they take a default base, so other
positions, without a word) nor the class ``TokenizersBackend``. The old names are written beside the new ones, and
are taken back wherever transformers 5 would then read another configuration or other tokens [from code].
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from acclimate.model.folder import read_object

SLIDING = {
    "gemma3_text": "rope_local_base_freq",
    "gemma3n_text": "rope_local_base_freq",
    "modernbert-decoder": "local_rope_theta",
}
"""By model type: the base of a sliding layer's positions, where it has one of its own."""
FULL = {"modernbert-decoder": "global_rope_theta"}
BY_ROTARY = ("gpt_neox", "gpt_neox_japanese")
NOT_SCALING = ("rope_theta", "partial_rotary_factor")
FAST = "PreTrainedTokenizerFast"
"""tokenizer.json as it is, in transformers 4 and 5. Classes of families build parts of it anew in transformers 4:
``LlamaTokenizerFast`` puts its first token before every text [from code]."""
OF_A_CLASS = ("padding_side", "truncation_side", "model_input_names", "clean_up_tokenization_spaces")
"""What a class says where its file says nothing."""
PROBE = "Straße 12 345,\n\n\tdon't  «ß» 中文 🙂 <s> [INST] <|im_start|>"


def readable_by_4(folder: Path) -> list[str]:
    """Adds the old names to ``config.json`` and ``tokenizer_config.json`` of a folder that was just saved.

    Returns:
        A sentence about each file for which that cannot be done.
    """
    notes = []
    config, tokenizer = folder / "config.json", folder / "tokenizer_config.json"
    if config.is_file() and not _positions(config):
        notes.append("transformers 4 does not compute the positions of this model; it needs transformers 5.")
    if (folder / "tokenizer.json").is_file() and tokenizer.is_file() and not _tokenizer(tokenizer):
        notes.append("transformers 4 does not read this tokenizer as it is; it needs transformers 5.")
    return notes


def _positions(path: Path) -> bool:
    """Whether the old names say what the new ones say."""
    before = read_object(path)
    if "auto_map" in before:  # code that ships with the model reads it
        return True
    after = with_old_names(before)
    return after == before or _put(path, after, lambda: AutoConfig.from_pretrained(path.parent).to_dict())


def _put(path: Path, document: Mapping[str, Any], read: Callable[[], Any]) -> bool:
    """Writes it over ``path``, if what is read of the folder stays what it is."""
    text = path.read_text(encoding="utf-8")
    try:
        meant = read()
        path.write_text(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        alike = _holds(read(), meant)
    except Exception:  # a class may refuse a name with any error
        alike = False
    if not alike:
        path.write_text(text, encoding="utf-8")
    return alike


def _holds(found: Any, meant: Any) -> bool:
    """Whether all of ``meant`` is there, with whatever else there is."""
    if isinstance(meant, dict) and isinstance(found, dict):
        return all(name in found and _holds(found[name], value) for name, value in meant.items())
    return bool(found == meant)


def with_old_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """
    >>> with_old_names({"model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_theta": 1e5}})[
    ...     "rope_theta"
    ... ]
    100000.0
    """
    found = {name: with_old_names(part) if isinstance(part, dict) else part for name, part in config.items()}
    if "num_local_experts" in config:
        found.setdefault("num_experts", config["num_local_experts"])
    rope, kind = config.get("rope_parameters"), config.get("model_type", "")
    if not isinstance(rope, dict):
        return found
    if "sliding_attention" in rope or "full_attention" in rope:
        full, sliding = rope.get("full_attention") or {}, rope.get("sliding_attention") or {}
        if kind in SLIDING and "rope_theta" in sliding:
            found[SLIDING[kind]] = sliding["rope_theta"]
    else:
        full = rope
    if "rope_theta" in full:
        found[FULL.get(kind, "rope_theta")] = full["rope_theta"]
    if "partial_rotary_factor" in full:
        found["partial_rotary_factor"] = full["partial_rotary_factor"]
    if kind in BY_ROTARY:
        found |= {"rotary_emb_base": full.get("rope_theta"), "rotary_pct": full.get("partial_rotary_factor")}
    if full.get("rope_type", "default") != "default":
        found["rope_scaling"] = {name: value for name, value in full.items() if name not in NOT_SCALING}
    return found


def _tokenizer(path: Path) -> bool:
    """Whether a class that both versions have reads the same tokens."""
    before = read_object(path)
    if "auto_map" in before:
        return True
    after: dict[str, Any] = {name: value for name, value in before.items() if name not in ("is_local", "backend")}
    tokenizer = AutoTokenizer.from_pretrained(path.parent)
    after |= {name: getattr(tokenizer, name) for name in OF_A_CLASS} | {"tokenizer_class": FAST}
    if isinstance(after.get("extra_special_tokens"), list):  # a mapping there
        after["additional_special_tokens"] = after.pop("extra_special_tokens")
    return _put(path, after, lambda: _tokens(AutoTokenizer.from_pretrained(path.parent)))


def _tokens(tokenizer: Any) -> tuple[Any, ...]:
    text = PROBE + "".join(tokenizer.all_special_tokens)
    ids, own = tokenizer(text)["input_ids"], [getattr(tokenizer, name) for name in OF_A_CLASS]
    return ids, tokenizer.decode(ids), tokenizer.special_tokens_map, tokenizer.chat_template, own
