"""Hugging Face at the edge: a hub id, local folder or GGUF file in, a network and a tokenizer out."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download, try_to_load_from_cache
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from acclimate.config.schema import ModelSection
from acclimate.disk.digest import digest_of
from acclimate.kernels.attention import PACKED_SDPA
from acclimate.kernels.quantised import keep_one_kernel, quantization_config
from acclimate.model.checks.causality import check_causality
from acclimate.model.folder import check_weights, explain_folder
from acclimate.model.whole.carried import PROCESSOR
from acclimate.model.whole.classes import build, class_of, is_composite
from acclimate.model.whole.noise import Path as Place
from acclimate.model.whole.noise import quieten, switch_off
from acclimate.model.whole.origin import Origin
from acclimate.model.whole.towers import freeze
from acclimate.types.errors import ModelError, reason

HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""Ends of class names of models that write text from left to right; encoder-decoders are told apart by their config."""
READING = ("config.json", "*token*", "vocab.*", "merges.txt", "chat_template*")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_tokenizer(section: ModelSection) -> Any:
    """The model's own tokenizer, with its chat template."""
    return _from_pretrained(AutoTokenizer, section)


def load_network(section: ModelSection, dtype: torch.dtype, device: torch.device) -> Any:
    """The causal language model as Hugging Face builds it, on ``device`` in ``dtype``.

    A model of several parts is loaded whole; what text never passes is frozen. Its own dropout is off.

    Raises:
        ModelError: it cannot be loaded, or the checkpoint lacks weights that its configuration promises.
    """
    options: dict[str, Any] = {}
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"  # transformers would ask a service to convert pickles
    noise: dict[Place, float] = {}
    factory = AutoModelForCausalLM
    if not section.path.endswith(".gguf"):
        options["config"] = load_config_of(section)
        noise, factory = switch_off(options["config"]), class_of(options["config"])
    if section.quantization is not None:
        options["quantization_config"] = quantization_config(dtype)
        options["device_map"] = {"": device}
    network, found = _from_pretrained(
        factory,
        section,
        dtype=dtype,
        attn_implementation=section.attention,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # refused below, with names
        output_loading_info=True,
        **options,
    )
    absent = [*found["missing_keys"], *(entry[0] for entry in found["mismatched_keys"])]
    if absent:
        raise ModelError(
            f"model.path: the weights in '{section.path}' are not those its config.json describes: {len(absent)} "
            f"tensors are missing or of another shape, '{min(absent)}' first; transformers would make them up."
        )
    if getattr(network, "_hf_peft_config_loaded", False):
        raise ModelError(
            f"model.path: '{section.path}' holds an adapter, which transformers put on its base; name the base, and "
            "give the adapter to --adapter, or merge it first."
        )
    forget_quantisation(network)
    keep_one_kernel(network)
    check_causality(network, section.path)
    if device.type == "cpu" and network.config._attn_implementation == "sdpa":
        network.set_attn_implementation(PACKED_SDPA)
    network = network.to(device)
    quieten(network)
    if "config" in options:
        noise = _of_part(noise, options["config"], network.config)
    folder = _folder_of(section, is_composite(network.config))
    network.origin = Origin(folder, noise | switch_off(network.config), freeze(network))
    return network


def _of_part(noise: dict[Place, float], config: Any, part: Any) -> dict[Place, float]:
    """The places of rates in ``part``, where a class has taken a part of the configuration for its own."""
    if type(part) is type(config):
        return noise
    return {place[1:]: rate for place, rate in noise.items() if type(getattr(config, place[0])) is type(part)}


def _folder_of(section: ModelSection, processor: bool) -> Path | None:
    """Where the files of a loaded checkpoint lie on this machine, with those of a processor; None of a GGUF file."""
    path = Path(os.path.expanduser(section.path))
    if section.path.endswith(".gguf"):
        return None
    if os.path.isdir(path):
        return path.resolve()
    if processor:
        return Path(snapshot_download(section.path, revision=section.revision, allow_patterns=list(PROCESSOR)))
    found = try_to_load_from_cache(section.path, "config.json", revision=section.revision or "main")
    return Path(found).parent if isinstance(found, str) else None


