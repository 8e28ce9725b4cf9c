"""Which class of transformers a checkpoint is loaded by."""

from __future__ import annotations

from typing import Any

import transformers
from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM, PretrainedConfig


def is_composite(config: Any) -> bool:
    """Whether the language model is one part of several: towers have configurations of their own."""
    return any(isinstance(value, PretrainedConfig) for value in vars(config).values())


def class_of(config: Any) -> Any:
    """The class that loads all of a checkpoint, towers and projectors too, so that all of it can be saved again.

    =======================================  =========================================================================
    ``architectures`` names a class whose    that class, by the auto class that finds it, or by itself where none does
    configuration this is                    (Mistral 4)
    ``architectures`` names a class of the   AutoModelForCausalLM, which takes the language model's configuration
    language model alone
    nothing that transformers has            the auto class of the family; of a composite one, the multimodal one
    =======================================  =========================================================================
    """
    named = _named(config)
    text = config.get_text_config()
    if named is not None and text is not config and named.config_class is type(text):
        return AutoModelForCausalLM
    if named is not None and named.config_class is not type(config):
        named = None
    autos = (AutoModelForCausalLM, AutoModelForMultimodalLM)
    for auto in reversed(autos) if is_composite(config) else autos:
        known = auto._model_mapping
        if type(config) in known and named in (None, known[type(config)]):
            return auto
    return named or AutoModelForCausalLM


def build(config: Any, attention: str | None, remote_code: bool) -> Any:
    """The network that ``config`` describes, with the weights that its class makes up."""
    factory = class_of(config)
    if issubclass(factory, transformers.PreTrainedModel):
        return factory._from_config(config, attn_implementation=attention)
    return factory.from_config(config, trust_remote_code=remote_code, attn_implementation=attention)


def _named(config: Any) -> Any | None:
    """Of transformers itself; a checkpoint's own code is found by the auto classes."""
    for name in getattr(config, "architectures", None) or []:
        found = getattr(transformers, name, None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return found
    return None
