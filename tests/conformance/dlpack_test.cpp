// Tensors from outside: what is accepted, what is refused with which message, and that every deleter runs exactly once. The ids
// are the classes of docs/errors.md.
#include "support/api.h"

#include <climits>

namespace moeq_test {
namespace {

class Dlpack : public testing::Test {
protected:
    // Quantizes as int8 rows and gives the codes; the source must be accepted.
    Bytes codes_of(DLManagedTensorVersioned* source)
    {
        const QTensor q = quantize(context, source, "int8");
        return q == nullptr ? Bytes() : stored_bytes(q);
    }
    moeq_status refused(const DLManagedTensorVersioned* source)
    {
        const moeq_spec spec = parse("int8");
        moeq_qtensor* out = reinterpret_cast<moeq_qtensor*>(this);
        error = Error();
        const moeq_status status = moeq_qtensor_quantize(context.get(), source, &spec, nullptr, nullptr, &out, &error);
        EXPECT_EQ(out, nullptr);
        EXPECT_EQ(error.argument, 2);
        EXPECT_NE(error.text().find("moeq_qtensor_quantize: source: got "), std::string::npos) << error.text();
        EXPECT_NE(error.text().find("; want "), std::string::npos) << error.text();
        return status;
    }
    moeq_status refused_destination(DLManagedTensorVersioned* destination)
    {
        HostTensor source(MOEQ_DTYPE_FP32, {2, 4, 8});
        const QTensor q = quantize(context, source.fill(), "int8");
        error = Error();
        const moeq_status status = moeq_qtensor_dequantize(q.get(), nullptr, nullptr, destination, &error);
        EXPECT_EQ(error.argument, 4);
        EXPECT_NE(error.text().find("moeq_qtensor_dequantize: destination: got "), std::string::npos) << error.text();
        return status;
    }

