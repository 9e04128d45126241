// What only calls on a device can do, or must refuse.
#include "support/api.h"

namespace moeq_test {
namespace {

constexpr int64_t E = 3, R = 8, C = 256;

struct OnHost {
    explicit OnHost(HostTensor& tensor) : plain(tensor.plain()), there(plain.data), here(tensor.memory().size())
    {
        std::memcpy(here.data(), there, here.size());
        plain.data = here.data();
        plain.device = {kDLCPU, 0};
    }
    ~OnHost()
    {
        plain.data = there;
        plain.device = kTensorDevice;
    }
    OnHost(const OnHost&) = delete;
    OnHost& operator=(const OnHost&) = delete;

    DLTensor& plain;
    void* there;
    std::vector<char> here;
};

moeq_qtensor_info info_of(const QTensor& q)
{
    auto info = sized<moeq_qtensor_info>();
    MOEQ_EXPECT_OK(moeq_qtensor_get_info(q.get(), &info, &ok));
    return info;
}

class Device : public testing::TestWithParam<const char*> {
protected:
    Context context = make_context();
    HostTensor source{MOEQ_DTYPE_BF16, {E, R, C}};
    moeq_spec spec = parse(GetParam());

    void SetUp() override { source.fill(7); }
};

TEST_P(Device, has_the_bytes_of_the_host)
{
    const QTensor there = quantize(context, source, spec);
    EXPECT_EQ(info_of(there).device_type, MOEQ_DEVICE_CUDA);
    const OnHost host(source);
    const QTensor here = quantize(context, source, spec);
    EXPECT_EQ(info_of(here).device_type, MOEQ_DEVICE_CPU);
    EXPECT_EQ(stored_bytes(here), stored_bytes(there));
}

TEST_P(Device, takes_a_source_from_the_host)
{
    const Bytes wanted = stored_bytes(quantize(context, source, spec));
    const OnHost host(source);
    auto options = sized<moeq_quantize_options>();
    options.device_type = MOEQ_DEVICE_CUDA;
    options.device_id = 1;
    const QTensor q = quantize(context, source, spec, &options);
    EXPECT_EQ(info_of(q).device_type, MOEQ_DEVICE_CUDA);
    EXPECT_EQ(info_of(q).device_id, 1);
    EXPECT_EQ(stored_bytes(q), wanted);
}

TEST_P(Device, copies_to_the_host_and_back)
{
    const QTensor there = quantize(context, source, spec);
    moeq_qtensor* out = nullptr;
    MOEQ_EXPECT_OK(called(moeq_qtensor_copy, there.get(), MOEQ_DEVICE_CPU, 0, nullptr, &out, &ok));
    const QTensor here(out);
    EXPECT_EQ(info_of(here).device_type, MOEQ_DEVICE_CPU);
    EXPECT_EQ(stored_bytes(here), stored_bytes(there));
    MOEQ_EXPECT_OK(called(moeq_qtensor_copy, here.get(), MOEQ_DEVICE_CUDA, 0, nullptr, &out, &ok));
    const QTensor again(out);
    EXPECT_EQ(info_of(again).device_type, MOEQ_DEVICE_CUDA);
    EXPECT_EQ(stored_bytes(again), stored_bytes(there));
}

TEST_P(Device, is_built_of_pieces_from_anywhere)
{
    moeq_builder* out = nullptr;
    const int64_t shape[3] = {E, R, C};
    MOEQ_EXPECT_OK(moeq_builder_create(context.get(), &spec, 3, shape, nullptr, nullptr, &out, &ok));
    Builder builder(out);
    for (int64_t e = 0; e < E; ++e)
        for (int64_t half = 0; half < 2; ++half) { // no piece holds a whole row
            HostTensor piece(MOEQ_DTYPE_BF16, {R, C / 2});
            for (int64_t r = 0; r < R; ++r)
                std::memcpy(piece.as<uint16_t>() + r * C / 2, source.as<uint16_t>() + (e * R + r) * C + half * C / 2,
                            C / 2 * sizeof(uint16_t));
            std::unique_ptr<OnHost> host(half == 0 ? new OnHost(piece) : nullptr);
            MOEQ_EXPECT_OK(moeq_builder_write(builder.get(), e, 0, half * C / 2, piece, nullptr, &ok));
        }
    moeq_qtensor* q = nullptr;
    MOEQ_EXPECT_OK(moeq_builder_finish(builder.get(), nullptr, &q, &ok));
    static_cast<void>(builder.release());
    const QTensor built(q);
    EXPECT_EQ(info_of(built).device_type, MOEQ_DEVICE_CUDA);
    EXPECT_EQ(stored_bytes(built), stored_bytes(quantize(context, source, spec)));
}

INSTANTIATE_TEST_SUITE_P(Specs, Device,
                         testing::Values("int8", "int8:expert", "int8:axis=-2", "fp8_e4m3:block4x64", "nf4",
                                         "nf4:64,nested", "nf4:64,blocking=flat", "fp4:32,blocking=row"));

class Refusals : public testing::Test {
protected:
    Context context = make_context();
    HostTensor source{MOEQ_DTYPE_BF16, {E, R, C}};
    HostTensor out{MOEQ_DTYPE_FP32, {E, R, C}};

