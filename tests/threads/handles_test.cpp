// Handles shared and handed on among threads: readers at once, writers of one builder at once, releases in any order from
// anywhere. Most of it is judged by the thread sanitizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "moeq.h"
#include "support/hooks.h"
#include "support/host_tensor.h"

namespace moeq_test {
namespace {

constexpr int64_t kExperts = 6;
constexpr int64_t kRows = 24;
constexpr int64_t kColumns = 192;
const Shape kShape = {kExperts, kRows, kColumns};

#define EXPECT_DONE(expression)                          \
    do {                                                 \
        moeq_error err{};                                \
        EXPECT_EQ((expression), MOEQ_OK) << err.message; \
    } while (false)

moeq_spec parse(const std::string& text)
{
    moeq_spec spec{};
    spec.struct_size = sizeof spec;
    EXPECT_DONE(moeq_spec_parse(text.c_str(), &spec, &err));
    return spec;
}

Bytes dequantized(const moeq_qtensor* qtensor)
{
    HostTensor values(MOEQ_DTYPE_FP32, kShape);
    EXPECT_DONE(moeq_qtensor_dequantize(qtensor, nullptr, nullptr, values, &err));
    return values.memory();
}

// All of them at the same time, each from its start.
void together(const std::vector<std::function<void()>>& bodies)
{
    std::atomic<size_t> ready{0};
    std::vector<std::thread> threads;
    for (const auto& body : bodies)
        threads.emplace_back([&ready, &body, &bodies] {
            for (++ready; ready < bodies.size();)
                std::this_thread::yield();
            body();
        });
    for (std::thread& thread : threads)
        thread.join();
}

std::vector<std::function<void()>> times(int count, const std::function<void(int)>& body)
{
    std::vector<std::function<void()>> bodies;
    for (int i = 0; i < count; ++i)
        bodies.push_back([=] { body(i); });
    return bodies;
}

class Threads : public testing::TestWithParam<std::string> {
protected:
    void SetUp() override
    {
        const moeq_context_options options = hooks_.options(3);
        ASSERT_EQ(moeq_context_create(&options, &context_, nullptr), MOEQ_OK);
        source_.fill(1);
        spec_ = parse(GetParam());
    }
    void TearDown() override
    {
        moeq_context_destroy(context_);
        expect_all_returned(hooks_);
    }
    moeq_qtensor* quantize()
    {
        moeq_qtensor* out = nullptr;
        EXPECT_DONE(moeq_qtensor_quantize(context_, source_, &spec_, nullptr, nullptr, &out, &err));
        return out;
    }
    moeq_builder* build()
    {
        moeq_builder* out = nullptr;
        EXPECT_DONE(moeq_builder_create(context_, &spec_, 3, kShape.data(), nullptr, nullptr, &out, &err));
        return out;
    }
    // A block of the source, into the builder.
    moeq_status write(moeq_builder* builder, const moeq_block& block, moeq_error* err)
    {
        int64_t shape[] = {block.expert_end - block.expert_begin, block.row_end - block.row_begin,
                           block.column_end - block.column_begin};
        int64_t strides[] = {kRows * kColumns, kColumns, 1};
        DLManagedTensorVersioned piece = *source_.operator->();
        piece.dl_tensor.shape = shape;
        piece.dl_tensor.strides = strides;
        const int64_t first = (block.expert_begin * kRows + block.row_begin) * kColumns + block.column_begin;
        piece.dl_tensor.byte_offset = static_cast<uint64_t>(first) * sizeof(float);
        return moeq_builder_write(builder, block.expert_begin, block.row_begin, block.column_begin, &piece, nullptr,
                                  err);
    }
    Bytes finish(moeq_builder* builder)
    {
        moeq_qtensor* out = nullptr;
        EXPECT_DONE(moeq_builder_finish(builder, nullptr, &out, &err));
        const Bytes bytes = dequantized(out);
        moeq_qtensor_release(out);
        return bytes;
    }
    Bytes wanted()
    {
        moeq_qtensor* handle = quantize();
        const Bytes bytes = dequantized(handle);
        moeq_qtensor_release(handle);
        return bytes;
    }

