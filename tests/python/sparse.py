"""Checkpoints of real sizes that take no room: their headers are real, their data are holes."""

import json

# Bytes of an element, by the name that safetensors has for it.
SIZES = {"F32": 4, "BF16": 2, "F8_E4M3": 1}
SHARD_BYTES = 4_300_000_000


def write_sparse(folder, tensors, config, shard_bytes=SHARD_BYTES):
    """tensors: (name, dtype, shape) in order; a shard ends where the next tensor would exceed its size."""
    folder.mkdir(parents=True)
    shards, filled = [[]], 0
    for name, dtype, shape in tensors:
        size = SIZES[dtype]
        for extent in shape:
            size *= extent
        if shards[-1] and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append((name, dtype, shape, filled, filled + size))
        filled += size
    weight_map, total = {}, 0
    for index, shard in enumerate(shards, 1):
        file = f"model-{index:05}-of-{len(shards):06}.safetensors"
        header = {
            name: {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
            for name, dtype, shape, begin, end in shard
        }
        text = json.dumps({"__metadata__": {"format": "pt"}} | header).encode()
        with open(folder / file, "wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            out.truncate(8 + len(text) + shard[-1][-1])
        weight_map |= dict.fromkeys(header, file)
        total += shard[-1][-1]
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config))
    return len(weight_map), len(shards)


def tiled(name, rows, columns):
    """A linear in FP8 with a scale for each 128 x 128 tile, as DeepSeek's files have it."""
    yield name + ".weight", "F8_E4M3", (rows, columns)
    yield name + ".weight_scale_inv", "F32", (-(-rows // 128), -(-columns // 128))


def deepseek_v3(layers=61, dense=3, experts=256):
    """Tensors of DeepSeek-V3 as released, the layer of multi-token prediction too, and its config.json."""
    hidden, width, wide, vocabulary, heads = 7168, 2048, 18432, 129280, 128

    def mlp(prefix, size):
        for name, rows, columns in (("gate", size, hidden), ("up", size, hidden), ("down", hidden, size)):
            yield from tiled(f"{prefix}{name}_proj", rows, columns)

    def tensors():
        yield "model.embed_tokens.weight", "BF16", (vocabulary, hidden)
        for layer in range(layers + 1):
            prefix = f"model.layers.{layer}."
            for name, rows, columns in (("q_a_proj", 1536, hidden), ("q_b_proj", heads * 192, 1536),
                                        ("kv_a_proj_with_mqa", 576, hidden), ("kv_b_proj", heads * 256, 512),
                                        ("o_proj", hidden, heads * 128)):  # fmt: skip
                yield from tiled(f"{prefix}self_attn.{name}", rows, columns)
            for name, size in (("self_attn.q_a_layernorm", 1536), ("self_attn.kv_a_layernorm", 512),
                               ("input_layernorm", hidden), ("post_attention_layernorm", hidden)):  # fmt: skip
                yield f"{prefix}{name}.weight", "BF16", (size,)
            if layer < dense:
                yield from mlp(prefix + "mlp.", wide)
                continue
            yield f"{prefix}mlp.gate.weight", "BF16", (experts, hidden)
            yield f"{prefix}mlp.gate.e_score_correction_bias", "F32", (experts,)
            yield from mlp(prefix + "mlp.shared_experts.", width)
            for expert in range(experts):
                yield from mlp(f"{prefix}mlp.experts.{expert}.", width)
            if layer == layers:
                for name in ("enorm", "hnorm", "shared_head.norm"):
                    yield f"{prefix}{name}.weight", "BF16", (hidden,)
                yield f"{prefix}eh_proj.weight", "BF16", (hidden, 2 * hidden)
        yield "model.norm.weight", "BF16", (hidden,)
        yield "lm_head.weight", "BF16", (vocabulary, hidden)

    quantization = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}
    config = {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": hidden,
              "num_hidden_layers": layers, "n_routed_experts": experts, "moe_intermediate_size": width,
              "intermediate_size": wide, "first_k_dense_replace": dense, "num_nextn_predict_layers": 1,
              "num_experts_per_tok": 8, "n_shared_experts": 1, "vocab_size": vocabulary,
              "torch_dtype": "bfloat16", "quantization_config": quantization}  # fmt: skip
    return tensors(), config
