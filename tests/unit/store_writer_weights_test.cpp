// Quantized weights and strided tensors on their way into a file.
#include <cstring>

#include "formats/spec_text.h"
#include "store_writer_files.h"

namespace moeq_test {
namespace {

using moeq::EncodedWeight;
using moeq::Geometry;
using moeq::store::DialectEntries;

Geometry geometry_of(const char* text, const Shape& shape)
{
    Outcome outcome;
    moeq_spec spec{};
    EXPECT_EQ(moeq::parse_spec(text, &spec, outcome.report), MOEQ_OK);
    Geometry geometry;
    EXPECT_EQ(
        make_geometry(spec, 0, static_cast<int32_t>(shape.size()), shape.data(), 0, "", &geometry, outcome.report),
        MOEQ_OK)
        << outcome.message();
    return geometry;
}

// Components of random bytes.
struct SomeWeight {
    SomeWeight(const char* spec, const Shape& shape, uint32_t seed = 7)
    {
        weight.geometry = geometry_of(spec, shape);
        int32_t components[moeq::kComponentLimit];
        const int32_t count = stored_components(weight.geometry, components);
        for (int32_t i = 0; i < count; ++i) {
            moeq::TensorView& view = weight.component(components[i]);
            component_layout(weight.geometry, components[i], &view);
            memory[i] = random_bytes(view.count * view.itemsize(), seed + static_cast<uint32_t>(i));
            view.data = memory[i].data();
        }
        weight.prepare();
    }
    EncodedWeight weight;
    std::string memory[moeq::kComponentLimit];
};

TEST(Writer, puts_components_where_the_dialect_wants_them)
{
    for (const char* spec : {"int8", "nf4", "nf4:nested", "fp8_e4m3:block128x128"}) {
        SomeWeight some(spec, {3, 64, 128});
        Making making;
        Outcome outcome;
        making.declare("dense", MOEQ_DTYPE_BF16, {2});
        ASSERT_EQ(making.writer.declare_weight("m.experts.up", some.weight.geometry, outcome.report), MOEQ_OK)
            << outcome.message();
        ASSERT_EQ(making.writer.put_weight("m.experts.up", some.weight, outcome.report), MOEQ_OK) << outcome.message();
        making.put("dense", "1234");
        const std::string file = making.commit();
        const Parsed parsed(file);
        DialectEntries entries(making.memory.allocator);
        const moeq::store::Dialect& native = *moeq::store::find_dialect(MOEQ_DIALECT_NATIVE);
        ASSERT_EQ(native.list(some.weight.geometry, "m.experts.up", &entries, outcome.report), MOEQ_OK);
        EXPECT_EQ(parsed.header.entries.size(), entries.count + 1);
        for (int32_t i = 0; i < entries.count; ++i) {
            const std::string name = std::string("m.experts.up") + entries.entries[i].suffix;
            EXPECT_TRUE(parsed.bytes(file, name) == some.memory[i]) << name;
        }
        EXPECT_TRUE(parsed.header.metadata().find("moeq.version").equals("1"));
        EXPECT_FALSE(parsed.header.metadata().find("moeq.weight.m.experts.up").missing());
    }
}

TEST(Writer, puts_strided_components)
{
    const Shape shape = {3, 40, 96};
    SomeWeight some("int8", shape);
    EncodedWeight strided = some.weight;
    // Codes with gaps between rows; scales with the axes the other way round.
    std::string codes(3 * 40 * 100, '\0');
    for (int64_t row = 0; row < 3 * 40; ++row)
        std::memcpy(codes.data() + row * 100, some.memory[0].data() + row * 96, 96);
    strided.codes.data = codes.data();
    strided.codes.strides[0] = 40 * 100;
    strided.codes.strides[1] = 100;
    std::vector<float> scale(3 * 40);
    for (int64_t e = 0; e < 3; ++e)
        for (int64_t r = 0; r < 40; ++r)
            std::memcpy(&scale[static_cast<size_t>(r * 3 + e)], some.memory[1].data() + (e * 40 + r) * 4, 4);
    strided.scale.data = reinterpret_cast<char*>(scale.data());
    strided.scale.strides[0] = 1;
    strided.scale.strides[1] = 3;
    std::string files[2];
    for (int i = 0; i < 2; ++i) {
        Making making;
        Outcome outcome;
        ASSERT_EQ(making.writer.declare_weight("w", some.weight.geometry, outcome.report), MOEQ_OK);
        ASSERT_EQ(making.writer.put_weight("w", i == 0 ? some.weight : strided, outcome.report), MOEQ_OK);
        files[i] = making.commit();
    }
    EXPECT_TRUE(files[0] == files[1]);
}

TEST(Writer, puts_tensors_of_any_strides)
{
    // Larger than the buffer that strided elements go through.
    const int64_t rows = 700, columns = 900;
    std::vector<uint32_t> data(static_cast<size_t>(rows * columns));
    for (size_t i = 0; i < data.size(); ++i)
        data[i] = static_cast<uint32_t>(i) * 2654435761u;
    moeq::TensorView view;
    view.data = reinterpret_cast<char*>(data.data());
    view.dtype = MOEQ_DTYPE_FP32;
    view.ndim = 2;
    view.count = rows * columns;
    view.shape[0] = rows;
    view.shape[1] = columns;
    view.strides[0] = 1; // transposed
    view.strides[1] = rows;
    std::string wanted;
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c)
            wanted.append(reinterpret_cast<const char*>(&data[static_cast<size_t>(c * rows + r)]), 4);
    Making making;
    Outcome outcome;
    making.declare("t", MOEQ_DTYPE_FP32, {rows, columns});
    making.declare("raw", MOEQ_DTYPE_FP4_E2M1, {6});
    ASSERT_EQ(making.writer.put_tensor("t", view, outcome.report), MOEQ_OK) << outcome.message();
    moeq::TensorView raw;
    raw.data = wanted.data();
    raw.dtype = MOEQ_DTYPE_UINT8;
    raw.ndim = 1;
    raw.count = raw.shape[0] = 3;
    raw.strides[0] = 1;
    ASSERT_EQ(making.writer.put_tensor("raw", raw, outcome.report), MOEQ_OK) << outcome.message();
    const std::string file = making.commit();
    EXPECT_TRUE(Parsed(file).bytes(file, "t") == wanted);
    EXPECT_EQ(Parsed(file).bytes(file, "raw"), wanted.substr(0, 3));
}

TEST(Writer, refuses_other_weights_than_declared)
{
    SomeWeight some("int8", {2, 8, 64});
    Making making;
    Outcome outcome;
    ASSERT_EQ(making.writer.declare_weight("w", some.weight.geometry, outcome.report), MOEQ_OK);
    const auto refused = [&](const char* name, const char* spec, const Shape& shape, moeq_status status) {
        Outcome failed;
        const SomeWeight other(spec, shape);
        EXPECT_EQ(making.writer.put_weight(name, other.weight, failed.report), status) << failed.message();
    };
    refused("v", "int8", {2, 8, 64}, MOEQ_ERROR_NOT_FOUND);
    refused("w", "int8", {1, 8, 64}, MOEQ_ERROR_SHAPE);
    refused("w", "int8", {16, 64}, MOEQ_ERROR_SHAPE);
    refused("w", "fp8_e4m3", {2, 8, 64}, MOEQ_ERROR_MISMATCH);
    refused("w", "int8:expert", {2, 8, 64}, MOEQ_ERROR_MISMATCH);
    refused("w", "int8:dtype=fp16", {2, 8, 64}, MOEQ_ERROR_MISMATCH);
    ASSERT_EQ(making.writer.put_weight("w", some.weight, outcome.report), MOEQ_OK) << outcome.message();
    refused("w", "int8", {2, 8, 64}, MOEQ_ERROR_DUPLICATE);
    making.commit();
}

// A weight whose entries collide with one that is there leaves nothing of itself.
TEST(Writer, declares_weights_whole_or_not_at_all)
{
    const Geometry geometry = geometry_of("nf4:nested", {2, 8, 64});
    Making making;
    Outcome outcome, repeated;
    making.declare("w.moeq.nested_map", MOEQ_DTYPE_UINT8, {1});
    EXPECT_EQ(making.writer.declare_weight("w", geometry, outcome.report), MOEQ_ERROR_DUPLICATE);
    making.declare("w", MOEQ_DTYPE_UINT8, {1});
    making.put("w", "1");
    making.put("w.moeq.nested_map", "1");
    const std::string file = making.commit();
    EXPECT_EQ(Parsed(file).header.entries.size(), 2);
    EXPECT_EQ(Parsed(file).header.metadata().size(), 1);
}

TEST(Writer, without_memory_stays_as_it_was)
{
    SomeWeight some("nf4:nested", {2, 8, 64});
    std::string wanted;
    for (int64_t fail_at = -1; fail_at < 500; ++fail_at) {
        Making making;
        const auto until_done = [&](auto&& call) {
            Outcome outcome;
            const moeq_status status = call(outcome.report);
            if (status == MOEQ_OK)
                return;
            ASSERT_EQ(status, MOEQ_ERROR_MEMORY) << outcome.message();
            Outcome again;
            ASSERT_EQ(call(again.report), MOEQ_OK) << again.message();
        };
        making.memory.calls = 0;
        making.memory.fail_at = fail_at;
        making.memory.fail_once = true;
        const Shape shape = {100};
        const std::string bytes = random_bytes(100);
        until_done([&](moeq::Report& r) { return making.writer.declare_weight("w", some.weight.geometry, r); });
        until_done([&](moeq::Report& r) { return making.writer.declare("x", MOEQ_DTYPE_UINT8, 1, shape.data(), r); });
        until_done([&](moeq::Report& r) { return making.writer.put("x", 0, bytes.data(), 50, r); });
        until_done([&](moeq::Report& r) { return making.writer.put_weight("w", some.weight, r); });
        until_done([&](moeq::Report& r) { return making.writer.put("x", 50, bytes.data() + 50, 50, r); });
        until_done([&](moeq::Report& r) { return making.writer.commit(r); });
        const bool met = making.memory.calls > fail_at;
        const std::string file = contents(making.path());
        if (wanted.empty())
            wanted = file;
        ASSERT_TRUE(file == wanted) << "allocation " << fail_at;
        if (!met)
            return;
    }
    FAIL() << "no end";
}

} // namespace
} // namespace moeq_test
