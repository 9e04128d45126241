// One context's pool under several callers at once, with weights large enough to be cut into tasks. Most of it is judged by the
// thread sanitizer.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#include "support/api.h"

namespace moeq_test {
namespace {

constexpr int64_t E = 4, R = 96, C = 1024; // six tasks or more for every cut

template <class Body>
void together(int count, Body body)
{
    std::vector<std::thread> threads;
    std::atomic<int> ready{0};
    for (int i = 0; i < count; ++i)
        threads.emplace_back([&, i] {
            for (++ready; ready < count;)
                std::this_thread::yield();
            body(i);
        });
    for (std::thread& thread : threads)
        thread.join();
}

const char* const kSpecs[] = {"int8",          "fp8_e4m3:block128x128", "nf4",
                              "nf4:32,nested", "fp4:blocking=flat",     "int8:axis=-2"};

TEST(PoolUse, callers_with_different_work_share_it)
{
    const Context context = make_context(3);
    const Context alone = make_context(1);
    HostTensor source(MOEQ_DTYPE_BF16, {E, R, C});
    source.fill(3);
    std::vector<Bytes> wanted;
    std::vector<std::vector<float>> values;
    for (const char* spec : kSpecs) {
        const QTensor q = quantize(alone, source, spec);
        wanted.push_back(stored_bytes(q));
        values.push_back(dequantize(q));
    }
    together(6, [&](int caller) {
        for (size_t i = 0; i < 12; ++i) {
            const size_t at = (i + static_cast<size_t>(caller)) % std::size(kSpecs);
            const QTensor q = quantize(context, source, kSpecs[at]);
            EXPECT_TRUE(stored_bytes(q) == wanted[at]);
            EXPECT_TRUE(dequantize(q) == values[at]);
        }
    });
}

TEST(PoolUse, one_builder_is_fed_by_all_while_others_read)
{
    for (const char* text : kSpecs) {
        const Context context = make_context(3);
        HostTensor source(MOEQ_DTYPE_BF16, {E, R, C});
        source.fill(4);
        const QTensor whole = quantize(context, source, text);
        const std::vector<float> values = dequantize(whole);
        const moeq_spec spec = parse(text);
        const int64_t shape[3] = {E, R, C};
        moeq_builder* builder = nullptr;
        MOEQ_EXPECT_OK(moeq_builder_create(context.get(), &spec, 3, shape, nullptr, nullptr, &builder, &ok));
        together(6, [&](int caller) {
            if (caller >= 4) {
                for (int i = 0; i < 4; ++i)
                    EXPECT_TRUE(dequantize(whole) == values);
                return;
            }
            // Columns caller * 256 - 16 ... of all rows and experts: large pieces whose edges share blocks and rows with those of
            // other callers.
            const int64_t begin = caller == 0 ? 0 : caller * 256 - 16;
            const int64_t end = caller == 3 ? C : (caller + 1) * 256 - 16;
            for (int64_t e = 0; e < E; e += 2) {
                int64_t piece_shape[3] = {2, R, end - begin};
                int64_t strides[3] = {R * C, C, 1};
                DLManagedTensorVersioned piece = *source.operator->();
                piece.dl_tensor.shape = piece_shape;
                piece.dl_tensor.strides = strides;
                piece.dl_tensor.byte_offset = static_cast<uint64_t>((e * R * C + begin) * 2);
                MOEQ_EXPECT_OK(moeq_builder_write(builder, e, 0, begin, &piece, nullptr, &ok));
            }
        });
        moeq_qtensor* built = nullptr;
        MOEQ_EXPECT_OK(moeq_builder_finish(builder, nullptr, &built, &ok));
        EXPECT_TRUE(stored_bytes(QTensor(built)) == stored_bytes(whole)) << text;
    }
}

TEST(PoolUse, contexts_come_and_go_beside_work)
{
    HostTensor source(MOEQ_DTYPE_BF16, {E, R, C});
    source.fill(5);
    const Context reference = make_context(1);
    const Bytes wanted = stored_bytes(quantize(reference, source, "nf4"));
    together(4, [&](int) {
        for (int32_t i = 0; i < 8; ++i) {
            Context context = make_context(1 + i % 4);
            const QTensor q = quantize(context, source, "nf4");
            context.reset(); // the handle keeps the pool
            EXPECT_TRUE(stored_bytes(q) == wanted);
            EXPECT_EQ(dequantize(q).size(), static_cast<size_t>(E * R * C));
        }
    });
}

TEST(PoolUse, the_status_word_and_errors_are_each_callers_own)
{
    const Context context = make_context(3);
    HostTensor clean(MOEQ_DTYPE_FP32, {E, R, C});
    HostTensor bad(MOEQ_DTYPE_FP32, {E, R, C});
    clean.fill(6);
    bad.fill(6);
    bad.as<float>()[(2 * R + 50) * C + 700] = HUGE_VALF;
    bad.as<float>()[(2 * R + 50) * C + 300] = std::nanf("");
    together(4, [&](int caller) {
        const moeq_spec spec = parse("nf4");
        for (int i = 0; i < 10; ++i) {
            moeq_qtensor* out = nullptr;
            Error error;
            uint32_t seen = 0;
            auto options = sized<moeq_quantize_options>();
            options.status_word = &seen;
            HostTensor& source = caller % 2 == 0 ? clean : bad;
            const moeq_status status =
                moeq_qtensor_quantize(context.get(), source, &spec, &options, nullptr, &out, &error);
            const QTensor owner(out);
            EXPECT_EQ(status, caller % 2 == 0 ? MOEQ_OK : MOEQ_ERROR_VALUE);
            EXPECT_EQ(seen, caller % 2 == 0 ? 0u : uint32_t{MOEQ_SEEN_NAN | MOEQ_SEEN_INF});
            if (caller % 2 != 0) {
                EXPECT_EQ(error.expert, 2);
                EXPECT_EQ(error.row, 50);
                EXPECT_EQ(error.column, 300);
            }
        }
    });
}

} // namespace
} // namespace moeq_test
