"""Hugging Face at the edge: a hub id, local folder or GGUF file in, a network and a tokenizer out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download, try_to_load_from_cache
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from acclimate.config.schema import ModelSection
from acclimate.kernels.quantised import keep_one_kernel, quantization_config
from acclimate.model.changes import Change, asked, read_changes, replay
from acclimate.model.checkpoint.dense import dense_checkpoint
from acclimate.model.checkpoint.gguf import gguf_of, unpacked_gguf
from acclimate.model.checkpoint.loaded import forget_gguf, say_what_is_tied, say_where_from
from acclimate.model.checkpoint.opening import check_attention, check_library, from_pretrained
from acclimate.model.checkpoint.parts import NotCut, Parts, Split, parts_of, read_whole
from acclimate.model.checkpoint.quantisation import check_quantisation, forget_quantisation, quantisation_of
from acclimate.model.checks.causality import check_causality
from acclimate.model.folder import check_weights
from acclimate.model.mixture.unquantised import check_quantised
from acclimate.model.packing.attention import asked_attention, check_attention_here, choose_attention, set_attention
from acclimate.model.whole.carried import PROCESSOR
from acclimate.model.whole.classes import build, class_of, is_composite
from acclimate.model.whole.noise import Path as Place
from acclimate.model.whole.noise import quieten, switch_off
from acclimate.model.whole.origin import Origin
from acclimate.model.whole.towers import freeze
from acclimate.types.errors import ModelError, reason

CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""Ends of class names of models that write text from left to right; encoder-decoders are told apart by their config."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_tokenizer(section: ModelSection, recorded: Sequence[Change] = ()) -> Any:
    """The model's own tokenizer, with its chat template and what the configuration adds.

    Args:
        recorded: what was done to another model, and is done to this one, too, where it has not gone through it.

    Raises:
        ConfigError, ModelError: it cannot be changed so.
    """
    tokenizer = from_pretrained(AutoTokenizer, section)
    asked(section, tokenizer)
    replay(recorded, tokenizer)
    return tokenizer


def asked_changes(section: ModelSection) -> list[Change]:
    """What the configuration changes in the model that it names."""
    return asked(section, from_pretrained(AutoTokenizer, section)) if section.add_tokens else []


def all_changes(section: ModelSection) -> list[Change]:
    """The same, after what was changed when that model was trained."""
    return [*read_changes(section.path), *asked_changes(section)]


def written_changes(section: ModelSection, whole: bool) -> list[Change]:
    """What a folder records: of a whole model all, of an adapter what is done to the model that it is put on."""
    return all_changes(section) if whole else asked_changes(section)


def load_network(
    section: ModelSection, dtype: torch.dtype, device: torch.device, recorded: Sequence[Change] = ()
) -> Any:
    """The causal language model as Hugging Face builds it, on ``device`` in ``dtype``, with what the configuration
    changes.

    Args:
        recorded: as in :func:`load_tokenizer`.

    A model of several parts is loaded whole; what text never passes is frozen. Its own dropout is off.

    Raises:
        ModelError: it cannot be loaded, or the checkpoint lacks weights that its configuration promises.
    """
    check_attention_here(section, dtype, device)
    factory: Any = AutoModelForCausalLM
    options: dict[str, Any] = {}
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"  # transformers would ask a service to convert pickles
    noise: dict[Place, float] = {}
    if gguf_of(section.path) is None:
        config = load_config_of(section)
        if (quantised := quantisation_of(config)) is not None:
            forget_quantisation(config)
            options["state_dict"] = dense_checkpoint(section.path, section.revision, quantised)
            empty = _structure(section, config)  # an auto class takes no weights without a path
            factory, config = type(empty), empty.config
        else:
            factory = class_of(config)
        noise = switch_off(config)
        options["config"] = config
    else:
        options["quantization_config"] = unpacked_gguf()
    if section.quantization is not None:
        empty_network(section)  # refuses what would not be quantised, before it is loaded
        options["quantization_config"] = quantization_config(dtype)
        options["device_map"] = {"": device}
    network = _read(factory, section, dtype, **options)
    if getattr(network, "_hf_peft_config_loaded", False):
        raise ModelError(
            f"model.path: '{section.path}' holds an adapter, which transformers put on its base; name the base, and "
            "give the adapter to --adapter, or merge it first."
        )
    if "state_dict" in options:  # which is all that transformers was given
        say_where_from(network, section.path, section.revision)
    forget_gguf(network)
    say_what_is_tied(network)
    keep_one_kernel(network)
    check_causality(network, section.path)
    network = changed(network.to(device), section, recorded)
    quieten(network)
    settle_attention(network, section, device)
    if "config" in options:
        noise = _of_part(noise, options["config"], network.config)
    _say_origin(network, section, noise)
    return network


def load_parts(section: ModelSection, dtype: torch.dtype, split: Split) -> Parts:
    """What :func:`load_network` loads, as a network on the meta device and this process's part of its weights.

    Neither the configuration's changes are done to it nor is its attention settled: for that it has to run.

    Raises:
        NotCut: it has to be loaded whole.
        ModelError: as :func:`load_network`.
    """
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    if (why := why_whole(section)) is not None:
        raise NotCut(why)
    config = load_config_of(section)
    noise = switch_off(config)
    network = _built(section, config)
    noise = _of_part(noise, config, network.config)
    distributed = split.config(network)
    loaded = _read(type(network), section, dtype, config=network.config, distributed_config=distributed)
    parts = parts_of(network, loaded)
    say_what_is_tied(network)
    quieten(network)
    _say_origin(network, section, noise)
    return parts


def _read(factory: Any, section: ModelSection, dtype: torch.dtype, **options: Any) -> Any:
    """The network of transformers, whose tensors are those of the checkpoint, by name and shape."""
    network, found = from_pretrained(
        factory,
        section,
        dtype=dtype,
        attn_implementation=asked_attention(section),
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # refused here, with names
        output_loading_info=True,
        **options,
    )
    _check_found(found, section)
    return network


def why_whole(section: ModelSection) -> str | None:
    """Why no process can read a part of this checkpoint, as far as that is known before it is read."""
    if (why := read_whole(section)) is None and quantisation_of(load_config_of(section)) is not None:
        return "its checkpoint is quantised, and is multiplied out a tensor at a time"
    return why


def settle_attention(network: Any, section: ModelSection, device: torch.device) -> None:
    """The one that is asked for, or the fastest under which packed documents do not see each other."""
    if section.attention == "auto":
        choose_attention(network, device)
    else:
        set_attention(network, section.attention, device)


def _check_found(found: Any, section: ModelSection) -> None:
    absent = [*found["missing_keys"], *(entry[0] for entry in found["mismatched_keys"])]
    if absent:
        raise ModelError(
            f"model.path: the weights in '{section.path}' are not those its config.json describes: {len(absent)} "
            f"tensors are missing or of another shape, '{min(absent)}' first; transformers would make them up."
        )


def _say_origin(network: Any, section: ModelSection, noise: dict[Place, float]) -> None:
    folder = _folder_of(section, is_composite(network.config))
    network.origin = Origin(folder, noise | switch_off(network.config), freeze(network))


def changed(network: Any, section: ModelSection, recorded: Sequence[Change] = ()) -> Any:
    """The network after what the configuration changes in it, and what was ``recorded`` of another."""
    if recorded or section.add_tokens:
        tokenizer = from_pretrained(AutoTokenizer, section)
        for change in asked(section, tokenizer):
            change.change_network(network)
        replay(recorded, tokenizer, network)
    return network


def _of_part(noise: dict[Place, float], config: Any, part: Any) -> dict[Place, float]:
    """The places of rates in ``part``, where a class has taken a part of the configuration for its own."""
    if type(part) is type(config):
        return noise
    return {place[1:]: rate for place, rate in noise.items() if type(getattr(config, place[0])) is type(part)}


def _folder_of(section: ModelSection, processor: bool) -> Path | None:
    """Where the files of a loaded checkpoint lie on this machine, with those of a processor; None of a GGUF file."""
    path = Path(os.path.expanduser(section.path))
    if gguf_of(section.path) is not None:
        return None
    if os.path.isdir(path):
        return path.resolve()
    if processor:
        return Path(snapshot_download(section.path, revision=section.revision, allow_patterns=list(PROCESSOR)))
    found = try_to_load_from_cache(section.path, "config.json", revision=section.revision or "main")
    return Path(found).parent if isinstance(found, str) else None


def load_config_of(section: ModelSection) -> Any:
    """The Hugging Face configuration, without weights.

    Raises:
        ModelError: it cannot be loaded, or is not of a causal language model whose weights can be trained.
    """
    config = from_pretrained(AutoConfig, section)
    gguf = gguf_of(section.path)
    if gguf is None and (quantised := quantisation_of(config)) is not None:
        check_quantisation(quantised, section.path, section.dequantize)
    names = getattr(config, "architectures", None) or []
    other = names and not section.trust_remote_code and not any(name.endswith(CAUSAL) for name in names)
    if config.is_encoder_decoder or getattr(config.get_text_config(), "is_encoder_decoder", False) or other:
        raise ModelError(
            f"model.path: '{section.path}' is a {(names or [type(config).__name__])[0]}; acclimate adapts causal "
            "language models (LlamaForCausalLM, Qwen3ForCausalLM ...)."
        )
    folder = Path(os.path.expanduser(section.path))
    if gguf is None and os.path.isdir(folder):
        check_weights(folder)
    return config


def empty_network(section: ModelSection) -> Any:
    """The network's structure on the meta device: names and shapes without weights."""
    return _structure(section, load_config_of(section))


