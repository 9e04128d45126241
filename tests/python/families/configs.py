"""A tiny configuration of every type with experts of transformers: its own class, its own defaults, small numbers.

`TINY` holds for every configuration and what is nested in it, by the attribute's name; `OVER` says what a type wants
besides. Experts are 256 wide where the model is 128 wide, so that no two axes of a weight have the same extent.
"""

import re

HIDDEN, WIDTH, EXPERTS, VOCABULARY = 128, 256, 3, 512
DEFAULT = object()  # in OVER: what the type itself says, in spite of TINY

NUMBERS = [
    (HIDDEN, "hidden_size d_model out_hidden_size audio_hidden_size moe_hidden_size text_hidden_size"),
    (WIDTH, "intermediate_size ffn_hidden_size d_ff mlp_dim encoder_ffn_dim decoder_ffn_dim moe_intermediate_size"),
    (WIDTH, "expert_ffn_hidden_size shared_expert_intermediate_size share_expert_dim shared_intermediate_size"),
    (WIDTH, "moe_shared_expert_intermediate_size shared_experts_intermediate_size intermediate_size_mlp"),
    (WIDTH, "projection_intermediate_size projector_hidden_size projection_hidden_dim"),
    (EXPERTS, "num_experts n_routed_experts num_local_experts moe_num_experts"),
    (2, "num_experts_per_tok num_experts_per_token moe_topk moe_top_k top_k_experts moe_k"),
    (2, "num_hidden_layers n_layers num_layers depth num_decoder_layers encoder_layers decoder_layers"),
    (4, "num_attention_heads num_key_value_heads n_heads num_heads encoder_attention_heads decoder_attention_heads"),
    (4, "index_n_heads linear_num_value_heads linear_num_heads num_sliding_attention_heads"),
    (4, "swa_num_attention_heads swa_num_key_value_heads"),
    (2, "linear_num_key_heads"),
    (32, "head_dim swa_head_dim d_kv q_lora_rank kv_lora_rank qk_nope_head_dim v_head_dim index_head_dim"),
    (32, "linear_key_head_dim linear_value_head_dim linear_head_dim image_size"),
    (16, "qk_rope_head_dim"),
    (8, "index_topk patch_size"),
    (1, "n_group topk_group num_expert_group first_k_dense_replace num_dense_layers"),
    (0, "num_nextn_predict_layers"),
    (512, "max_position_embeddings max_seq_len model_max_length"),
    (64, "sliding_window"),
    (VOCABULARY, "vocab_size unpadded_vocab_size"),
]
TINY = {name: number for number, names in NUMBERS for name in names.split()} | {"mlp_layer_types": ["dense", "sparse"]}

# What a type leaves open by default and needs a number for all the same.
WANTED = {"n_routed_experts", "num_experts", "num_experts_per_tok", "moe_intermediate_size", "top_k_experts"}