    Hooks hooks_;
    moeq_context* context_ = nullptr;
    HostTensor source_{MOEQ_DTYPE_FP32, kShape};
    moeq_spec spec_{};
};

TEST_P(Threads, ReadersOfOneHandle)
{
    moeq_qtensor* handle = quantize();
    const Bytes bytes = dequantized(handle);
    together(times(6, [&](int reader) {
        for (int i = 0; i < 15; ++i) {
            EXPECT_EQ(dequantized(handle), bytes);
            DLManagedTensorVersioned* codes = nullptr;
            EXPECT_DONE(moeq_qtensor_export(handle, MOEQ_COMPONENT_CODES, &codes, &err));
            codes->deleter(codes);
            moeq_qtensor* copy = nullptr;
            EXPECT_DONE(moeq_qtensor_copy(handle, 0, 0, nullptr, &copy, &err));
            moeq_qtensor_release(copy);
            moeq_qtensor_info info{};
            info.struct_size = sizeof info;
            EXPECT_DONE(moeq_qtensor_get_info(handle, &info, &err));
            if (reader == 0) {
                HostTensor figures(MOEQ_DTYPE_FP64, {kExperts, 7});
                EXPECT_DONE(moeq_qtensor_compare(handle, source_, nullptr, figures, &err));
            }
            moeq_qtensor_retain(handle);
            moeq_qtensor_release(handle);
        }
    }));
    moeq_qtensor_release(handle);
}

TEST_P(Threads, MakersInOneContext)
{
    const Bytes bytes = wanted();
    together(times(5, [&](int) {
        for (int i = 0; i < 10; ++i)
            EXPECT_EQ(wanted(), bytes);
    }));
}

TEST_P(Threads, TwoContexts)
{
    Hooks other_hooks;
    const moeq_context_options options = other_hooks.options(2);
    moeq_context* other = nullptr;
    ASSERT_EQ(moeq_context_create(&options, &other, nullptr), MOEQ_OK);
    const Bytes bytes = wanted();
    together(times(4, [&](int i) {
        moeq_context* context = i % 2 == 0 ? context_ : other;
        for (int k = 0; k < 10; ++k) {
            moeq_qtensor* handle = nullptr;
            EXPECT_DONE(moeq_qtensor_quantize(context, source_, &spec_, nullptr, nullptr, &handle, &err));
            EXPECT_EQ(dequantized(handle), bytes);
            moeq_qtensor_release(handle);
        }
    }));
    moeq_context_destroy(other);
    expect_all_returned(other_hooks);
}

TEST_P(Threads, WritersOfDifferentExperts)
{
    const Bytes bytes = wanted();
    moeq_builder* builder = build();
    together(times(kExperts, [&](int e) {
        for (int64_t row = kRows; row-- > 0;)
            EXPECT_DONE(write(builder, {e, e + 1, row, row + 1, 0, kColumns}, &err));
    }));
    EXPECT_EQ(finish(builder), bytes);
}

// Pieces that share rows, blocks and experts with those of other threads, while others look at the progress.
TEST_P(Threads, WritersOfTheSameUnits)
{
    const Bytes bytes = wanted();
    constexpr int64_t kWriters = 4;
    constexpr int64_t kWidth = 12; // columns of a piece: no multiple of any block
    moeq_builder* builder = build();
    auto bodies = times(kWriters, [&](int writer) {
        for (int64_t e = 0; e < kExperts; ++e)
            for (int64_t column = writer * kWidth; column < kColumns; column += kWriters * kWidth)
                for (int64_t row = 0; row < kRows; row += 8)
                    EXPECT_DONE(write(builder, {e, e + 1, row, row + 8, column, column + kWidth}, &err));
    });
    bodies.push_back([&] {
        int64_t before = kExperts * kRows * kColumns;
        for (int i = 0; i < 200; ++i) {
            moeq_builder_state state{};
            state.struct_size = sizeof state;
            EXPECT_DONE(moeq_builder_get_state(builder, &state, &err));
            EXPECT_LE(state.missing_elements, before);
            before = state.missing_elements;
            moeq_block blocks[4];
            int64_t count = 0;
            EXPECT_DONE(moeq_builder_get_missing(builder, blocks, 4, &count, &err));
        }
    });
    together(bodies);
    moeq_builder_state state{};
    state.struct_size = sizeof state;
    EXPECT_DONE(moeq_builder_get_state(builder, &state, &err));
    EXPECT_EQ(state.missing_elements, 0);
    EXPECT_EQ(finish(builder), bytes);
}

// Everybody writes everything: each piece is taken from exactly one of them.
TEST_P(Threads, WritersOfTheSamePieces)
{
    const Bytes bytes = wanted();
    moeq_builder* builder = build();
    std::atomic<int> taken{0};
    together(times(4, [&](int writer) {
        for (int64_t i = 0; i < kExperts * 3; ++i) {
            const int64_t piece = (i + writer * 5) % (kExperts * 3);
            const int64_t e = piece / 3;
            const int64_t row = piece % 3 * 8;
            moeq_error err{};
            const moeq_status status = write(builder, {e, e + 1, row, row + 8, 0, kColumns}, &err);
            taken += status == MOEQ_OK ? 1 : 0;
            EXPECT_TRUE(status == MOEQ_OK || status == MOEQ_ERROR_DUPLICATE) << err.message;
        }
    }));
    EXPECT_EQ(taken, kExperts * 3);
    EXPECT_EQ(finish(builder), bytes);
}

TEST_P(Threads, WritersWhoseMemoryFails)
{
    const Bytes bytes = wanted();
    moeq_builder* builder = build();
    std::atomic<bool> stop{false};
    std::thread nuisance([&] {
        while (!stop) {
            hooks_.fail_at(3, false);
            std::this_thread::yield();
        }
        hooks_.fail_no_more();
    });
    together(times(3, [&](int writer) {
        for (int64_t e = 0; e < kExperts; ++e)
            for (int64_t column = writer * 32; column < kColumns; column += 96) {
                moeq_status status = MOEQ_ERROR_MEMORY;
                for (int i = 0; i < 10000 && status == MOEQ_ERROR_MEMORY; ++i)
                    status = write(builder, {e, e + 1, 0, kRows, column, column + 32}, nullptr);
                EXPECT_EQ(status, MOEQ_OK);
            }
    }));
    stop = true;
    nuisance.join();
    EXPECT_EQ(finish(builder), bytes);
}

// The last one who lets go frees, whoever it is.
TEST_P(Threads, LastReleaseAnywhere)
{
    for (int round = 0; round < 20; ++round) {
        moeq_qtensor* handle = quantize();
        moeq_qtensor* slice = nullptr;
        const bool sliced = moeq_qtensor_slice(handle, 0, 0, kExperts, &slice, nullptr) == MOEQ_OK;
        DLManagedTensorVersioned* codes = nullptr;
        EXPECT_DONE(moeq_qtensor_export(handle, MOEQ_COMPONENT_CODES, &codes, &err));
        moeq_qtensor_retain(handle);
        together({[&] { moeq_qtensor_release(handle); }, [&] { codes->deleter(codes); },
                  [&] {
                      if (sliced)
                          moeq_qtensor_release(slice);
                  },
                  [&] { moeq_qtensor_release(handle); }});
    }
}

// Context, handle, slice and exported component go in every order; what remains can be used.
TEST_P(Threads, AnyOrderOfRelease)
{
    int order[] = {0, 1, 2, 3};
    do {
        Hooks hooks;
        const moeq_context_options options = hooks.options(2);
        moeq_context* context = nullptr;
        ASSERT_EQ(moeq_context_create(&options, &context, nullptr), MOEQ_OK);
        moeq_qtensor* handle = nullptr;
        EXPECT_DONE(moeq_qtensor_quantize(context, source_, &spec_, nullptr, nullptr, &handle, &err));
        const Bytes bytes = dequantized(handle);
        moeq_qtensor* slice = nullptr;
        if (moeq_qtensor_slice(handle, 0, 0, kExperts, &slice, nullptr) != MOEQ_OK) {
            slice = handle; // not every format can: a second share of the same handle
            moeq_qtensor_retain(handle);
        }
        DLManagedTensorVersioned* codes = nullptr;
        EXPECT_DONE(moeq_qtensor_export(handle, MOEQ_COMPONENT_CODES, &codes, &err));
        const Bytes code_bytes = contents(codes);
        for (int i = 0; i < 4; ++i) {
            EXPECT_EQ(hooks.destroyed, 0);
            switch (order[i]) {
            case 0:
                moeq_context_destroy(context);
                break;
            case 1:
                EXPECT_EQ(dequantized(handle), bytes);
                moeq_qtensor_release(handle);
                break;
            case 2:
                EXPECT_EQ(dequantized(slice), bytes);
                moeq_qtensor_release(slice);
                break;
            default:
                EXPECT_EQ(contents(codes), code_bytes);
                codes->deleter(codes);
            }
        }
        expect_all_returned(hooks);
    } while (std::next_permutation(order, order + 4));
}

std::string test_name(const testing::TestParamInfo<std::string>& info)
{
    std::string name = info.param;
    std::replace_if(
        name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
    return name;
}

INSTANTIATE_TEST_SUITE_P(Formats, Threads,
                         testing::Values("int8", "int8:expert", "int8:axis=-2", "nf4", "nf4:nested",
                                         "nf4:blocking=flat", "fp8_e4m3:block128x128", "fp8_e5m2:expert", "mxfp8"),
                         test_name);

// NULL is fine for all of them.
TEST(Release, OfNothing)
{
    moeq_context_destroy(nullptr);
    moeq_qtensor_retain(nullptr);
    moeq_qtensor_release(nullptr);
    moeq_builder_destroy(nullptr);
    moeq_blob_destroy(nullptr);
    EXPECT_EQ(moeq_blob_size(nullptr), 0);
}

} // namespace
} // namespace moeq_test