def forget_quantisation(network: Any) -> None:
    """A GGUF checkpoint is dequantised while loading; without this it could not be saved again."""
    quantiser = getattr(network, "hf_quantizer", None)
    if quantiser is not None and type(quantiser.quantization_config).__name__ == "GgufConfig":
        del network.config.quantization_config
        network.hf_quantizer = None
        network.is_quantized = False


def load_config_of(section: ModelSection) -> Any:
    """The Hugging Face configuration, without weights.

    Raises:
        ModelError: it cannot be loaded, or is not of a causal language model whose weights can be trained.
    """
    config = _from_pretrained(AutoConfig, section)
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None and not section.path.endswith(".gguf"):
        kind = quantised.get("quant_method") if isinstance(quantised, dict) else quantised.quant_method
        raise ModelError(
            f"model.path: '{section.path}' is quantised ({kind}); acclimate trains weights of float32 or bfloat16, so "
            "give the model that it was made from."
        )
    names = getattr(config, "architectures", None) or []
    other = names and not section.trust_remote_code and not any(name.endswith(CAUSAL) for name in names)
    if config.is_encoder_decoder or getattr(config.get_text_config(), "is_encoder_decoder", False) or other:
        raise ModelError(
            f"model.path: '{section.path}' is a {(names or [type(config).__name__])[0]}; acclimate adapts causal "
            "language models (LlamaForCausalLM, Qwen3ForCausalLM ...)."
        )
    folder = Path(os.path.expanduser(section.path))
    if os.path.isdir(folder):
        check_weights(folder)
    return config


def empty_network(section: ModelSection) -> Any:
    """The network's structure on the meta device: names and shapes without weights."""
    config = load_config_of(section)
    try:
        with torch.device("meta"):
            network = build(config, section.attention, section.trust_remote_code)
        network.origin = Origin(towers=freeze(network))
        return network
    except ImportError as error:
        _check_library(section, error)
        raise ModelError(f"model.attention: '{section.attention}' is not usable here: {reason(error)}") from None
    except ValueError as error:
        _check_attention(section, error)
        raise ModelError(
            f"model.path: '{section.path}' is a {type(config).__name__.removesuffix('Config')} model, which is no "
            "causal language model that transformers knows."
        ) from None


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


def _of_a_run(path: Path) -> str:
    """What to do with an adapter or a run folder, which are no model by themselves."""
    if not any((path / name).is_file() for name in ("adapter_config.json", "provenance.json")):
        return ""
    return " A run becomes a model to begin with by `acclimate export RUN --output FOLDER --merge`."


def model_digest(section: ModelSection) -> str:
    """What identifies the base, once it is loaded: hub id and commit, or sha256 over the local weight files."""
    path = Path(os.path.expanduser(section.path))
    if path.is_file():
        return digest_of([path])
    if path.is_dir():
        return digest_of(sorted(path.glob("*.safetensors")) or sorted(path.glob("*.gguf")))
    return f"hub:{section.path}@{_commit(section)}"


def model_identity(section: ModelSection) -> dict[str, str]:
    """``digest`` of the weights; of a local folder also ``reading``, of what else decides what a token does: its
    config.json, tokenizer and chat template."""
    path = Path(os.path.expanduser(section.path))
    found = {"digest": model_digest(section)}
    files = sorted(file for name in READING for file in path.glob(name) if file.is_file()) if path.is_dir() else []
    return found | ({"reading": digest_of(files)} if files else {})


def model_identities(section: ModelSection) -> dict[str, dict[str, str]]:
    """``model``, which training starts from, and ``base``, which it is measured against, where that is another."""
    base = {} if section.base is None else {"base": model_identity(section.of_base)}
    return {"model": model_identity(section)} | base


