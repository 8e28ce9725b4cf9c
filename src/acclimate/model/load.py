"""Hugging Face at the edge: a hub id, local folder or GGUF file in, a network and a tokenizer out."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from acclimate.digest import sha256_of
from acclimate.errors import ModelError
from acclimate.model.attention import PACKED_SDPA
from acclimate.schema import LoraSection, ModelSection

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_tokenizer(section: ModelSection) -> Any:
    """The model's own tokenizer, with its chat template."""
    return _from_pretrained(AutoTokenizer, section)


def load_network(section: ModelSection, dtype: torch.dtype, device: torch.device) -> Any:
    """The causal language model as Hugging Face builds it, on ``device`` in ``dtype``."""
    options: dict[str, Any] = {}
    if not section.path.endswith(".gguf"):
        options["config"] = without_dropout(load_config_of(section))
    network = _from_pretrained(
        AutoModelForCausalLM,
        section,
        dtype=dtype,
        attn_implementation=section.attention,
        use_safetensors=True,
        **options,
    )
    forget_quantisation(network)
    if device.type == "cpu" and network.config._attn_implementation == "sdpa":
        network.set_attn_implementation(PACKED_SDPA)
    return network.to(device)


def without_dropout(config: Any) -> Any:
    """Switches the model's own dropout off (a few old families have it): the reference runs without it, and the
    divergence of an untouched model must be 0 [ours]. A LoRA adapter's dropout is its own."""
    for name, value in vars(config).items():
        if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
            setattr(config, name, 0.0)
    return config


def forget_quantisation(network: Any) -> None:
    """A GGUF checkpoint is dequantised while loading; without this it could not be saved again."""
    quantiser = getattr(network, "hf_quantizer", None)
    if quantiser is not None and type(quantiser.quantization_config).__name__ == "GgufConfig":
        del network.config.quantization_config
        network.hf_quantizer = None
        network.is_quantized = False


def load_config_of(section: ModelSection) -> Any:
    """The Hugging Face configuration, without weights."""
    return _from_pretrained(AutoConfig, section)


def empty_network(section: ModelSection) -> Any:
    """The network's structure on the meta device: names and shapes without weights."""
    config = load_config_of(section)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(
                config, trust_remote_code=section.trust_remote_code, attn_implementation=section.attention
            )
    except ImportError as error:
        raise ModelError(
            f"model.attention: '{section.attention}' is not usable here: {str(error).splitlines()[0]}"
        ) from None
    except ValueError:
        raise ModelError(
            f"model.path: '{section.path}' is a {type(config).__name__.removesuffix('Config')} model, which is no "
            "causal language model that transformers knows."
        ) from None


def attach_lora(network: Any, section: LoraSection) -> Any:
    """Wraps ``network`` with a fresh PEFT adapter (B = 0, so the outputs are the base's).

    Raises:
        ModelError: ``target_modules`` matches nothing, or adapts the output head.
    """
    from peft import LoraConfig, get_peft_model

    try:
        peft = get_peft_model(
            network,
            LoraConfig(
                r=section.rank,
                lora_alpha=section.alpha,  # type: ignore[arg-type, unused-ignore]
                lora_dropout=section.dropout,
                target_modules=section.target_modules,
                use_rslora=section.rslora,
                task_type="CAUSAL_LM",
            ),
            autocast_adapter_dtype=False,  # masters are float32; an adapter in float32 would cast every activation
        )
    except ValueError as error:
        linear = sorted({name.split(".")[-1] for name, m in network.named_modules() if isinstance(m, nn.Linear)})
        raise ModelError(
            f"lora.target_modules: {section.target_modules!r} fits no part of this model that LoRA can adapt; "
            f"its linear layers are called {', '.join(linear)}. (PEFT: {str(error).splitlines()[0]})"
        ) from None
    if any("lora_embedding" in name for name, _ in network.named_parameters()):
        raise ModelError("lora.target_modules adapts the embeddings, which acclimate keeps frozen; leave them out.")
    head = network.get_output_embeddings()
    if any("lora_" in name for name, _ in head.named_parameters()):
        raise ModelError(
            "lora.target_modules adapts the output head, which acclimate keeps frozen under LoRA; "
            "use 'all-linear' or name the layers without it."
        )
    return peft


def resolve_device(section: ModelSection, local_rank: int = 0) -> torch.device:
    """``auto`` is this process's own GPU where there is one."""
    if section.device != "auto":
        try:
            device = torch.device(section.device)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ModelError(
                f"model.device: '{section.device}' is not usable here ({str(error).splitlines()[0]}); accepted: "
                f"auto, cpu{', cuda' if torch.cuda.is_available() else ''}."
            ) from None
        return device
    return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")


def resolve_dtype(device: torch.device, hidden_size: int) -> torch.dtype:
    """bfloat16 on a GPU that has it; on a CPU whichever runs a forward and backward product faster."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return fastest(product_seconds(hidden_size))


def fastest(seconds: dict[torch.dtype, float]) -> torch.dtype:
    return min(seconds, key=lambda dtype: seconds[dtype])


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


def model_digest(section: ModelSection, network: Any) -> str:
    """What identifies the base: hub commit, or sha256 over the local weight files."""
    path = Path(os.path.expanduser(section.path))
    if path.is_file():
        return f"sha256:{sha256_of([path])}"
    if path.is_dir():
        return f"sha256:{sha256_of(sorted(path.glob('*.safetensors')) or sorted(path.glob('*.gguf')))}"
    return f"hub:{getattr(network.config, '_commit_hash', None) or section.revision or 'main'}"


def _from_pretrained(factory: Any, section: ModelSection, **options: Any) -> Any:
    path = Path(os.path.expanduser(section.path))
    location: str = section.path
    if section.path.endswith(".gguf"):
        if not path.is_file():
            raise ModelError(f"model.path: there is no GGUF file '{section.path}'.")
        location, options["gguf_file"] = str(path.parent), path.name
    elif path.is_dir():
        if not (path / "config.json").is_file():
            found = ", ".join(sorted(entry.name for entry in path.iterdir())[:6]) or "nothing"
            raise ModelError(
                f"model.path: the folder '{section.path}' holds no config.json (it holds {found}); give a folder "
                "written by save_pretrained, a .gguf file, or a hub id."
            )
        location = str(path)
    elif path.is_file() or section.path.startswith((".", "/", "~")) or section.path.count("/") > 1:
        raise ModelError(
            f"model.path: '{section.path}' is no model folder or .gguf file; give a folder written by "
            "save_pretrained, a .gguf file, or a hub id such as 'HuggingFaceTB/SmolLM2-135M-Instruct'."
        )
    else:
        options["revision"] = section.revision
    try:
        return factory.from_pretrained(location, trust_remote_code=section.trust_remote_code, **options)
    except Exception as error:  # transformers raises many types; each becomes one sentence with its first line
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"model.path: '{section.path}' brings its own code, which is not run unless you ask for it: "
                "read that code, then set model.trust_remote_code: true."
            ) from None
        place = f"there is no folder '{section.path}' in {os.getcwd()}, and as a hub id it"
        if "revision" not in options:
            place = f"'{section.path}'"
        raise ModelError(f"model.path: {place} could not be loaded: {reason}") from None
