"""A model of SmolLM2's family with wider layers and random weights, for timing.

    python benchmarks/wide_model.py MODEL OUT

Widths are Llama 3.2 1B's (hidden 2,048, MLP 8,192, 32 heads on 8), four layers of them; tokenizer and vocabulary are
MODEL's.
"""

from __future__ import annotations

import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

config = AutoConfig.from_pretrained(sys.argv[1])
config.update(
    {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "num_hidden_layers": 4,
    }
)
torch.manual_seed(0)
AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(sys.argv[2])
AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])
