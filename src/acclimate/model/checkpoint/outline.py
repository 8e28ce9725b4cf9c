"""What config.json and the headers of weight files say of a plain decoder, read without torch."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open

from acclimate.model.checks.reach import reach_of
from acclimate.model.folder import check_weights, read_object
from acclimate.types.errors import ModelError

IN_LAYER = re.compile(r"\.\d+\.")
"""In the name of a tensor that belongs to a layer of the decoder."""
OTHERWISE = ("auto_map", "quantization_config", "text_config", "attention_chunk_size", "is_encoder_decoder")
"""Keys of a model whose class decides more than its file says."""


@dataclass(frozen=True)
class Outline:
    """Sizes of a decoder of attention and MLP, and whether it chats."""

    weights: int
    vocabulary: int
    hidden: int
    depth: int
    positions: int
    matrices: tuple[tuple[int, int], ...]
    """Shapes of the linear layers that an adapter is put on."""
    chats: bool
    """Whether its tokenizer has a chat template."""

    def adapter(self, rank: int) -> int:
        """Weights of an adapter on all linear layers, ``rank (in + out)`` each."""
        return sum(rank * (rows + columns) for rows, columns in self.matrices)


def outline_of(path: str) -> Outline | None:
    """Reads the outline of a local folder, or of a hub id that is in the cache.

    Returns:
        None where the files do not tell: experts, a family of several parts or of its own code, quantised weights, a
        GGUF file, anything missing or damaged. Loading the structure then tells, or says what is wrong.
    """
    folder = _folder(path)
    if folder is None:
        return None
    try:
        config = read_object(folder / "config.json")
        shapes = _shapes(folder)
        return _outline(config, shapes, _chats(folder)) if _is_plain(config, shapes) else None
    except (ModelError, KeyError, TypeError, ValueError):
        return None


def _folder(path: str) -> Path | None:
    local = Path(os.path.expanduser(path))
    if local.is_dir():
        return local
    try:
        found = try_to_load_from_cache(path, "config.json")
    except ValueError:  # no hub id
        return None
    return Path(found).parent if isinstance(found, str) else None


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Of every tensor."""
    found: dict[str, tuple[int, ...]] = {}
    for path in check_weights(folder):
        with safe_open(path, framework="np") as file:
            found |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return found


def _is_plain(config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether weights, head and layers are what the names say: no stack, no buffer, no expert, one kind of tie."""
    classes = config.get("architectures") or [""]
    heads = sum(shape == (config["vocab_size"], config["hidden_size"]) for shape in shapes.values())
    return (
        not any(config.get(key) for key in OTHERWISE)
        and not any("expert" in key and value for key, value in config.items())
        and classes[0].endswith("ForCausalLM")
        and _is_known(config["model_type"])
        and config.get("tie_word_embeddings") is (heads == 1)
        and heads in (1, 2)
        and all(len(shape) <= 2 and name.endswith((".weight", ".bias")) for name, shape in shapes.items())
    )


def _is_known(family: str) -> bool:
    """Whether the transformers that is installed has it."""
    spec = find_spec("transformers")
    places = (spec.submodule_search_locations if spec is not None else None) or ()
    return any(Path(place, "models", family).is_dir() for place in places)


def _outline(config: dict[str, Any], shapes: dict[str, tuple[int, ...]], chats: bool) -> Outline:
    decoder = SimpleNamespace(**config)
    decoder.get_text_config = lambda: decoder
    if "max_position_embeddings" not in config:  # its class has one of its own
        raise KeyError("max_position_embeddings")
    return Outline(
        weights=sum(math.prod(shape) for shape in shapes.values()),
        vocabulary=int(config["vocab_size"]),
        hidden=int(config["hidden_size"]),
        depth=int(config["num_hidden_layers"]),
        positions=reach_of(decoder).positions,
        matrices=tuple(
            (shape[0], shape[1]) for name, shape in shapes.items() if len(shape) == 2 and IN_LAYER.search(name)
        ),
        chats=chats,
    )


def _chats(folder: Path) -> bool:
    """By the files in which transformers keeps a template."""
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    return bool(read_object(folder / "tokenizer_config.json").get("chat_template"))
