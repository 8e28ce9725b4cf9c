"""What the config.json of a quantised checkpoint says of its weights, and whether they can be multiplied out."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from acclimate.types.errors import ModelError, listed

METHODS = ("awq", "bitsandbytes", "compressed-tensors", "fbgemm_fp8", "fp8", "gptq", "modelopt", "mxfp4", "mxfp8")
KEY = "quantization_config"


@dataclass(frozen=True)
class Quantisation:
    """What a configuration says of how the weights are kept.

    Args:
        place: the section, such as ``text_config.quantization_config``.
        settings: its contents.
    """

    place: str
    settings: Mapping[str, Any]

    @property
    def method(self) -> str:
        if self.settings.get("load_in_4bit") or self.settings.get("load_in_8bit"):
            return "bitsandbytes"  # which early checkpoints do not name
        return str(self.settings.get("quant_method") or "of no named method")

    @property
    def groups(self) -> list[Mapping[str, Any]]:
        """Of layers that are kept alike (compressed-tensors)."""
        return [one for one in (self.settings.get("config_groups") or {}).values() if isinstance(one, dict)]

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """Heights and widths of the blocks that share a scale, where they are said."""
        own = [(group.get("weights") or {}).get("block_structure") for group in self.groups]
        return [(int(size[0]), int(size[1])) for size in (self.settings.get("weight_block_size"), *own) if size]

    @property
    def layout(self) -> str:
        """How GPTQ and AWQ lay a weight out; nothing where it is the usual way."""
        names = ("checkpoint_format", "format", "version")
        return next((str(self.settings[name]).lower() for name in names if self.settings.get(name)), "")

    def unknown(self) -> str:
        """What of it cannot be multiplied out here; nothing where all can."""
        if self.method not in METHODS:
            return self.method
        allowed = {"gptq": ("gptq", "gptq_v2"), "awq": ("gemm",)}.get(self.method)
        if allowed and self.layout not in (*allowed, ""):
            return f"{self.method} of format {self.layout}"
        if self.method == "compressed-tensors":
            formats = [str(one.get("format")) for one in (self.settings, *self.groups)]
            sparse = (self.settings.get("sparsity_config") or {}).get("format") or "dense"
            if odd := [name for name in (*formats, sparse) if "sparse" in name or "24" in name]:
                return f"{self.method} of format {odd[0]}"
            bits = [(one.get("weights") or {}).get("num_bits") for one in self.groups]
            if odd_bits := [n for n in bits if n not in (None, 2, 4, 8)]:  # packed in two ways, by version
                return f"{self.method} of {odd_bits[0]} bits"
            if self.settings.get("transform_config"):
                return f"{self.method} with a transform_config"
        algorithm = self.settings.get("quant_algo")
        return f"modelopt of algorithm {algorithm}" if algorithm not in (None, "FP8", "NVFP4") else ""


def quantisation_of(config: Any) -> Quantisation | None:
    """What a Hugging Face configuration, or a section of it at any depth, says of quantised weights."""
    for path, section in _sections(config, ""):
        if (found := getattr(section, KEY, None)) is not None:
            return Quantisation(f"{path}{KEY}", found if isinstance(found, dict) else found.to_dict())
    return None


def forget_quantisation(config: Any) -> None:
    """The weights that are loaded and saved are dense."""
    for _, section in _sections(config, ""):
        if hasattr(section, KEY):
            delattr(section, KEY)


def _sections(config: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, config
    for name in getattr(config, "sub_configs", {}):
        if (section := getattr(config, name, None)) is not None:
            yield from _sections(section, f"{path}{name}.")


def check_quantisation(found: Quantisation, path: str, dequantize: bool) -> None:
    """Refuses weights that cannot be multiplied out, or that nobody asked to.

    Raises:
        ModelError: the method, where it stands, and what to do.
    """
    what = f"model.path: '{path}' is quantised ({found.method}, in {found.place} of its config.json)"
    if unknown := found.unknown():
        raise ModelError(
            f"{what}. acclimate trains weights of float32 or bfloat16, and cannot multiply out {unknown}; it can "
            f"{listed(METHODS)}, and GGUF. Give a checkpoint of one of these, or the model that it was made from."
        )
    if not dequantize:
        raise ModelError(
            f"{what}; acclimate trains weights of float32 or bfloat16. Set model.dequantize: true to have them "
            "multiplied out while they are loaded."
        )
    if found.method == "bitsandbytes" and importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(f"{what}, which takes bitsandbytes to multiply out; run `pip install 'acclimate[qlora]'`.")
