"""The files of a quantised checkpoint, read as the dense tensors that they stand for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import safe_open
from torch import Tensor

from acclimate.disk.tensorfiles import SavedTensors
from acclimate.kernels import dequantised
from acclimate.model.checkpoint.quantisation import Quantisation
from acclimate.model.folder import check_weights
from acclimate.types.errors import ModelError, listed, reason

SHORT = {"F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8"}
"""Of safetensors: types of one byte, which no network is trained in."""
SCALES = ("_scale_inv", "_scale", ".scale", ".qscale_weight")
OF_A_WEIGHT = (
    *("_scale_inv", "_scale", "_scale_2", "_zero_point", "_packed", "_shape", "_g_idx", "_global_scale"),
    *("_blocks", "_scales", "_format"),
    *(".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"),
    *(".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4"),
)
"""What stands behind a weight's own name."""
OF_A_LAYER = (
    *("qweight", "qzeros", "scales", "g_idx", "scale", "qscale_weight", "SCB", "input_scale", "input_global_scale"),
    *("input_zero_point", "output_scale", "activation_scale", "qscale_act"),
)
"""What stands in the place of ``weight``; the last six are of activations, and have no part in a weight."""


def dense_checkpoint(path: str, revision: str | None, found: Quantisation) -> dict[str, Dense]:
    """:func:`dense_tensors` of a folder, or of a model on the Hub, which is downloaded.

    Raises:
        ModelError: it cannot be downloaded, or its files are not whole.
    """
    folder = Path(os.path.expanduser(path))
    if not folder.is_dir():
        try:
            names = ["*.safetensors", "*.safetensors.index.json"]
            folder = Path(snapshot_download(path, revision=revision, allow_patterns=names, ignore_patterns=["*/*"]))
        except Exception as error:  # of the network, the Hub and the disk
            raise ModelError(f"model.path: the weights of '{path}' could not be downloaded: {reason(error)}") from None
    return dense_tensors(check_weights(folder), found)


class Dense:
    """One tensor that is computed when it is read; to transformers, a slice of a safetensors file."""

    def __init__(self, read: Callable[[], Tensor]) -> None:
        self.read = read

    def __getitem__(self, place: Any) -> Tensor:
        return self.read()[place]


def dense_tensors(paths: Iterable[Path], found: Quantisation) -> dict[str, Dense]:
    """The checkpoint as if it had never been quantised, by its names; nothing is read yet."""
    paths = list(paths)
    tensors, types = SavedTensors.of(paths), _types(paths)
    weights = {name: parts for name in sorted(_weights(types)) if (parts := _parts(name, types))}
    taken = {name for parts in weights.values() for name in parts.values()}
    dense = {name: Dense(partial(tensors.__getitem__, name)) for name in types if name not in taken}
    return dense | {name: Dense(partial(_multiplied, name, tensors, parts, found)) for name, parts in weights.items()}


def _types(paths: Iterable[Path]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:
        with safe_open(path, framework="pt") as file:
            found |= {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    return found


def _weights(types: Mapping[str, str]) -> set[str]:
    """Names of all weights that could have parts."""
    stems = {name.removesuffix(end) for name in types for end in OF_A_WEIGHT if name.endswith(end)}
    layers = {name.rpartition(".")[0] for name in types if name.rpartition(".")[2] in OF_A_LAYER}
    return stems | {f"{layer}.weight" for layer in layers} | {name for name, kind in types.items() if kind in SHORT}


def _parts(name: str, types: Mapping[str, str]) -> dict[str, str]:
    """The tensors that make up a weight, by what they are; none where the weight is dense, or no weight."""
    layer, _, leaf = name.rpartition(".")
    ends = {end: f"{name}{end}" for end in OF_A_WEIGHT}
    if leaf == "weight":
        ends |= {f".{end}": f"{layer}.{end}" for end in OF_A_LAYER}
    parts = {end: part for end, part in ends.items() if part in types}
    if types.get(name) in SHORT:
        return {"": name} | parts
    return parts if parts.keys() & {"_packed", "_blocks", ".qweight"} else {}


def _multiplied(name: str, tensors: Mapping[str, Tensor], parts: Mapping[str, str], found: Quantisation) -> Tensor:
    read = {end: tensors[part] for end, part in parts.items()}
    try:
        return _product(read, found)
    except (ValueError, RuntimeError, KeyError) as error:
        kind = f"{found.method}: {listed(parts.values())}"
        raise ModelError(f"model.path: the weight '{name}' could not be multiplied out of {kind} ({error}).") from None


def _product(part: dict[str, Tensor], found: Quantisation) -> Tensor:
    """The weight that these parts of it stand for; which they are decides how, so one file may hold several kinds."""
    if "_blocks" in part:
        return dequantised.mxfp4(part["_blocks"], part["_scales"])
    if ".qweight" in part:
        if found.method == "awq":
            return dequantised.awq(part[".qweight"], part[".qzeros"], part[".scales"])
        groups = part.get(".g_idx")
        bits = int(found.settings["bits"]) if groups is None else part[".qweight"].shape[0] * 32 // len(groups)
        offset = 0 if found.layout == "gptq_v2" else 1
        return dequantised.gptq(part[".qweight"], part[".qzeros"], part[".scales"], groups, bits, offset)
    if ".absmax" in part:
        return _bitsandbytes(part)
    if ".SCB" in part:
        return dequantised.scaled(part[""], part[".SCB"] / 127)
    if "_packed" in part and part["_packed"].dtype == torch.int32:
        shape = part["_shape"].tolist()
        return dequantised.packed_rows(
            part["_packed"], part["_scale"], shape, part.get("_zero_point"), part.get("_g_idx")
        )
    values = part["_packed"] if "_packed" in part else part[""]
    scale = next((part[end] for end in SCALES if end in part), None)
    if scale is None:
        return values  # short floats that mean what they say
    short = "_packed" in part or "_scale_2" in part or (values.dtype == torch.int8 and "fp8" in found.method)
    product = dequantised.scaled(
        dequantised.fp4(values) if short else values, scale, part.get("_zero_point"), found.blocks
    )
    if "_scale_2" in part:  # modelopt's
        return product * part["_scale_2"].float()
    return product / part["_global_scale"].float() if "_global_scale" in part else product


def _bitsandbytes(part: Mapping[str, Tensor]) -> Tensor:
    from bitsandbytes.functional import QuantState, dequantize_4bit

    state = {end.removeprefix("."): tensor for end, tensor in part.items() if end.startswith(".")}
    found: Tensor = dequantize_4bit(part[""], QuantState.from_dict(state, device=part[""].device))
    return found