    Context context = make_context();
    Error error;
};

TEST_F(Dlpack, D01_null_strides_are_row_major)
{
    HostTensor source(MOEQ_DTYPE_FP32, {2, 4, 8});
    const Bytes expected = codes_of(source.fill());
    source.plain().strides = nullptr;
    EXPECT_EQ(codes_of(source), expected);
}

TEST_F(Dlpack, D02_empty_tensors_never_touch_data)
{
    for (const Shape& shape : {Shape{0, 4, 8}, Shape{2, 0, 8}, Shape{2, 4, 0}}) {
        HostTensor source(MOEQ_DTYPE_FP32, shape, {123, -7, 99});
        source.plain().data = nullptr;
        for (const char* spec :
             {"int8", "nf4", "nf4:nested", "fp8_e4m3:block128x128", "fp8_e4m3:expert", "int8:axis=-2"}) {
            const QTensor q = quantize(context, source, spec);
            ASSERT_NE(q, nullptr) << spec;
            HostTensor out(MOEQ_DTYPE_BF16, shape);
            out.plain().data = nullptr;
            MOEQ_EXPECT_OK(moeq_qtensor_dequantize(q.get(), nullptr, nullptr, out, &ok));
        }
    }
    // Rows of no columns still have their statistics, those of zeros.
    HostTensor source(MOEQ_DTYPE_FP32, {2, 4, 0});
    const QTensor q = quantize(context, source, "int8");
    EXPECT_EQ(packed_bytes(component(q, MOEQ_COMPONENT_SCALE).get()), Bytes(2 * 4 * 4, 0));
}

TEST_F(Dlpack, D03_strides_of_size_one_axes_are_ignored)
{
    HostTensor plain(MOEQ_DTYPE_FP32, {1, 1, 8});
    const Bytes expected = codes_of(plain.fill());
    for (const int64_t odd : {int64_t{0}, int64_t{-5}, INT64_MAX, INT64_MIN}) {
        Shape strides{odd, odd, 1};
        plain.plain().strides = strides.data();
        EXPECT_EQ(codes_of(plain), expected) << odd;
    }
    HostTensor column(MOEQ_DTYPE_FP32, {2, 3, 1}, {3, 1, 77});
    EXPECT_EQ(codes_of(column.fill()).size(), 2u * 3 + 2 * 3 * 4);
}

TEST_F(Dlpack, D04_rank)
{
    HostTensor source(MOEQ_DTYPE_FP32, {2, 4, 8});
    source.plain().ndim = -1;
    EXPECT_EQ(refused(source), MOEQ_ERROR_SHAPE);
    source.plain().ndim = 9;
    EXPECT_EQ(refused(source), MOEQ_ERROR_SHAPE);
    source.plain().ndim = 1;
    EXPECT_EQ(refused(source), MOEQ_ERROR_SHAPE);
    // 0-d: the arrays may dangle.
    source.plain().ndim = 0;
    source.plain().shape = reinterpret_cast<int64_t*>(8);
    source.plain().strides = reinterpret_cast<int64_t*>(8);
    EXPECT_EQ(refused(source), MOEQ_ERROR_SHAPE);
    source.plain().ndim = 3;
    source.plain().shape = nullptr;
    EXPECT_EQ(refused(source), MOEQ_ERROR_SHAPE);
}

TEST_F(Dlpack, D05_byte_offset_is_added_once)
{
    HostTensor whole(MOEQ_DTYPE_FP32, {3, 4, 8});
    whole.fill();
    HostTensor last(MOEQ_DTYPE_FP32, {1, 4, 8});
    std::memcpy(last.memory().data(), whole.memory().data() + 2 * 4 * 8 * 4, last.memory().size());
    Shape shape{1, 4, 8};
    whole.plain().shape = shape.data();
    whole.plain().byte_offset = 2 * 4 * 8 * 4;
    EXPECT_EQ(codes_of(whole), codes_of(last));

    HostTensor source(MOEQ_DTYPE_FP32, {1, 4, 8});
    const QTensor q = quantize(context, source.fill(), "int8");
    HostTensor out(MOEQ_DTYPE_FP32, {2, 4, 8});
    std::memset(out.memory().data(), 0xEE, out.memory().size());
    out.plain().shape = shape.data();
    out.plain().byte_offset = 4 * 8 * 4;
    MOEQ_EXPECT_OK(moeq_qtensor_dequantize(q.get(), nullptr, nullptr, out, &ok));
    EXPECT_EQ(Bytes(out.memory().begin(), out.memory().begin() + 4 * 8 * 4), Bytes(4 * 8 * 4, 0xEE));
    const std::vector<float> expected = dequantize(q);
    EXPECT_EQ(std::memcmp(out.memory().data() + 4 * 8 * 4, expected.data(), 4 * 8 * 4), 0);
}

TEST_F(Dlpack, D06_natural_alignment_is_enough_and_needed)
{
    for (const int32_t dtype : {MOEQ_DTYPE_FP32, MOEQ_DTYPE_BF16, MOEQ_DTYPE_FP16}) {
        HostTensor aligned(dtype, {2, 5, 67});
        const Bytes expected = codes_of(aligned.fill());
        for (int64_t shift = 1; shift < 64; shift += 7) {
            HostTensor shifted(dtype, {2 * 5 * 67 + 64});
            std::memcpy(shifted.memory().data() + shift * bytes_of(dtype), aligned.memory().data(),
                        aligned.memory().size());
            Shape shape{2, 5, 67};
            shifted.plain().ndim = 3;
            shifted.plain().shape = shape.data();
            shifted.plain().strides = nullptr;
            shifted.plain().byte_offset = static_cast<uint64_t>(shift * bytes_of(dtype));
            EXPECT_EQ(codes_of(shifted), expected);
            shifted.plain().byte_offset += 1;
            EXPECT_EQ(refused(shifted), MOEQ_ERROR_LAYOUT);
        }
    }
}

TEST_F(Dlpack, D07_extents_that_overflow)
{
    HostTensor source(MOEQ_DTYPE_FP32, {2, 4, 8});
    for (const Shape& shape : {Shape{-1, 4, 8}, Shape{2, INT64_MIN, 8}, Shape{INT64_MAX, 4, 8},
                               Shape{int64_t{1} << 32, int64_t{1} << 31, 2}, Shape{int64_t{1} << 62, 1, 1}}) {
        Shape copy = shape;
        source.plain().shape = copy.data();
        EXPECT_EQ(refused(source), MOEQ_ERROR_SHAPE) << error.text();
    }
    for (const Shape& strides :
         {Shape{INT64_MAX, 8, 1}, Shape{INT64_MIN, 8, 1}, Shape{INT64_MAX / 4, INT64_MAX / 8, 1}}) {
        HostTensor wide(MOEQ_DTYPE_FP32, {2, 4, 8});
        Shape copy = strides;
        wide.plain().strides = copy.data();
        EXPECT_EQ(refused(wide), MOEQ_ERROR_LAYOUT) << error.text();
    }
    HostTensor far(MOEQ_DTYPE_FP32, {2, 4, 8});
    far.plain().byte_offset = UINT64_MAX - 16;
    EXPECT_EQ(refused(far), MOEQ_ERROR_LAYOUT);
    HostTensor nothing(MOEQ_DTYPE_FP32, {2, 4, 8});
    nothing.plain().data = nullptr;
    EXPECT_EQ(refused(nothing), MOEQ_ERROR_ARGUMENT);
}

TEST_F(Dlpack, D08_to_D11_element_types)
{
    struct Case {
        uint8_t code, bits;
        uint16_t lanes;
    };
    // fp64, fp16 with lanes, bool, complex, opaque, e4m3 (code 8) and fnuz, int8, packed fp4, float of 128 bits
    for (const Case& c :
         {Case{kDLFloat, 64, 1}, Case{kDLFloat, 16, 2}, Case{kDLBool, 8, 1}, Case{kDLComplex, 64, 1},
          Case{kDLOpaqueHandle, 64, 1}, Case{8, 8, 1}, Case{10, 8, 1}, Case{11, 8, 1}, Case{kDLInt, 8, 1},
          Case{17, 4, 1}, Case{kDLFloat, 128, 1}, Case{kDLFloat, 32, 0}, Case{255, 255, 65535}}) {
        HostTensor source(MOEQ_DTYPE_FP64, {2, 4, 8});
        source.plain().dtype = {c.code, c.bits, c.lanes};
        EXPECT_EQ(refused(source), MOEQ_ERROR_DTYPE) << int(c.code);
        const std::string triple = "code " + std::to_string(c.code) + ", bits " + std::to_string(c.bits) + ", lanes " +
                                   std::to_string(c.lanes);
        EXPECT_NE(error.text().find(triple), std::string::npos) << error.text();
        EXPECT_NE(error.text().find("fp32, fp16 or bf16"), std::string::npos) << error.text();
    }
}

TEST_F(Dlpack, D12_read_only)
{
    HostTensor source(MOEQ_DTYPE_FP32, {2, 4, 8});
    const Bytes expected = codes_of(source.fill());
    source->flags = DLPACK_FLAG_BITMASK_READ_ONLY;
    EXPECT_EQ(codes_of(source), expected);
    HostTensor destination(MOEQ_DTYPE_FP32, {2, 4, 8});
    destination->flags = DLPACK_FLAG_BITMASK_READ_ONLY;
    EXPECT_EQ(refused_destination(destination), MOEQ_ERROR_READ_ONLY);
    // What moeq hands out for reading says so.
    const QTensor q = quantize(context, source, "int8");
    const Tensor codes = component(q, MOEQ_COMPONENT_CODES);
    EXPECT_EQ(codes->flags & DLPACK_FLAG_BITMASK_READ_ONLY, DLPACK_FLAG_BITMASK_READ_ONLY);
}

TEST_F(Dlpack, D13_versions)
{
    HostTensor source(MOEQ_DTYPE_FP32, {2, 4, 8});
    const Bytes expected = codes_of(source.fill());
    source->version.minor = 99;
    EXPECT_EQ(codes_of(source), expected);
    // Of another major only the version may be read: the rest of the struct may not even be there.
    const DLPackVersion two{2, 0};
    EXPECT_EQ(refused(reinterpret_cast<const DLManagedTensorVersioned*>(&two)), MOEQ_ERROR_VERSION);
    source->version.major = 0;
    EXPECT_EQ(refused(source), MOEQ_ERROR_VERSION);
    source->version.major = 1;
    source->flags = uint64_t{1} << 40;
    EXPECT_EQ(codes_of(source), expected);
    HostTensor destination(MOEQ_DTYPE_FP32, {2, 4, 8});
    destination->flags = uint64_t{1} << 40;
    EXPECT_EQ(refused_destination(destination), MOEQ_ERROR_VERSION);
    EXPECT_EQ(refused(nullptr), MOEQ_ERROR_ARGUMENT);
}

// Codes and scales of the caller's, for a weight [2, 4, 8].
struct Parts {
    HostTensor codes{MOEQ_DTYPE_INT8, {2, 4, 8}};
    HostTensor scale{MOEQ_DTYPE_FP32, {2, 4}};
    moeq_component components[2] = {{MOEQ_COMPONENT_CODES, 0, codes}, {MOEQ_COMPONENT_SCALE, 0, scale}};
    int64_t shape[3] = {2, 4, 8};

