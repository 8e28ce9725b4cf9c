"""Frozen base weights in 4 bits, through bitsandbytes: QLoRA (Dettmers et al., 2023, arXiv 2305.14314).

bitsandbytes' 8-bit products (LLM.int8) are not offered: which columns stay in 16 bits is chosen over all tokens of a
batch, so documents that are packed together would change each other's hidden states [ours: measured].
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from acclimate.types.errors import ModelError

BYTES = 0.52
"""Of a quantised weight, with its block scales, themselves quantised (0.127 bits a weight in the paper)."""


def quantization_config(dtype: torch.dtype) -> Any:
    """What transformers needs to turn linear layers other than the head into 4-bit NormalFloat, doubly quantised.

    Args:
        dtype: in which products are made.

    Raises:
        ModelError: bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            "model.quantization: 'nf4' needs bitsandbytes; run `pip install 'acclimate[qlora]'` or leave it out."
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def dense(weight: torch.Tensor) -> torch.Tensor:
    """What a 4-bit weight stands for, in the dtype of its products; every other one as it is."""
    if (state := getattr(weight, "quant_state", None)) is None:
        return weight
    from bitsandbytes.functional import dequantize_4bit

    found: torch.Tensor = dequantize_4bit(weight.data, state)
    return found


def keep_one_kernel(network: Any) -> None:
    """On CPUs with bfloat16 units bitsandbytes repacks weights for another, rounder product when nothing needs a
    gradient: the reference would differ from the student, whose KL to it must be 0 at step 0."""
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
