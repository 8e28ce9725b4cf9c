"""What a network must know of itself once its checkpoint is loaded, so that what is saved of it loads again."""

from __future__ import annotations

import os
from typing import Any

from transformers import GenerationConfig


def say_what_is_tied(network: Any) -> None:
    """A checkpoint with another head than its embeddings stays untied, whatever its config.json says.

    So does what is exported, also to readers that ask only the configuration.
    """
    embeddings, head = network.get_input_embeddings(), network.get_output_embeddings()
    if head is None or embeddings is None or embeddings.weight is head.weight:
        return
    for config in (network.config, network.config.get_text_config()):
        if getattr(config, "tie_word_embeddings", False):
            config.tie_word_embeddings = False


def say_where_from(network: Any, path: str, revision: str | None) -> None:
    """The name and the generation settings, which ``from_pretrained`` reads where it is given a path."""
    network.config.name_or_path = path
    place = os.path.expanduser(path)
    local = os.path.isdir(place)
    try:
        network.generation_config = GenerationConfig.from_pretrained(
            place if local else path, revision=revision, local_files_only=local
        )
    except OSError:  # there are none: those of the network's configuration stay
        return


def forget_gguf(network: Any) -> None:
    """A GGUF checkpoint is dequantised while loading; without this it could not be saved again."""
    quantiser = getattr(network, "hf_quantizer", None)
    if quantiser is not None and type(quantiser.quantization_config).__name__ == "GgufConfig":
        del network.config.quantization_config
        network.hf_quantizer = None
        network.is_quantized = False