    void SetUp() override { source.fill(7); }

    void expect(moeq_status status, moeq_status wanted, const char* said) const
    {
        EXPECT_EQ(status, wanted);
        EXPECT_NE(error.text().find(said), std::string::npos) << error.text();
    }

    Error error;
};

TEST_F(Refusals, OfDestinationsElsewhere)
{
    const QTensor q = quantize(context, source, "nf4");
    {
        const OnHost host(out);
        expect(moeq_qtensor_dequantize(q.get(), nullptr, nullptr, out, &error), MOEQ_ERROR_DEVICE,
               "destination: got a tensor in host memory; want CUDA device 0");
    }
    out.plain().device.device_id = 1;
    expect(moeq_qtensor_dequantize(q.get(), nullptr, nullptr, out, &error), MOEQ_ERROR_DEVICE,
           "got a tensor in CUDA device 1; want CUDA device 0");
    const OnHost host(source);
    const QTensor here = quantize(context, source, "nf4");
    out.plain().device.device_id = 0;
    expect(moeq_qtensor_dequantize(here.get(), nullptr, nullptr, out, &error), MOEQ_ERROR_DEVICE,
           "got a tensor in CUDA device 0; want host memory");
}

TEST_F(Refusals, OfHotCallsThatWouldHaveToCopy)
{
    const QTensor q = quantize(context, source, "nf4");
    const OnHost host(source);
    expect(moeq_qtensor_requantize(q.get(), source, nullptr, nullptr, &error), MOEQ_ERROR_DEVICE,
           "source: got a tensor in host memory; want CUDA device 0");
}

TEST_F(Refusals, OfAnAmaxOfAnotherDevice)
{
    HostTensor amax(MOEQ_DTYPE_FP32, {E});
    auto options = sized<moeq_quantize_options>();
    options.amax = amax;
    const moeq_spec spec = parse("int8:expert");
    moeq_qtensor* q = nullptr;
    amax.plain().device.device_id = 1;
    expect(moeq_qtensor_quantize(context.get(), source, &spec, &options, nullptr, &q, &error), MOEQ_ERROR_DEVICE,
           "amax: got a tensor in CUDA device 1; want CUDA device 0");
    amax.plain().device.device_id = 0;
    const OnHost host(source);
    expect(moeq_qtensor_quantize(context.get(), source, &spec, &options, nullptr, &q, &error), MOEQ_ERROR_DEVICE,
           "amax: got a tensor in CUDA device 0; want host memory");
}

TEST_F(Refusals, OfDevicesThatAreNotThere)
{
    source.plain().device.device_id = 5;
    moeq_qtensor* q = nullptr;
    const moeq_spec spec = parse("int8");
    expect(moeq_qtensor_quantize(context.get(), source, &spec, nullptr, nullptr, &q, &error), MOEQ_ERROR_DEVICE,
           "got CUDA device 5; want 0 to 1");
    source.plain().device.device_id = 0;
    auto options = sized<moeq_quantize_options>();
    options.device_type = MOEQ_DEVICE_CUDA_MANAGED;
    expect(moeq_qtensor_quantize(context.get(), source, &spec, &options, nullptr, &q, &error), MOEQ_ERROR_UNSUPPORTED,
           "want MOEQ_DEVICE_CPU or MOEQ_DEVICE_CUDA");
}

TEST_F(Refusals, OfABadAmaxOnTheDevice)
{
    HostTensor amax(MOEQ_DTYPE_FP32, {E});
    for (int64_t e = 0; e < E; ++e)
        amax.as<float>()[e] = e == 1 ? -1.0f : 1.0f;
    auto options = sized<moeq_quantize_options>();
    options.amax = amax;
    moeq_qtensor* q = nullptr;
    const moeq_spec spec = parse("fp8_e4m3:expert");
    expect(moeq_qtensor_quantize(context.get(), source, &spec, &options, nullptr, &q, &error), MOEQ_ERROR_VALUE,
           "got a negative value for expert 1");
    EXPECT_EQ(q, nullptr);
}

TEST(DeviceCalls, AnExpertThatIsNotThereIsZerosAndABit)
{
    const Context context = make_context();
    HostTensor source(MOEQ_DTYPE_BF16, {E, R, C});
    const QTensor q = quantize(context, source.fill(7), "nf4");
    HostTensor ids(MOEQ_DTYPE_INT32, {2});
    ids.as<int32_t>()[0] = 1;
    ids.as<int32_t>()[1] = E;
    HostTensor out(MOEQ_DTYPE_FP32, {2, R, C});
    uint32_t word = 0;
    auto region = sized<moeq_region>();
    region.expert_ids = ids;
    region.status_word = &word;
    MOEQ_EXPECT_OK(moeq_qtensor_dequantize(q.get(), &region, nullptr, out, &ok));
    EXPECT_EQ(word, static_cast<uint32_t>(MOEQ_SEEN_BAD_EXPERT));
    const std::vector<float> all = dequantize(q);
    for (int64_t i = 0; i < R * C; ++i) {
        ASSERT_EQ(out.as<float>()[i], all[static_cast<size_t>(R * C + i)]);
        ASSERT_EQ(out.as<float>()[R * C + i], 0.0f);
    }
}

TEST(DeviceCalls, TheHomeStreamIsKept)
{
    const Context context = make_context();
    HostTensor source(MOEQ_DTYPE_BF16, {E, R, C});
    const moeq_spec spec = parse("int8");
    int stream = 0;
    moeq_qtensor* out = nullptr;
    MOEQ_EXPECT_OK(moeq_qtensor_quantize(context.get(), source.fill(7), &spec, nullptr, &stream, &out, &ok));
    EXPECT_EQ(info_of(QTensor(out)).home_stream, &stream);
}

TEST(DeviceCalls, TensorsAreMadeThere)
{
    const Context context = make_context();
    DLManagedTensorVersioned* out = nullptr;
    const int64_t shape[2] = {3, 5};
    MOEQ_EXPECT_OK(
        moeq_tensor_create(context.get(), MOEQ_DTYPE_FP32, 2, shape, MOEQ_DEVICE_CUDA, 1, nullptr, &out, &ok));
    const Tensor tensor(out);
    EXPECT_EQ(tensor->dl_tensor.device.device_type, kDLCUDA);
    EXPECT_EQ(tensor->dl_tensor.device.device_id, 1);
    std::memset(tensor->dl_tensor.data, 0, 60); // outside of a call it is ordinary memory
}

// The suite stands on this: what the plug-in does not do is a crash.
TEST(DeviceDeathTest, AHostLookIsACrash)
{
    HostTensor source(MOEQ_DTYPE_FP32, {4});
    source.as<float>()[0] = 1.0f;
    EXPECT_DEATH(
        {
            const InsideCall inside;
            std::exit(source.as<float>()[0] == 1.0f ? 0 : 1);
        },
        "");
    EXPECT_EQ(source.as<float>()[0], 1.0f);
}

TEST(DeviceCalls, TheLibraryHasThePlugInWork)
{
    const long before = moeq_mirror_operations();
    const Context context = make_context();
    HostTensor source(MOEQ_DTYPE_BF16, {E, R, C});
    const QTensor q = quantize(context, source.fill(7), "nf4");
    EXPECT_GT(moeq_mirror_operations(), before);
}

} // namespace
} // namespace moeq_test
