// Codes of schemes that moeq does not read: found by their types, names and companions, and called what they are.
#include "store/dialects/foreign.h"
#include "store_dialect_files.h"

namespace {

using dialect_test::Files;
using dialect_test::Recognised;
using moeq::store::ForeignCodes;

// With the checkpoint, whose texts they point to.
struct Found {
    explicit Found(Files& files)
    {
        EXPECT_EQ(checkpoint.open(files), MOEQ_OK) << checkpoint.error.message;
        foreign = moeq::store::find_foreign_codes(checkpoint.checkpoint, checkpoint.weights);
    }

    Recognised checkpoint;
    ForeignCodes foreign;
};

std::string config(const std::string& quantization) { return R"({"quantization_config": )" + quantization + "}"; }

TEST(ForeignCodes, are_none_in_a_dense_checkpoint)
{
    Files files;
    files.add("m.q.weight", "BF16", {4, 8}).add("m.position_ids", "I64", {1, 8}).add("m.mask", "U8", {8, 8});
    files.add("m.table", "I32", {4, 8}).add("m.experts.index", "I32", {4, 8}).add("m.flags", "BOOL", {4, 8});
    const Found found(files);
    const ForeignCodes& foreign = found.foreign;
    EXPECT_EQ(foreign.scheme, nullptr);
    EXPECT_EQ(foreign.count, 0);
}

TEST(ForeignCodes, are_named_as_config_json_states_them)
{
    Files files;
    files.add("m.q.qweight", "I32", {4, 8}).add("m.q.scales", "F16", {1, 8}).add("m.q.g_idx", "I32", {32});
    files.set_config(config(R"({"quant_method": "gptq", "bits": 4, "checkpoint_format": "gptq_v2"})"));
    const Found found(files);
    const ForeignCodes& foreign = found.foreign;
    EXPECT_STREQ(foreign.scheme, "gptq");
    EXPECT_STREQ(foreign.detail, "gptq_v2");
    EXPECT_TRUE(foreign.stated);
    EXPECT_EQ(foreign.count, 1);
    EXPECT_FALSE(foreign.lost);

    Files packed;
    packed.add("m.q.weight_packed", "I32", {4, 1}).add("m.q.weight_scale", "BF16", {4, 1});
    packed.set_config(config(R"({"quant_method": "compressed-tensors", "format": "pack-quantized"})"));
    const Found other(packed);
    EXPECT_STREQ(other.foreign.scheme, "compressed-tensors");
    EXPECT_STREQ(other.foreign.detail, "pack-quantized");
    EXPECT_EQ(other.foreign.count, 1);
}

TEST(ForeignCodes, are_named_by_what_is_beside_them)
{
    const struct {
        const char *codes, *type, *beside, *scheme;
    } cases[] = {
        {"m.experts.gate_up_proj_blocks", "U8", "m.experts.gate_up_proj_scales", "MXFP4 in blocks"},
        {"m.q.qweight", "I32", "m.q.g_idx", "GPTQ"},
        {"m.q.qweight", "I32", "m.q.qzeros", "GPTQ or AWQ"},
        {"m.q.weight_packed", "U8", "m.q.weight_scale", "packed compressed-tensors"},
        {"m.switch_mlp.up_proj.weight", "U32", "m.switch_mlp.up_proj.scales", "MLX"},
        {"m.q.weight", "U8", "m.q.weight_scale_2", "ModelOpt NVFP4"},
        {"m.experts.0.w1.weight", "I8", "m.experts.0.w1.scale", "packed FP4"},
        {"m.q.weight", "F8_E4M3", "m.q.weight_scale", "FP8, FP6 or FP4"},
        {"m.q.weight", "U8", "m.q.weight_scale", "a scheme that config.json does not name"},
    };
    for (const auto& one : cases) {
        Files files;
        files.add(one.codes, one.type, {4, 8}).add(one.beside, "F32", {4, 1});
        const Found found(files);
        const ForeignCodes& foreign = found.foreign;
        EXPECT_STREQ(foreign.scheme, one.scheme) << one.codes;
        EXPECT_EQ(foreign.count, 1) << one.codes;
        EXPECT_FALSE(foreign.stated || foreign.lost) << one.codes;
    }
}

TEST(ForeignCodes, of_a_known_dialect_have_lost_their_scales)
{
    Files files;
    files.add("m.q.weight", "F8_E4M3", {4, 8}).add("m.k.weight", "F8_E4M3", {4, 8});
    files.add("m.k.weight_scale_inv", "F32", {1, 1});
    files.set_config(config(R"({"quant_method": "fp8"})"));
    const Found found(files);
    const ForeignCodes& foreign = found.foreign;
    EXPECT_TRUE(foreign.lost);
    EXPECT_EQ(foreign.count, 1);
    EXPECT_STREQ(foreign.scheme, "hf-fp8");
}

TEST(ForeignCodes, stated_by_config_json_alone_are_no_codes)
{
    Files files;
    files.add("m.q.weight", "BF16", {4, 8}).set_config(config(R"({"quant_method": "awq", "version": "gemm"})"));
    const Found found(files);
    const ForeignCodes& foreign = found.foreign;
    EXPECT_STREQ(foreign.scheme, "awq");
    EXPECT_EQ(foreign.count, 0);
    EXPECT_EQ(foreign.first, -1);
}

} // namespace