def _structure(section: ModelSection, config: Any) -> Any:
    return changed(_built(section, config), section)


def _built(section: ModelSection, config: Any) -> Any:
    try:
        with torch.device("meta"):
            network = build(config, asked_attention(section), section.trust_remote_code)
        network.origin = Origin(towers=freeze(network))
    except ImportError as error:
        check_library(section, error)
        raise ModelError(f"model.attention: '{section.attention}' is not usable here: {reason(error)}") from None
    except ValueError as error:
        check_attention(section, error)
        raise ModelError(
            f"model.path: '{section.path}' is a {type(config).__name__.removesuffix('Config')} model, which is no "
            "causal language model that transformers knows."
        ) from None
    check_quantised(network, section.quantization)
    return network


def resolve_device(section: ModelSection, local_rank: int = 0) -> torch.device:
    """``auto`` is this process's own GPU where there is one."""
    if section.device != "auto":
        try:
            device = torch.device(section.device)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ModelError(
                f"model.device: '{section.device}' is not usable here ({reason(error)}); accepted: "
                f"auto, cpu{', cuda' if torch.cuda.is_available() else ''}."
            ) from None
        return device
    return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")


def width_of(config: Any) -> int:
    """Of hidden states, by the configuration of a language model; of the widest part, where only parts have it."""
    parts = (config,) if hasattr(config, "hidden_size") else vars(config).values()
    return max(int(getattr(part, "hidden_size", 0)) for part in parts)


