// N06: the bytes of a large weight, and of what is decoded from it, do not depend on threads, tiers, strides or pieces.
#include "support/api.h"

#include <algorithm>
#include <random>

namespace moeq_test {
namespace {

class Determinism : public testing::TestWithParam<const char*> {
protected:
    static constexpr int64_t E = 3, R = 260, C = 1000; // about a dozen tasks

    Determinism() { source.fill(2026); }
    static Bytes decoded(const QTensor& q, int32_t dtype)
    {
        HostTensor out(dtype, {E, R, C});
        MOEQ_EXPECT_OK(moeq_qtensor_dequantize(q.get(), nullptr, nullptr, out, &ok));
        return out.memory();
    }
    HostTensor source{MOEQ_DTYPE_BF16, {E, R, C}};
};

TEST_P(Determinism, N06_any_number_of_threads_gives_the_same_bytes)
{
    const Context one = make_context(1);
    const QTensor q = quantize(one, source, GetParam());
    const Bytes bytes = stored_bytes(q);
    const Bytes values = decoded(q, MOEQ_DTYPE_FP16);
    for (int32_t threads = 2; threads <= 8; ++threads) {
        const Context context = make_context(threads);
        const QTensor again = quantize(context, source, GetParam());
        ASSERT_TRUE(stored_bytes(again) == bytes) << threads;
        ASSERT_TRUE(decoded(again, MOEQ_DTYPE_FP16) == values) << threads;
    }
}

// An executor that runs tasks last first, as any may.
TEST_P(Determinism, N06_any_order_of_tasks_gives_the_same_bytes)
{
    const Context one = make_context(1, MOEQ_CPU_TIER_SCALAR);
    auto options = sized<moeq_context_options>();
    options.thread_limit = 4;
    options.parallel_for = [](moeq_task_fn run, void* task, int64_t count, void*) -> int32_t {
        for (int64_t i = count; i-- > 0;)
            run(i, task);
        return MOEQ_CONTINUE;
    };
    moeq_context* out = nullptr;
    MOEQ_EXPECT_OK(moeq_context_create(&options, &out, &ok));
    const Context backwards(out);
    const QTensor a = quantize(one, source, GetParam());
    const QTensor b = quantize(backwards, source, GetParam());
    EXPECT_TRUE(stored_bytes(a) == stored_bytes(b));
    EXPECT_TRUE(decoded(a, MOEQ_DTYPE_FP32) == decoded(b, MOEQ_DTYPE_FP32));
}

TEST_P(Determinism, N06_strides_and_pieces_give_the_same_bytes)
{
    const Context context = make_context(2);
    const QTensor q = quantize(context, source, GetParam());
    const Bytes bytes = stored_bytes(q);
    // Experts innermost, rows backwards in memory.
    HostTensor strided(MOEQ_DTYPE_BF16, {E, R, C}, {1, E * C, E});
    for (int64_t e = 0; e < E; ++e)
        for (int64_t r = 0; r < R; ++r)
            for (int64_t c = 0; c < C; ++c)
                strided.as<uint16_t>()[e + (R - 1 - r) * E * C + c * E] = source.as<uint16_t>()[(e * R + r) * C + c];
    int64_t strides[3] = {1, -E * C, E};
    strided.plain().strides = strides;
    strided.plain().byte_offset = static_cast<uint64_t>((R - 1) * E * C * 2);
    EXPECT_TRUE(stored_bytes(quantize(context, strided, GetParam())) == bytes);
    HostTensor transposed(MOEQ_DTYPE_BF16, {E, C, R});
    for (int64_t e = 0; e < E; ++e)
        for (int64_t r = 0; r < R; ++r)
            for (int64_t c = 0; c < C; ++c)
                transposed.as<uint16_t>()[(e * C + c) * R + r] = source.as<uint16_t>()[(e * R + r) * C + c];

    // Random pieces, several per task and several tasks per piece.
    const moeq_spec spec = parse(GetParam());
    const int64_t shape[3] = {E, R, C};
    std::mt19937 random(5);
    for (int round = 0; round < 3; ++round) {
        const bool all_experts = round == 2; // bands of rows of all experts at once
        std::vector<int64_t> row_cuts{0, R}, column_cuts{0, C};
        for (int i = 0; i < (round == 0 ? 1 : 6); ++i) {
            row_cuts.push_back(static_cast<int64_t>(random() % R));
            column_cuts.push_back(all_experts ? C : static_cast<int64_t>(random() % C));
        }
        std::sort(row_cuts.begin(), row_cuts.end());
        std::sort(column_cuts.begin(), column_cuts.end());
        struct Corner {
            int64_t e, row, rows, column, columns;
        };
        std::vector<Corner> corners;
        for (int64_t e = 0; e < (all_experts ? 1 : E); ++e)
            for (size_t i = 0; i + 1 < row_cuts.size(); ++i)
                for (size_t j = 0; j + 1 < column_cuts.size(); ++j)
                    corners.push_back({e, row_cuts[i], row_cuts[i + 1] - row_cuts[i], column_cuts[j],
                                       column_cuts[j + 1] - column_cuts[j]});
        std::shuffle(corners.begin(), corners.end(), random);
        moeq_builder* builder = nullptr;
        MOEQ_EXPECT_OK(moeq_builder_create(context.get(), &spec, 3, shape, nullptr, nullptr, &builder, &ok));
        for (const Corner& p : corners) {
            // The source's own memory, or the transposed one's, by strides.
            const bool by_columns = random() % 2 == 0;
            const int64_t row_stride = by_columns ? 1 : C;
            const int64_t column_stride = by_columns ? R : 1;
            int64_t piece_shape[3] = {all_experts ? E : 1, p.rows, p.columns};
            int64_t piece_strides[3] = {R * C, row_stride, column_stride};
            DLManagedTensorVersioned piece = by_columns ? *transposed.operator->() : *source.operator->();
            piece.dl_tensor.shape = piece_shape;
            piece.dl_tensor.strides = piece_strides;
            piece.dl_tensor.byte_offset =
                static_cast<uint64_t>((p.e * R * C + p.row * row_stride + p.column * column_stride) * 2);
            MOEQ_EXPECT_OK(moeq_builder_write(builder, p.e, p.row, p.column, &piece, nullptr, &ok));
        }
        moeq_qtensor* built = nullptr;
        MOEQ_EXPECT_OK(moeq_builder_finish(builder, nullptr, &built, &ok));
        EXPECT_TRUE(stored_bytes(QTensor(built)) == bytes) << round;
    }
}

INSTANTIATE_TEST_SUITE_P(Specs, Determinism,
                         testing::Values("int8", "int8:axis=-2", "int8:expert", "int8:block33x70", "fp8_e4m3",
                                         "fp8_e4m3:block128x128", "fp8_e4m3:block128x128,layout=gate_up",
                                         "fp8_e5m2:expert", "mxfp8", "nf4", "nf4:32,nested", "nf4:blocking=row",
                                         "nf4:4096,blocking=flat", "fp4:128,nested,blocking=row",
                                         "fp4:profile=bnb_cpu"));

} // namespace
} // namespace moeq_test
