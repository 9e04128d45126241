#!/usr/bin/env python3
"""Writes tests/fuzz/corpus: small files, good and bad, that a fuzzer starts from and that the tests replay.

Files that broke a target once are beside them under names of their own, and are not touched.
"""

import argparse
import json
import math
import struct
import tempfile
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"


def container(header, data=b""):
    text = header if isinstance(header, bytes) else (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def experts():
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name in ("gate_proj", "up_proj", "down_proj"):
        for expert in range(2):
            header[f"model.layers.0.mlp.experts.{expert}.{name}.weight"] = entry("BF16", [2, 4], at, at + 16)
            at += 16
    return container(header, bytes(at))


def native():
    spec = json.dumps({"spec": "nf4:64", "shape": [2, 4, 32]})
    header = {
        "__metadata__": {"moeq.version": "1", "moeq.weight.w": spec},
        "w": entry("U8", [128], 0, 128),
        "w.moeq.absmax": entry("F32", [4], 128, 144),
    }
    return container(header, bytes(144))


def bitsandbytes():
    header = {
        "l.weight": entry("U8", [64, 1], 0, 64),
        "l.weight.absmax": entry("F32", [2], 64, 72),
        "l.weight.quant_map": entry("F32", [16], 72, 136),
        "l.weight.quant_state.bitsandbytes__nf4": entry("U8", [20], 136, 156),
    }
    return container(header, bytes(156))


def types():
    eight_bits = ("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
    sizes = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, **dict.fromkeys(eight_bits, 8)}
    sizes |= dict.fromkeys(("I16", "U16", "F16", "BF16"), 16) | dict.fromkeys(("I32", "U32", "F32"), 32)
    sizes |= dict.fromkeys(("C64", "F64", "I64", "U64"), 64)
    header, at = {}, 0
    for name, size in sizes.items():
        header[name.lower()] = entry(name, [2, 4], at, at + size)
        at += size
    return container(header, bytes(at))


def headers():
    t = '"t":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'
    huge = 1 << 62
    yield "empty", b""
    yield "length", struct.pack("<Q", 2)
    yield "none", container("{}")
    yield "padded", container("{" + t + "}     ", b"1234")
    yield "experts", experts()
    yield "native", native()
    yield "bitsandbytes", bitsandbytes()
    yield "types", types()
    yield "metadata", container({"__metadata__": {"": "", "a": "\n\u20ac", "b": '{"c": [1]}'}})
    name = '"\\u0061\\ud83d\\ude00\\\\\\"\\/"'
    yield "escapes", container("{" + name + ':{"sh\\u0061pe":[4],"dtype":"\\u00558","data_offsets":[0,4]}}', b"1234")
    tensors = {"a": entry("F32", [0], 0, 0), "b": entry("U8", [2], 0, 2), "c": entry("F4", [3, 0], 2, 2)}
    yield "empties", container(tensors, b"12")
    yield "backwards", container({"a": entry("U8", [2], 2, 4), "b": entry("U8", [2], 0, 2)}, b"1234")
    yield "scalar", container({"a": entry("F64", [], 0, 8)}, bytes(8))
    yield "dimensions", container({"a": entry("U8", [1] * 8, 0, 1)}, b"1")
    yield "longest", container({"n" * 4096: entry("U8", [1], 0, 1)}, b"1")
    yield "F01-beyond", struct.pack("<Q", 100) + b"{}"
    yield "F01-wraps", struct.pack("<Q", (1 << 64) - 8) + b"{}"
    yield "F02-limit", container("{" + " " * 6_100 + "}")
    yield "F03-product", container({"a": entry("U8", [1 << 32, 1 << 32], 0, 0)})
    yield "F03-bits", container({"a": entry("F64", [1 << 58], 0, 0)})
    yield "F04-zero-first", container({"a": entry("U8", [0, huge, 4], 0, 0)})
    yield "F04-zero-last", container({"a": entry("U8", [huge, 4, 0], 0, 0)})
    yield "F05-sum", container({"a": entry("U8", [8], (1 << 63) - 8, (1 << 63) - 1)})
    yield "F06-backwards", container({"a": entry("U8", [4], 4, 0)}, b"1234")
    yield "F06-negative", container({"a": entry("U8", [4], -4, 0)}, b"1234")
    yield "F07-beyond", container({"a": entry("U8", [5], 0, 5)}, b"1234")
    yield "F08-size", container({"a": entry("F32", [2], 0, 4)}, b"1234")
    yield "F09-gap", container({"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 2, 3)}, b"123")
    yield "F09-overlap", container({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, b"123")
    yield "F09-tail", container({"a": entry("U8", [2], 0, 2)}, b"123")
    yield "F10-type", container({"a": entry("Q4_0", [2], 0, 2)}, b"12")
    yield "F11-tensor", container("{" + t + ',"\\u0074":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}}', b"1234")
    yield "F11-metadata", container('{"__metadata__":{"a":"","\\u0061":""}}')
    yield "F11-field", container('{"t":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}}', b"1234")
    yield "F12-depth", container("[" * 300)
    yield "F12-float", container('{"t":{"dtype":"U8","shape":[4.0],"data_offsets":[0,4e0]}}', b"1234")
    yield "F12-utf8", container(b'{"\xed\xa0\x80":' + t[4:].encode() + b"}", b"1234")
    yield "F12-nul", container('{"a\\u0000":' + t[4:] + "}", b"1234")
    yield "F12-unknown", container('{"t":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1}}', b"1234")
    yield "F13-name", container({"n" * 4097: entry("U8", [1], 0, 1)}, b"1")
    yield "F14-dimensions", container({"a": entry("U8", [1] * 9, 0, 1)}, b"1")
    yield "F14-bits", container({"a": entry("F4", [3], 0, 1)}, b"1")
    yield "F25-extent", container({"a": entry("U8", [-2, -2], 0, 4)}, b"1234")


def texts():
    """The first byte chooses the rules: depth, and two flags."""
    plain, integers, python = b"\xfc", b"\xfd", b"\xfe"
    yield "config", plain + b'{"model_type": "mixtral", "eps": 1e-05, "layers": 4, "quantization_config": null}'
    yield "index", integers + b'{"metadata": {"total_size": 12}, "weight_map": {"a": "model.safetensors"}}'
    yield "infinity", python + b'{"a": [0.0, Infinity, -Infinity, NaN]}'
    yield "numbers", plain + b"[0, -0, 1.5, -1.25e-7, 1E+308, 1e999, 5e-324, 9007199254740993, 12345678901234567890]"
    yield "strings", plain + '["\\u0041\\u00e9\\u20ac\\ud834\\udd1e\\b\\f\\n\\r\\t\\"\\\\\\/", "é€𝄞"]'.encode()
    yield "nested", plain + b"[" * 40 + b"{}" + b"]" * 40
    yield "deep", b"\x10" + b"[" * 10 + b"]" * 10
    yield "twice", plain + b'{"a": 1, "b": {"c": 1, "\\u0063": 2}}'
    yield "many", plain + json.dumps({str(i): i for i in range(40)}).encode()
    yield "many-twice", plain + json.dumps({str(i): i for i in range(40)}).encode()[:-1] + b', "\\u0033": 0}'
    yield "state", plain + b'{"quant_type": "nf4", "blocksize": 64, "nested_offset": 0.012345678955316544}'
    yield "surrogate", plain + b'["\\ud800"]'
    yield "utf8", plain + b'["\xc0\x80"]'
    yield "comma", plain + b"[1,]"
    yield "empty", plain


def zeros(config, shapes):
    """A config.json, and a file with tensors of bf16; all zeros but for the first elements."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = entry("BF16", shape, at, at + size)
        at += size
    return json.dumps(config).encode(), container(header, b"\x80\x3f\x00\xc0" * 40 + bytes(at - 160))


def families():
    """Layouts that differ from those of most: two experts, hidden size 16, width 8."""
    stem = "transformer.blocks.0.ffn.experts.mlp."
    yield "dbrx", zeros(
        {"model_type": "dbrx", "ffn_config": {"moe_num_experts": 2}}, {stem + name: [16, 16] for name in ("w1", "v1", "w2")}
    )
    stem = "model.llm.layers.0.mlp.experts."
    yield "inkling", zeros(
        {"model_type": "inkling2"}, {stem + "w13_weight": [2, 16, 16], stem + "w2_weight": [2, 16, 8]}
    )
    stem = "model.layers.0."
    yield "jetmoe", zeros(
        {"model_type": "jetmoe"},
        {f"{stem}{part}.{name}_linear.weight": [2, 16, 16] for part in ("mlp", "self_attention.experts")
         for name in ("input", "output")},
    )  # fmt: skip
    stem = "model.layers.0.mlp.experts."
    yield "ernie", zeros(
        {"model_type": "ernie4_5_vl_moe", "moe_num_experts": [2, 1]},
        {f"{stem}{expert}.{name}_proj.weight": [8, 16] if expert < 2 else [4, 16] for expert in range(3)
         for name in ("gate", "up")},
    )  # fmt: skip
    stem = "model.layers.0.mlp.switch_mlp."
    yield "mlx", zeros({"model_type": "qwen3_moe"}, {f"{stem}{name}_proj.weight": [2, 8, 16] for name in ("gate", "up")})


def dense(fused):
    """A layer of two experts, hidden size 16, width 8."""
    prefix = "model.layers.0.mlp."
    shapes = {prefix + "gate.weight": [2, 16]}
    if fused:
        shapes |= {prefix + "experts.gate_up_proj": [2, 16, 16], prefix + "experts.down_proj": [2, 16, 8]}
    else:
        rows = {"gate_proj": [8, 16], "up_proj": [8, 16], "down_proj": [16, 8]}
        shapes |= {f"{prefix}experts.{e}.{name}.weight": shape for e in range(2) for name, shape in rows.items()}
    config = {
        "model_type": "qwen3_moe",
        "num_experts": 2,
        "hidden_size": 16,
        "moe_intermediate_size": 8,
        "num_hidden_layers": 1,
    }
    return zeros(config, shapes)


def patterns():
    """config.json, patterns, names."""
    entries = [
        {"match": "net.*.e{expert}.gate", "stack": "net.*.first", "experts": 4, "cut": "output"},
        {"match": "net.*.e{expert}.gate", "stack": "net.*.second", "first_expert": 4},
        {"match": "**.w_in", "stack": "**.in", "folded": True, "experts": 4, "scale_axis": -2, "layout": "interleaved"},
    ]
    names = ["net.0.e3.gate", "net.0.e4.gate", "net.0.e04.gate", "net.0.w_in", "w_in", ""]
    yield "given", b"\xff".join([b"{}", *(text.encode() for text in [json.dumps(entries), *names])])
    types = {
        "dbrx": ({"ffn_config": {"moe_num_experts": 16}}, ["transformer.blocks.0.ffn.experts.mlp.w1"]),
        "ernie4_5_vl_moe": (
            {"moe_num_experts": [4, 2]},
            [f"model.layers.1.mlp.experts.{expert}.up_proj.weight" for expert in (0, 3, 4, 5, 6)],
        ),
        "dots3_note": (
            {"vision_config": {"pyramid_num_routed": [-1, 4]}},
            ["vision_encoder.blocks.1.mlp.experts.3.fc1.weight", "model.layers.1.mlp.experts.gate_up_proj"],
        ),
        "inkling2": ({"text_config": {"per_layer_config": {"1": {"num_experts": 8}}}},
                     ["model.llm.layers.1.mlp.experts.w13_weight"]),
        "jetmoe": ({}, ["model.layers.0.self_attention.experts.input_linear.weight"]),
        "nllb-moe": ({}, ["model.encoder.layers.3.ffn.experts.expert_7.fc1.weight"]),
        "vitpose": ({}, ["backbone.encoder.layer.0.mlp.experts.5.weight"]),
        "mixtral": ({"talker_config": {"num_experts": 2}}, ["talker.l.0.block_sparse_moe.experts.1.w1.weight",
                                                            "a.mlp.switch_mlp.gate_proj.weight"]),
    }  # fmt: skip
    for model_type, (config, names) in types.items():
        yield model_type, b"\xff".join(
            [json.dumps({"model_type": model_type, **config}).encode(), b"", *(name.encode() for name in names)]
        )


def joined(config, file):
    """As tests/fuzz/checkpoint_fuzz.cpp takes it."""
    end = 8 + struct.unpack("<Q", file[:8])[0]
    return config + b"\xff" + file[8:end] + b"\xff" + file[end:].rstrip(b"\0")


def checkpoints():
    """Dense checkpoints, and what moeq makes of them in each dialect."""
    import moeq

    for name, (config, file) in families():
        yield f"dense-{name}", joined(config, file)

    results = {"native": ("nf4", "int8", "nf4:nested"), "bitsandbytes": ("nf4", "nf4:nested", "int8"),
               "compressed-tensors": ("int8", "fp8_e4m3"), "hf-fp8": ("fp8_e4m3:block128x128",)}  # fmt: skip
    for fused in (True, False):
        config, file = dense(fused)
        form = "fused" if fused else "single"
        yield f"dense-{form}", joined(config, file)
        for dialect, specs in results.items():
            for spec in specs:
                with tempfile.TemporaryDirectory() as folder:
                    source, target = Path(folder, "source"), Path(folder, "target")
                    source.mkdir()
                    (source / "config.json").write_bytes(config)
                    (source / "model.safetensors").write_bytes(file)
                    try:
                        moeq.convert(source, target, spec=spec, dialect=dialect)
                    except moeq.UnsupportedError as problem:
                        print(f"{dialect} {spec} {form}: {problem}")
                        continue
                    made = sorted(target.glob("*.safetensors"))
                    assert made, list(target.iterdir())
                    for number, path in enumerate(made[:2]):
                        name = f"{dialect}-{spec.replace(':', '-')}-{form}-{number}"
                        yield name, joined((target / "config.json").read_bytes(), path.read_bytes())


def main():
    corpora = {"header": headers, "json": texts, "patterns": patterns, "checkpoint": checkpoints}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=corpora, help="checkpoint needs the package moeq and its library")
    options = parser.parse_args()
    for name in [options.only] if options.only else corpora:
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in corpora[name]():
            (folder / file).write_bytes(data)


if __name__ == "__main__":
    main()
