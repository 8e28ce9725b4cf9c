"""What one rule for all families does not know: sizes that belong together, and layers counted in another way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.tiny.sizes import FREE, IMAGE, ROW, WINDOW

DROP = object()
"""In place of a value: leave the setting to the family."""
TEXT = r"|text_config\."
"""Where a repair is made: the configuration itself, or that of its language model."""


@dataclass(frozen=True)
class Repair:
    families: str
    """Regular expression over whole names."""
    change: Mapping[str, Any] | Callable[[Any], Mapping[str, Any]]
    """Settings, or what makes them of the family's default configuration."""
    place: str = TEXT
    """Regular expression over the configuration's place: ``""``, ``"text_config."`` ..."""


def _mrope(*section: int) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": list(section)}}


def _gemma4_vision(default: Any) -> dict[str, Any]:
    from benchmarks.tiny.configuration import shrunk
    from transformers import Gemma4VisionConfig

    return {"vision_config": Gemma4VisionConfig(**shrunk(Gemma4VisionConfig()))}


def _dbrx_attention(default: Any) -> dict[str, Any]:
    attention = type(default.attn_config)(kv_n_heads=2, clip_qkv=8)
    attention.rope_theta = 10000.0
    return {"attn_config": attention}


SLIDING_AND_FULL = {"num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2}
CONVOLUTION_AND_FULL = {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]}
LINEAR_AND_HYBRID = ["linear_attention", "hybrid", "linear_attention", "hybrid"]
MISTRAL4 = {
    "rope_type": "default",
    "rope_theta": 10000.0,
    "llama_4_scaling_beta": 0.1,
    "original_max_position_embeddings": ROW,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 1.0,
    "short_factor": [1.0] * 8,
    "long_factor": [1.0 + 0.25 * at for at in range(8)],
    "original_max_position_embeddings": ROW,
}