def resolve_dtype(device: torch.device, hidden_size: int) -> torch.dtype:
    """bfloat16 on a GPU that has it, and on a CPU whose products of the model's width are plainly faster in it."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return fastest(product_seconds(hidden_size))


def fastest(seconds: dict[torch.dtype, float]) -> torch.dtype:
    """float32, unless bfloat16 takes two thirds of its time: near a tie, runs to be compared would differ."""
    return torch.bfloat16 if seconds[torch.bfloat16] < seconds[torch.float32] / 1.5 else torch.float32


def product_seconds(hidden_size: int) -> dict[torch.dtype, float]:
    """The best time of each dtype's :func:`_product_seconds`; turns are taken, or another process could decide."""
    seconds = {dtype: [_product_seconds(hidden_size, dtype)] for dtype in DTYPES.values()}
    for _ in range(6):
        for dtype, found in seconds.items():
            found.append(_product_seconds(hidden_size, dtype))
    return {dtype: min(found[1:]) for dtype, found in seconds.items()}  # the first call builds the kernel


def _product_seconds(hidden_size: int, dtype: torch.dtype) -> float:
    """One linear layer of the model's width, forward and backward, on 512 tokens."""
    layer = nn.Linear(hidden_size, 4 * hidden_size, bias=False, dtype=dtype)
    inputs = torch.ones(512, hidden_size, dtype=dtype, requires_grad=True)
    start = time.perf_counter()
    layer(inputs).sum().backward()
    return time.perf_counter() - start


@contextmanager
def said_of(key: str) -> Iterator[None]:
    """What is said of ``model.path`` in here is said of the setting that named this model."""
    try:
        yield
    except ModelError as error:
        raise ModelError(str(error).replace("model.path:", f"{key}:", 1)) from None
