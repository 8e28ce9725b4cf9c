"""Which of the families that transformers lists are decoders, or multimodal with a decoder."""

from __future__ import annotations

VARIANTS = {
    "gemma4_moe": "gemma4_text",
    "glm4_moe_32": "glm4_moe",
    "gpt_oss_32": "gpt_oss",
    "mixtral_8": "mixtral",
    "phi3_longrope": "phi3",
    "qwen3_moe_32": "qwen3_moe",
}
"""Name -> the family of which it is another shape."""

APART = {
    "an encoder with a head": """bert bert-generation big_bird camembert data2vec-text electra ernie megatron-bert
        reformer rembert roberta roberta-prelayernorm roc_bert roformer xlm xlm-roberta xlm-roberta-xl xlnet xmod""",
    "a decoder that reads an encoder": """bart bigbird_pegasus blenderbot blenderbot-small blip florence2 git marian
        mbart mvp pegasus pix2struct plbart pp_chart2table pp_formulanet prophetnet t5gemma2 trocr udop
        vision-encoder-decoder""",
    "a model of speech": """fun_asr_nano glmasr granite_speech granite_speech_plus kyutai_speech_to_text moshi
        moss_transcribe_diarize musicgen musicgen_melody nemo_speechlm qwen2_5_omni qwen2_audio qwen3_asr
        qwen3_omni_moe vibevoice_asr voxtral voxtral_realtime whisper""",
    "no language model": "cosmos3_omni cpmant diffusion_gemma evolla pi0 shieldgemma2",
    "a draft for another model": "gemma4_assistant gemma4_unified_assistant",
}
"""Why -> model types that transformers lists among language models and that are not counted."""


def families() -> dict[str, str]:
    """Model type, or variant -> class of a checkpoint on the Hub; decoders, and multimodal models with a decoder."""
    from transformers.models.auto import modeling_auto

    found: dict[str, str] = dict(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    for mapping in (
        modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    ):
        found |= {kind: name for kind, name in mapping.items() if isinstance(name, str)}
    found |= {variant: found[kind] for variant, kind in VARIANTS.items()}
    apart = {kind for kinds in APART.values() for kind in kinds.split()}
    return {kind: found[kind] for kind in sorted(found) if kind not in apart}