REPAIRS = (
    # layers of several kinds
    Repair("gemma3n(_text)?", SLIDING_AND_FULL | {"num_kv_shared_layers": 2, "intermediate_size": [96] * 4}),
    Repair("gemma3n(_text)?", {"activation_sparsity_pattern": [0.95, 0.95, 0.0, 0.0]}),
    Repair("gemma4(_unified|_moe)?(_text)?", SLIDING_AND_FULL | {"num_kv_shared_layers": 2}),
    Repair("gemma4", _gemma4_vision, place=""),
    Repair("gemma4_moe", {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 32}),
    Repair("lfm2(_moe|_vl)?", CONVOLUTION_AND_FULL),
    Repair("gpt_neo", {"attention_types": [[["global", "local"], 1]], "attention_layers": ["global", "local"]}),
    Repair("zamba2?", {"attention_hidden_size": 128, "attention_head_dim": 32}),
    Repair("zamba", {"num_hidden_layers": 4, "layers_block_type": LINEAR_AND_HYBRID}),
    Repair("zamba2", {"num_hidden_layers": 3, "num_mem_blocks": 1, "hybrid_layer_ids": DROP}),
    Repair("zamba2", {"layers_block_type": LINEAR_AND_HYBRID[:3]}),
    Repair("granitemoehybrid", {"layer_types": ["linear_attention", "full_attention"]}),
    Repair("bamba", {"attn_layer_indices": [1]}),
    Repair("jamba", {"attn_layer_period": 2, "attn_layer_offset": 1}),
    Repair("jamba", {"expert_layer_period": 2, "expert_layer_offset": 1}),
    Repair("recurrent_gemma", {"num_hidden_layers": 3}),
    Repair("llama4(_text)?|smollm3", {"no_rope_layers": [1, 0]}),
    Repair("hrm_text", {"num_hidden_layers": 1, "num_layers_per_stack": DROP}),  # eight layers in two stacks
    Repair("deepseek_ocr2", {"mlp_layer_types": ["dense", "sparse"], "num_experts_per_tok": 2}, place=r"text_config\."),
    Repair("cohere_compass(_text)?", {"rope_parameters": {"full_attention": _mrope(4, 2, 2)["rope_parameters"]}}),
    # widths that belong together
    Repair("nemotron", {"num_key_value_heads": 2, "head_dim": 16}),
    Repair("ministral|hunyuan_v1_dense|hunyuan_v1_moe", {"head_dim": 16}),
    Repair("mamba2", {"num_heads": 8, "head_dim": 16}),
    Repair("step3p7", {"sliding_window": WINDOW}, place=r"text_config\."),
    Repair("xlstm", {"hidden_size": 128, "embedding_dim": 128}),  # widths are multiples of 64
    Repair("xglm", {"pad_token_id": 1, "max_position_embeddings": 2048}),
    Repair("dbrx", _dbrx_attention, place=""),
    Repair("deepseek_v[23]|kimi_k25|longcat_flash|youtu|axk1", {"head_dim": 8}),
    Repair("deepseek_v2|dots1", {"num_experts_per_tok": 2, "topk_group": 1, "n_group": 2}),
    Repair("deepseek_v2", {"topk_method": "greedy"}),
    Repair("dots1", {"n_routed_experts": 4, "n_shared_experts": 1}),
    Repair("mistral4", {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "head_dim": 8}),
    Repair("mistral4", {"rope_parameters": MISTRAL4}),
    Repair("zaya", {"num_experts_per_tok": 1}),
    Repair("qwen4_exp(_text)?", {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 16}),
    Repair("qwen4_exp(_text)?", {"indexer_budget": 64, "indexer_compress_ratio": 4}),
    Repair("qwen2_vl|qwen2_5_vl|qwen2_5_omni_thinker|paddleocr_vl", _mrope(2, 3, 3), place=r"text_config\."),
    Repair("glm4v|glm46v|glm_ocr|glmga", _mrope(2, 3, 3), place=r"text_config\."),
    Repair("qwen(3_omni_moe|2_5_omni)_thinker", {"vision_start_token_id": FREE}, place=""),  # as checkpoints have it
    Repair("glm4v_moe", _mrope(1, 1, 2), place=r"text_config\."),
    Repair("blt", {"hidden_size_global": 64}, place=r"(encoder|decoder)_config\."),
    Repair("blt", {"patch_size": 4, "encoder_hash_byte_group_vocab": 64}, place=""),
    Repair("chameleon", {"vocabulary_map": {"<image>": IMAGE}}, place=""),
    Repair("molmo2", {"vision_feature_layer": [1, 0]}, place=r"adapter_config\."),
    Repair("nemotron_h_omni", {"video_temporal_patch_size": 2}, place=r"vision_config\."),
    Repair("muse_spark", {"num_hidden_layers": 4}, place=r"vision_config\."),
    Repair("ernie4_5_vl_moe", _mrope(3, 3, 2), place=r"text_config\."),
    Repair("glm5_next", {"qk_rope_head_dim": 0, "num_key_value_heads": 4}, place=r"text_config\."),
    Repair("dots3_note", {"adapter_in_dim": 64, "adapter_out_dim": 64}, place=r"vision_config\."),
    Repair("dots3_note", {"adapter_input_size": 64, "adapter_out_dim": 64}, place=r"audio_config\."),
    Repair("granite4_vision", {"deepstack_layer_map": [[0, 0]], "spatial_target_layers": [1]}, place=""),
    Repair("granite4_vision", {"downsample_rate": "1/2"}, place=""),
    Repair("diffllama", {"attention_dropout": 0.0}),  # it refuses any other
    # variants
    Repair("qwen3_moe_32", {"num_local_experts": 32, "num_experts": 32, "num_experts_per_tok": 4}),
    Repair("gpt_oss_32", {"num_local_experts": 32, "num_experts_per_tok": 4}),
    Repair("glm4_moe_32", {"n_routed_experts": 32, "num_experts_per_tok": 4}),
    Repair("mixtral_8", {"num_local_experts": 8}),
    Repair("phi3_longrope", {"rope_parameters": LONGROPE}),
)