@contextmanager
def said_of(key: str) -> Iterator[None]:
    """What is said of ``model.path`` in here is said of the setting that named this model."""
    try:
        yield
    except ModelError as error:
        raise ModelError(str(error).replace("model.path:", f"{key}:", 1)) from None


def _commit(section: ModelSection) -> str:
    """Of a hub model that has been loaded, so that it lies in the cache: the folder of its snapshot."""
    revision = section.revision or "main"
    found = try_to_load_from_cache(section.path, "config.json", revision=revision)
    return Path(found).parent.name if isinstance(found, str) else revision


def _from_pretrained(factory: Any, section: ModelSection, **options: Any) -> Any:
    path = Path(os.path.expanduser(section.path))
    location: str = section.path
    if section.path.endswith(".gguf"):
        if not os.path.isfile(path):
            raise ModelError(f"model.path: there is no GGUF file '{section.path}'.")
        location, options["gguf_file"] = str(path.parent), path.name
    elif os.path.isdir(path):
        if not (path / "config.json").is_file():
            found = ", ".join(sorted(entry.name for entry in path.iterdir())[:6]) or "nothing"
            raise ModelError(
                f"model.path: the folder '{section.path}' holds no config.json (it holds {found}); give a folder "
                f"written by save_pretrained, a .gguf file, or a hub id.{_of_a_run(path)}"
            )
        location = str(path)
    elif not HUB_ID.fullmatch(section.path) or os.path.isfile(path):
        raise ModelError(
            f"model.path: '{section.path}' is no model folder or .gguf file; give a folder written by "
            "save_pretrained, a .gguf file, or a hub id such as 'HuggingFaceTB/SmolLM2-135M-Instruct'."
        )
    else:
        options["revision"] = section.revision
    local = "revision" not in options
    try:
        return factory.from_pretrained(
            location, trust_remote_code=section.trust_remote_code, local_files_only=local, **options
        )
    except Exception as error:  # transformers raises many types; each becomes one sentence with its first line
        text = str(error)
        if "trust_remote_code" in text:
            raise ModelError(
                f"model.path: '{section.path}' brings its own code, which is not run unless you ask for it: "
                "read that code, then set model.trust_remote_code: true."
            ) from None
        _check_attention(section, error)
        _check_library(section, error)
        if os.path.isdir(path):
            explain_folder(path, tokenizer=factory is AutoTokenizer)
        if not local and "model.safetensors" in text:
            raise ModelError(
                f"model.path: '{section.path}' has no safetensors on the Hub, only pickles, which can run code when "
                "they are loaded, so acclimate never does; give a revision or a copy that has them."
            ) from None
        if "gguf_file" in options and "GGUF" not in text:  # the reader's own errors are of its bytes
            raise ModelError(
                f"model.path: '{section.path}' is no whole GGUF file ({reason(error)}); download or copy it again."
            ) from None
        place = f"there is no folder '{section.path}' in {os.getcwd()}, and as a hub id it"
        if local:
            place = f"'{section.path}'"
        raise ModelError(f"model.path: {place} could not be loaded: {reason(error)}") from None


def _check_attention(section: ModelSection, error: Exception) -> None:
    """A family that has not what ``model.attention`` names, which is no fault of its files."""
    if "does not support an attention implementation" in str(error) or "does not support Flash" in str(error):
        raise ModelError(
            f"model.attention: transformers has no '{section.attention}' for this family of models; set "
            "model.attention: eager."
        ) from None


def _check_library(section: ModelSection, error: Exception) -> None:
    """A part of the model that transformers builds with a library that is not installed."""
    wanted = re.search(r"requires the .*?pip install ([\w.\[\]-]+)", str(error), re.DOTALL)
    if isinstance(error, ImportError) and wanted:
        raise ModelError(
            f"model.path: '{section.path}' is loaded whole, and a part of it needs a library that is not installed: "
            f"run `pip install {wanted[1]}`. ({reason(error)})"
        ) from None