    moeq_status adopt(const Context& context, moeq_qtensor** out, moeq_error* e)
    {
        const moeq_spec spec = parse("int8");
        return moeq_qtensor_adopt(context.get(), &spec, 3, shape, components, 2, nullptr, out, e);
    }
};

TEST_F(Dlpack, D14_a_missing_deleter_is_fine)
{
    Parts parts;
    parts.codes->deleter = nullptr;
    moeq_qtensor* out = nullptr;
    MOEQ_EXPECT_OK(parts.adopt(context, &out, &ok));
    moeq_qtensor_release(out);
    EXPECT_EQ(parts.scale.deleted, 1);
}

TEST_F(Dlpack, D15_adopted_tensors_are_deleted_once_and_only_after_success)
{
    Parts parts;
    moeq_qtensor* out = nullptr;
    parts.components[1].component = MOEQ_COMPONENT_NESTED_SCALE;
    EXPECT_EQ(parts.adopt(context, &out, &error), MOEQ_ERROR_NOT_FOUND);
    parts.components[1].component = MOEQ_COMPONENT_CODES;
    EXPECT_EQ(parts.adopt(context, &out, &error), MOEQ_ERROR_DTYPE);
    parts.components[1] = parts.components[0];
    EXPECT_EQ(parts.adopt(context, &out, &error), MOEQ_ERROR_DUPLICATE);
    parts.components[1] = {MOEQ_COMPONENT_SCALE, 0, parts.scale};
    parts.shape[2] = 9;
    EXPECT_EQ(parts.adopt(context, &out, &error), MOEQ_ERROR_SHAPE);
    EXPECT_EQ(parts.codes.deleted + parts.scale.deleted, 0);
    parts.shape[2] = 8;
    MOEQ_EXPECT_OK(parts.adopt(context, &out, &ok));
    const Tensor codes = component(QTensor(out), MOEQ_COMPONENT_CODES); // the handle goes, the export keeps the storage
    EXPECT_EQ(parts.codes.deleted + parts.scale.deleted, 0);
    EXPECT_EQ(codes->dl_tensor.data, parts.codes.memory().data());
}

TEST_F(Dlpack, D15_the_last_share_deletes)
{
    Parts parts;
    moeq_qtensor* out = nullptr;
    MOEQ_EXPECT_OK(parts.adopt(context, &out, &ok));
    moeq_qtensor* slice = nullptr;
    MOEQ_EXPECT_OK(moeq_qtensor_slice(out, 0, 1, 2, &slice, &ok));
    moeq_qtensor_retain(out);
    moeq_qtensor_release(out);
    moeq_qtensor_release(out);
    context.reset(); // handles keep it alive
    EXPECT_EQ(parts.codes.deleted, 0);
    moeq_qtensor_release(slice);
    EXPECT_EQ(parts.codes.deleted, 1);
    EXPECT_EQ(parts.scale.deleted, 1);
}

TEST_F(Dlpack, D15_storage_of_the_caller)
{
    HostTensor source(MOEQ_DTYPE_FP32, {2, 4, 8});
    Parts parts;
    auto options = sized<moeq_quantize_options>();
    options.storage = parts.components;
    options.storage_count = 2;
    source.fill().as<float>()[37] = std::numeric_limits<float>::quiet_NaN();
    const moeq_spec spec = parse("int8");
    moeq_qtensor* out = nullptr;
    EXPECT_EQ(moeq_qtensor_quantize(context.get(), source, &spec, &options, nullptr, &out, &error), MOEQ_ERROR_VALUE);
    EXPECT_EQ(error.expert * 32 + error.row * 8 + error.column, 37);
    EXPECT_EQ(parts.codes.deleted + parts.scale.deleted, 0);
    source.as<float>()[37] = 1.0f;
    QTensor q = quantize(context, source, spec, &options);
    EXPECT_EQ(packed_bytes(parts.codes), packed_bytes(component(q, MOEQ_COMPONENT_CODES).get()));
    q.reset();
    EXPECT_EQ(parts.codes.deleted + parts.scale.deleted, 2);
}

TEST_F(Dlpack, D20_devices)
{
    HostTensor source(MOEQ_DTYPE_FP32, {2, 4, 8});
    const Bytes expected = codes_of(source.fill());
    source.plain().device.device_type = kDLCUDAHost; // pinned memory is host memory
    EXPECT_EQ(codes_of(source), expected);
    source.plain().device.device_type = kDLCUDA;
    EXPECT_EQ(refused(source), MOEQ_ERROR_BACKEND);
    source.plain().device = {kDLROCM, 3};
    EXPECT_EQ(refused(source), MOEQ_ERROR_DEVICE);
    EXPECT_NE(error.text().find("id 3"), std::string::npos);
}

TEST_F(Dlpack, D22_the_first_failing_step_is_told)
{
    // Everything is wrong; each repair shows the next step of the fixed order.
    HostTensor source(MOEQ_DTYPE_FP32, {2, 4, 8});
    Shape shape{2, -4, 8};
    source->version.major = 7;
    source.plain().device.device_type = kDLROCM;
    source.plain().dtype.lanes = 3;
    source.plain().ndim = 12;
    source.plain().shape = shape.data();
    source.plain().data = nullptr;
    EXPECT_EQ(refused(source), MOEQ_ERROR_VERSION);
    source->version.major = 1;
    EXPECT_EQ(refused(source), MOEQ_ERROR_DEVICE);
    source.plain().device.device_type = kDLCPU;
    EXPECT_EQ(refused(source), MOEQ_ERROR_DTYPE);
    source.plain().dtype.lanes = 1;
    EXPECT_EQ(refused(source), MOEQ_ERROR_SHAPE);
    source.plain().ndim = 3;
    EXPECT_EQ(refused(source), MOEQ_ERROR_SHAPE);
    EXPECT_NE(error.text().find("extent -4 on axis 1"), std::string::npos);
    shape[1] = 4;
    EXPECT_EQ(refused(source), MOEQ_ERROR_ARGUMENT);
}

TEST_F(Dlpack, D23_destinations_that_overlap)
{
    HostTensor repeated(MOEQ_DTYPE_FP32, {2, 4, 8}, {32, 0, 1});
    EXPECT_EQ(refused_destination(repeated), MOEQ_ERROR_LAYOUT);
    HostTensor interleaved(MOEQ_DTYPE_FP32, {2, 4, 8}, {32, 7, 1});
    EXPECT_EQ(refused_destination(interleaved), MOEQ_ERROR_LAYOUT);
    HostTensor gaps(MOEQ_DTYPE_FP32, {2, 4, 8}, {100, 11, 1});
    HostTensor source(MOEQ_DTYPE_FP32, {2, 4, 8});
    const QTensor q = quantize(context, source.fill(), "int8");
    MOEQ_EXPECT_OK(moeq_qtensor_dequantize(q.get(), nullptr, nullptr, gaps, &ok));
    // Over the handle's own codes.
    Tensor codes = component(q, MOEQ_COMPONENT_CODES);
    HostTensor over(MOEQ_DTYPE_FP32, {2, 4, 8});
    over.plain().data = codes->dl_tensor.data;
    EXPECT_EQ(moeq_qtensor_dequantize(q.get(), nullptr, nullptr, over, &error), MOEQ_ERROR_LAYOUT);
    // Over the source.
    HostTensor scale(MOEQ_DTYPE_FP32, {2, 4});
    HostTensor on_source(MOEQ_DTYPE_INT8, {2, 4, 8});
    on_source.plain().data = source.memory().data() + 100;
    const moeq_component destinations[2] = {{MOEQ_COMPONENT_CODES, 0, on_source}, {MOEQ_COMPONENT_SCALE, 0, scale}};
    const moeq_spec spec = parse("int8");
    EXPECT_EQ(moeq_quantize_into(context.get(), source, &spec, nullptr, nullptr, destinations, 2, &error),
              MOEQ_ERROR_LAYOUT);
}

TEST_F(Dlpack, strided_sources_give_the_bytes_of_contiguous_ones)
{
    const int64_t E = 3, R = 33, C = 70;
    for (const int32_t dtype : {MOEQ_DTYPE_FP32, MOEQ_DTYPE_BF16, MOEQ_DTYPE_FP16})
        for (const char* spec : {"int8", "int8:axis=-2", "nf4:32", "fp4:64,blocking=row", "nf4:64,blocking=flat,nested",
                                 "fp8_e4m3:block16x32", "fp8_e5m2:expert", "mxfp8"}) {
            HostTensor plain(dtype, {E, R, C});
            plain.fill(7);
            const int64_t item = bytes_of(dtype);
            const Bytes expected = stored_bytes(quantize(context, plain, spec));
            // Any order of axes, gaps between rows, and backwards in every axis.
            for (const Shape& strides : {Shape{1, E * C, E}, Shape{R * C, 1, R}, Shape{R * 100, 100, 1},
                                         Shape{1, E, E * R}, Shape{R * C * 2, C * 2, 2}}) {
                HostTensor other(dtype, {E, R, C}, strides);
                for (int64_t e = 0; e < E; ++e)
                    for (int64_t r = 0; r < R; ++r)
                        for (int64_t c = 0; c < C; ++c)
                            std::memcpy(
                                other.memory().data() + (e * strides[0] + r * strides[1] + c * strides[2]) * item,
                                plain.memory().data() + ((e * R + r) * C + c) * item, static_cast<size_t>(item));
                EXPECT_EQ(stored_bytes(quantize(context, other, spec)), expected) << spec;
            }
            HostTensor backwards(dtype, {E, R, C});
            for (int64_t i = 0; i < E * R * C; ++i)
                std::memcpy(backwards.memory().data() + (E * R * C - 1 - i) * item, plain.memory().data() + i * item,
                            static_cast<size_t>(item));
            Shape negative{-R * C, -C, -1};
            backwards.plain().strides = negative.data();
            backwards.plain().byte_offset = static_cast<uint64_t>((E * R * C - 1) * item);
            EXPECT_EQ(stored_bytes(quantize(context, backwards, spec)), expected) << spec;
        }
}

TEST_F(Dlpack, D25_the_form_before_1_0)
{
    HostTensor plain(MOEQ_DTYPE_FP32, {2, 4, 8});
    const Bytes expected = codes_of(plain.fill());
    int deleted = 0;
    DLManagedTensor legacy{plain.plain(), &deleted,
                           [](DLManagedTensor* self) { ++*static_cast<int*>(self->manager_ctx); }};
    legacy.dl_tensor.strides = nullptr;
    DLManagedTensorVersioned* out = nullptr;
    legacy.dl_tensor.ndim = 9;
    EXPECT_EQ(moeq_tensor_from_legacy(context.get(), &legacy, &out, &error), MOEQ_ERROR_SHAPE);
    EXPECT_EQ(out, nullptr);
    EXPECT_EQ(deleted, 0);
    legacy.dl_tensor.ndim = 3;
    MOEQ_EXPECT_OK(moeq_tensor_from_legacy(context.get(), &legacy, &out, &ok));
    EXPECT_EQ(out->version.major, 1u);
    EXPECT_EQ(out->dl_tensor.strides[0], 32);
    EXPECT_EQ(codes_of(out), expected);
    EXPECT_EQ(deleted, 0);
    out->deleter(out);
    EXPECT_EQ(deleted, 1);
}

TEST_F(Dlpack, created_tensors)
{
    const int64_t shape[3] = {2, 3, 5};
    DLManagedTensorVersioned* out = nullptr;
    MOEQ_EXPECT_OK(moeq_tensor_create(context.get(), MOEQ_DTYPE_BF16, 3, shape, 0, 0, nullptr, &out, &ok));
    EXPECT_EQ(out->dl_tensor.strides[0], 15);
    EXPECT_EQ(out->dl_tensor.strides[2], 1);
    EXPECT_EQ(out->dl_tensor.byte_offset, 0u);
    std::memset(out->dl_tensor.data, 0, 2 * 3 * 5 * 2);
    context.reset();
    out->deleter(out);
}

} // namespace
} // namespace moeq_test