ROPE_HEAD = {"head_dim": DEFAULT}  # another name for qk_rope_head_dim
HYBRID = {"layer_types": ["linear_attention", "full_attention"]}
INDEXED = {"layer_types": ["linear_attention", "indexed_attention"]}
GEMMA4 = {"enable_moe_block": True, "vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 32}
MAMBA = {"mamba_d_head": 32, "mamba_d_state": 16, "mamba_n_heads": 8, "mamba_dt_rank": 8}
NEMOTRON_H = {
    "layers_block_type": ["full_attention", "moe"],
    "mamba_num_heads": 4,
    "mamba_head_dim": 64,
    "n_groups": 2,
    "ssm_state_size": 16,
}
QSA = INDEXED | {
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 32,
    "indexer_budget": 16,
    "indexer_compress_ratio": 4,
}

OVER = {
    "axk1": ROPE_HEAD,
    "bailing_hybrid": HYBRID | ROPE_HEAD,
    "dbrx": {"attn_config": {"rope_theta": 1e4, "kv_n_heads": 4, "clip_qkv": 8}, "ffn_config": {"moe_top_k": 2}},
    "deepseek_ocr2": {"text_config": {"mlp_layer_types": ["dense", "sparse"]}},
    "deepseek_v3": ROPE_HEAD,
    "deepseek_v4": {
        "mlp_layer_types": ["hash_moe", "moe"],
        "num_key_value_heads": 1,
        "o_groups": 2,
        "o_lora_rank": 32,
        "head_dim": 64,
        "partial_rotary_factor": 0.25,
    },
    "diffusion_gemma": {"canvas_length": 16},
    "dots1": {"n_shared_experts": 1},
    "dots3_note": {
        "text_config": {"layer_types": ["indexed_attention", "indexed_attention"]},
        "vision_config": {
            "adapter_in_dim": HIDDEN,
            "adapter_out_dim": HIDDEN,
            "per_layer_config": {1: {"num_local_experts": 5, "num_experts_per_tok": 2}},
        },
        "audio_config": {"adapter_out_dim": HIDDEN, "adapter_input_size": HIDDEN},
    },
    "doge": {"is_moe": True, "num_experts": 16},
    "ernie4_5_vl_moe": {
        "text_config": {
            "rope_parameters": {"rope_theta": 1e4, "rope_type": "default", "mrope_section": [5, 5, 6]},
            "moe_intermediate_size": [256, 192],
        }
    },
    "gemma4": {"text_config": GEMMA4},
    "glm4v_moe": {
        "text_config": {"rope_parameters": {"rope_theta": 1e4, "rope_type": "default", "mrope_section": [4, 2, 2]}}
    },
    "glm5_next": {"text_config": INDEXED | {"index_kpool": 4, "head_dim": DEFAULT, "qk_rope_head_dim": 0}},
    "granitemoehybrid": HYBRID | MAMBA,
    "hunyuan_v1_moe": {"head_dim": 32},
    "hy_v4_vl": {
        "text_config": {"rope_parameters": {"rope_theta": 1e4, "rope_type": "default", "mrope_section": [4, 2, 2]}}
    },
    "kimi_k25": {"text_config": ROPE_HEAD},
    "kimi_linear": HYBRID,
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "longcat_flash": {"head_dim": 16, "zero_expert_num": 2},
    "mistral4": {
        "rope_parameters": {
            "rope_theta": 1e4,
            "rope_type": "default",
            "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 512,
        },
        "head_dim": 16,
    },
    "mimo_v2_flash": {"head_dim": 48, "layer_types": ["full_attention", "full_attention"]},
    "flint": {"mlp_only_layers": [0]},
    "muse_spark": {"audio_config": {"hidden_sizes": [32, 32], "depths": [1, 1], "patch_sizes": [16, 6]}},
    "nemotron_h": NEMOTRON_H,
    "nemotron_h_omni": {"text_config": NEMOTRON_H, "vision_config": {"video_temporal_patch_size": 2}},
    "qwen3_5_moe": {"text_config": HYBRID},
    "qwen3_next": HYBRID,
    "qwen3_omni_moe": {
        "talker_config": {"spatial_merge_size": 2, "text_config": {"shared_expert_intermediate_size": WIDTH}}
    },
    "qwen4_exp": {"text_config": QSA},
    "step3p7": {"text_config": {"sliding_window": 64}},
    "switch_transformers": {
        "encoder_sparse_step": 2,
        "decoder_sparse_step": 2,
        "num_sparse_encoder_layers": 1,
        "num_sparse_decoder_layers": 1,
    },
    "nllb-moe": {"encoder_sparse_step": 2, "decoder_sparse_step": 2},
    "vitpose_backbone": {"num_experts": EXPERTS, "part_features": 32, "image_size": [32, 32], "patch_size": [8, 8]},
    "zaya": {"num_experts_per_tok": 1},
}


def over(model_type):
    """What a type wants besides TINY; a text model wants what its model with pictures wants for it."""
    whole = OVER.get(model_type.removesuffix("_text"), {})
    return OVER.get(model_type) or whole.get("text_config", {})


def overrides(default, over):
    """What a class is called with, so that it makes a small one. default: what it makes without arguments."""
    values, found = {}, vars(default)
    for name, value in TINY.items():
        if name in found and (found[name] is not None or name in WANTED):
            values[name] = value
    special = 0
    for name, value in sorted(found.items()):
        if re.search(r"_token_(id|index)$", name) and isinstance(value, int):
            special += 1
            values[name] = special  # below 100, where the words of a test begin
        if hasattr(value, "to_dict"):
            nested = over.get(name) if isinstance(over.get(name), dict) else {}
            values[name] = overrides(value, nested)
            if getattr(value, "model_type", ""):
                values[name]["model_type"] = value.model_type
    for name, value in over.items():
        if value is DEFAULT:
            values.pop(name, None)
        elif not (isinstance(value, dict) and hasattr(found.get(name), "to_dict")):
            values[name] = value
    return values
