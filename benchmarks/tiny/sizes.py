"""How large anything is in a tiny configuration, by the name that families give it."""

from __future__ import annotations

VOCABULARY = 320
WORDS = 300
"""Ids below are the tokenizer's own; special tokens follow."""
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<bos>", "<pad>", "<image>", "<video>", "<audio>")
FREE = WORDS + len(SPECIALS)
"""The first id for whatever other token a family names."""
EOS, BOS, PAD, IMAGE, VIDEO, AUDIO = (WORDS + at for at in (0, 3, 4, 5, 6, 7))

TOKENS: dict[str, int | None] = {
    "eos_token_id": EOS,
    "bos_token_id": BOS,
    "pad_token_id": PAD,
    "image_token_id": IMAGE,
    "image_token_index": IMAGE,
    "video_token_id": VIDEO,
    "video_token_index": VIDEO,
    "audio_token_id": AUDIO,
    "audio_token_index": AUDIO,
    "decoder_start_token_id": BOS,
    "forced_eos_token_id": None,
    "forced_bos_token_id": None,
}

WINDOW = 24
"""Tokens that a windowed layer sees. Half of the documents are longer."""
ROW = 96
"""Positions of a row, of a chunk of attention, and of the context that LongRoPE has short factors for: a row that is
longer than those is refused."""
CONTEXT = 256
DROPOUT = 0.1
"""Of whatever a family drops out. The reference drops nothing, so the divergence at step 0 tells whether it is off."""

_BY_SIZE: tuple[tuple[int, str], ...] = (
    (
        64,
        """hidden_size d_model n_embd embedding_size embedding_dim emb_dim embed_dim out_hidden_size lru_width
        attention_hidden_size index_topk ple_embed_dim dim_model_base backbone_hidden_size""",
    ),
    (
        96,
        """intermediate_size dense_intermediate_size intermediate_size_mlp ffn_hidden_size n_inner ffn_dim dff
        d_inner encoder_ffn_dim decoder_ffn_dim mlp_dim d_ff""",
    ),
    (
        32,
        """moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size
        shared_experts_intermediate_size moe_shared_expert_intermediate_size share_expert_dim
        expert_ffn_hidden_size router_hidden_size""",
    ),
    (
        2,
        """num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers depth num_layers_per_stack
        num_key_value_heads num_kv_heads num_query_groups num_global_key_value_heads num_attention_groups
        num_experts_per_tok num_experts_per_token moe_topk moe_top_k moe_k n_group num_expert_group
        index_n_heads linear_num_key_heads o_groups zero_expert_num""",
    ),
    (
        4,
        """num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads num_experts
        n_routed_experts num_local_experts moe_num_experts linear_num_value_heads linear_num_heads mamba_d_conv""",
    ),
    (
        1,
        """n_shared_experts num_shared_experts moe_num_shared_experts topk_group first_k_dense_replace
        num_dense_layers n_groups mamba_n_groups mamba_ngroups""",
    ),
    (
        16,
        """head_dim kv_lora_rank qk_nope_head_dim v_head_dim index_head_dim index_topk_blocks linear_key_head_dim
        linear_value_head_dim linear_head_dim d_head mamba_d_head mamba_headdim mamba_head_dim
        mamba_chunk_size chunk_size attention_head_dim kv_channels query_pre_attn_scalar
        hidden_size_per_layer_input num_position_embeddings
        o_lora_rank d_kv global_head_dim q_length""",
    ),
    (
        8,
        """qk_rope_head_dim index_block_size rotary_dim state_size ssm_state_size time_step_rank mamba_d_state
        mamba_num_heads mamba_n_heads n_mamba_heads mamba_dt_rank adapter_rank laurel_rank hc_lowrank
        gated_norm_rank block_multiple_of""",
    ),
    (24, "q_lora_rank qk_head_dim"),
    (128, "mamba_d_ssm"),
    (28, "image_size"),
    (14, "patch_size"),
    (1000, "ngram_vocab_size_base"),
    (0, "num_nextn_predict_layers mtp_num_hidden_layers num_mtp_layers"),
    (WINDOW, "sliding_window window_size attention_window_size local_attention"),
    (ROW, "attention_chunk_size original_max_position_embeddings"),
    (CONTEXT, "max_position_embeddings n_positions n_ctx max_seq_len context_length"),
    (VOCABULARY, "vocab_size unpadded_vocab_size vocab_size_per_layer_input"),
)
SIZES: dict[str, float] = {key: size for size, keys in _BY_SIZE for key in keys.split()} | {
    "initializer_range": 0.12,
    "init_std": 0.12,
}
