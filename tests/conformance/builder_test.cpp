// Weights in pieces: the bytes of the whole from any pieces in any order; exact coverage; staging that is known and limited.
#include "support/api.h"

#include <algorithm>
#include <random>

namespace moeq_test {
namespace {

struct Piece {
    int64_t e, r, c, experts, rows, columns;
};

class BuilderOf : public testing::TestWithParam<const char*> {
protected:
    static constexpr int64_t E = 3, R = 37, C = 90;

    BuilderOf() { source.fill(21); }

    Builder make(const moeq_spec& spec, const moeq_quantize_options* options = nullptr)
    {
        const int64_t shape[3] = {E, R, C};
        moeq_builder* out = nullptr;
        MOEQ_EXPECT_OK(moeq_builder_create(context.get(), &spec, 3, shape, options, nullptr, &out, &ok));
        return Builder(out);
    }
    moeq_status write(const Builder& builder, const Piece& p, moeq_error* error)
    {
        HostTensor piece(MOEQ_DTYPE_BF16, {p.experts, p.rows, p.columns});
        for (int64_t e = 0; e < p.experts; ++e)
            for (int64_t r = 0; r < p.rows; ++r)
                for (int64_t c = 0; c < p.columns; ++c)
                    piece.as<uint16_t>()[(e * p.rows + r) * p.columns + c] =
                        source.as<uint16_t>()[((p.e + e) * R + p.r + r) * C + p.c + c];
        return moeq_builder_write(builder.get(), p.e, p.r, p.c, piece, nullptr, error);
    }
    moeq_builder_state state(const Builder& builder)
    {
        auto state = sized<moeq_builder_state>();
        MOEQ_EXPECT_OK(moeq_builder_get_state(builder.get(), &state, &ok));
        return state;
    }
    QTensor finish(Builder& builder)
    {
        moeq_qtensor* out = nullptr;
        MOEQ_EXPECT_OK(moeq_builder_finish(builder.get(), nullptr, &out, &ok));
        if (out != nullptr)
            (void)builder.release();
        return QTensor(out);
    }
    // Cuts the weight into boxes of a size, in a random order.
    std::vector<Piece> cut(int64_t experts, int64_t rows, int64_t columns, uint32_t seed)
    {
        std::vector<Piece> pieces;
        for (int64_t e = 0; e < E; e += experts)
            for (int64_t r = 0; r < R; r += rows)
                for (int64_t c = 0; c < C; c += columns)
                    pieces.push_back(
                        {e, r, c, std::min(experts, E - e), std::min(rows, R - r), std::min(columns, C - c)});
        std::shuffle(pieces.begin(), pieces.end(), std::mt19937(seed));
        return pieces;
    }

    Context context = make_context();
    HostTensor source{MOEQ_DTYPE_BF16, {E, R, C}};
};

TEST_P(BuilderOf, gives_the_bytes_of_the_whole)
{
    const moeq_spec spec = parse(GetParam());
    const Bytes expected = stored_bytes(quantize(context, source, spec));
    uint32_t seed = 0;
    for (const Shape& size : {Shape{E, R, C}, Shape{1, R, C}, Shape{1, 1, C}, Shape{1, 5, C}, Shape{2, 7, 32},
                              Shape{1, R, 11}, Shape{1, 1, 13}, Shape{3, 16, 64}}) {
        Builder builder = make(spec);
        int64_t missing = E * R * C;
        for (const Piece& p : cut(size[0], size[1], size[2], ++seed)) {
            MOEQ_EXPECT_OK(write(builder, p, &ok));
            missing -= p.experts * p.rows * p.columns;
            ASSERT_EQ(state(builder).missing_elements, missing);
        }
        const moeq_builder_state end = state(builder);
        EXPECT_EQ(end.complete_experts, E);
        auto resolved = sized<moeq_spec>();
        const int64_t shape[3] = {E, R, C};
        MOEQ_EXPECT_OK(moeq_spec_resolve(&spec, 3, shape, &resolved, &ok));
        EXPECT_EQ(end.staged_bytes == 0, resolved.nested == 0);
        EXPECT_EQ(stored_bytes(finish(builder)), expected) << size[0] << " " << size[1] << " " << size[2];
    }
}

TEST_P(BuilderOf, H08_refuses_overlaps_and_pieces_outside)
{
    Builder builder = make(parse(GetParam()));
    Error e;
    MOEQ_EXPECT_OK(write(builder, {1, 10, 20, 1, 10, 30}, &ok));
    const moeq_builder_state before = state(builder);
    struct Case {
        Piece piece;
        moeq_status status;
        int64_t expert, row, column;
    };
    for (const Case& c : {Case{{1, 10, 20, 1, 10, 30}, MOEQ_ERROR_DUPLICATE, 1, 10, 20},
                          Case{{0, 0, 0, 3, R, C}, MOEQ_ERROR_DUPLICATE, 1, 10, 20},
                          Case{{1, 19, 49, 1, 5, 5}, MOEQ_ERROR_DUPLICATE, 1, 19, 49},
                          Case{{1, 5, 25, 1, 7, 3}, MOEQ_ERROR_DUPLICATE, 1, 10, 25}}) {
        EXPECT_EQ(write(builder, c.piece, &e), c.status);
        EXPECT_EQ(e.expert, c.expert);
        EXPECT_EQ(e.row, c.row);
        EXPECT_EQ(e.column, c.column);
        EXPECT_STREQ(e.class_id, "H08");
    }
    HostTensor piece(MOEQ_DTYPE_BF16, {2, 4, 8});
    piece.fill();
    const int64_t far[][3] = {{2, 0, 0},  {0, R - 3, 0},     {0, 0, C - 7},    {-1, 0, 0},
                              {0, -1, 0}, {0, 0, INT64_MAX}, {INT64_MIN, 0, 0}};
    for (const auto& at : far)
        EXPECT_EQ(moeq_builder_write(builder.get(), at[0], at[1], at[2], piece, nullptr, &e), MOEQ_ERROR_RANGE)
            << e.message;
    HostTensor fp32(MOEQ_DTYPE_FP32, {1, 1, 4});
    EXPECT_EQ(moeq_builder_write(builder.get(), 0, 0, 0, fp32, nullptr, &e), MOEQ_ERROR_DTYPE);
    HostTensor flat(MOEQ_DTYPE_BF16, {4});
    EXPECT_EQ(moeq_builder_write(builder.get(), 0, 0, 0, flat, nullptr, &e), MOEQ_ERROR_SHAPE);
    HostTensor none(MOEQ_DTYPE_BF16, {0, 8});
    MOEQ_EXPECT_OK(moeq_builder_write(builder.get(), 1, 12, 22, none, nullptr, &ok)); // no rows: nothing to overlap
    EXPECT_EQ(state(builder).missing_elements, before.missing_elements);
    EXPECT_EQ(state(builder).staged_bytes, before.staged_bytes);
}

TEST_P(BuilderOf, H09_names_what_is_missing)
{
    Builder builder = make(parse(GetParam()));
    Error e;
    moeq_qtensor* out = nullptr;
    MOEQ_EXPECT_OK(write(builder, {1, 0, 0, 1, 10, C}, &ok));
    MOEQ_EXPECT_OK(write(builder, {1, 10, 0, 1, 5, 40}, &ok));
    EXPECT_EQ(moeq_builder_finish(builder.get(), nullptr, &out, &e), MOEQ_ERROR_INCOMPLETE);
    EXPECT_EQ(e.expert, 0);
    moeq_block blocks[8];
    int64_t count = 0;
    MOEQ_EXPECT_OK(moeq_builder_get_missing(builder.get(), blocks, 8, &count, &ok));
    const int64_t expected[][6] = {{0, 1, 0, R, 0, C}, {1, 2, 10, 15, 40, C}, {1, 2, 15, R, 0, C}, {2, 3, 0, R, 0, C}};
    ASSERT_EQ(count, 4);
    for (int i = 0; i < 4; ++i)
        EXPECT_EQ(std::memcmp(&blocks[i], expected[i], sizeof blocks[i]), 0) << i;
    // The builder lives on: the gaps, written, make it whole.
    for (int i = 0; i < 4; ++i)
        MOEQ_EXPECT_OK(write(builder,
                             {blocks[i].expert_begin, blocks[i].row_begin, blocks[i].column_begin,
                              blocks[i].expert_end - blocks[i].expert_begin, blocks[i].row_end - blocks[i].row_begin,
                              blocks[i].column_end - blocks[i].column_begin},
                             &ok));
    MOEQ_EXPECT_OK(moeq_builder_get_missing(builder.get(), nullptr, 0, &count, &ok));
    EXPECT_EQ(count, 0);
    EXPECT_EQ(stored_bytes(finish(builder)), stored_bytes(quantize(context, source, GetParam())));
}

TEST_P(BuilderOf, N01_a_refused_piece_may_be_sent_again)
{
    const Bytes expected = stored_bytes(quantize(context, source, GetParam()));
    Builder builder = make(parse(GetParam()));
    for (const Piece& p : cut(1, 9, 50, 3)) {
        const int64_t place = ((p.e * R) + p.r + p.rows - 1) * C + p.c + p.columns - 1;
        const uint16_t good = source.as<uint16_t>()[place];
        source.as<uint16_t>()[place] = 0x7F80; // Inf
        Error e;
        const moeq_builder_state before = state(builder);
        EXPECT_EQ(write(builder, p, &e), MOEQ_ERROR_VALUE);
        EXPECT_EQ(e.row, p.r + p.rows - 1);
        EXPECT_EQ(e.column, p.c + p.columns - 1);
        EXPECT_EQ(state(builder).missing_elements, before.missing_elements);
        EXPECT_EQ(state(builder).staged_bytes, before.staged_bytes);
        source.as<uint16_t>()[place] = good;
        MOEQ_EXPECT_OK(write(builder, p, &ok));
    }
    EXPECT_EQ(stored_bytes(finish(builder)), expected);
}

INSTANTIATE_TEST_SUITE_P(Specs, BuilderOf,
                         testing::Values("int8", "int8:axis=-2", "int8:profile=bnb_cpu_fp16", "int8:block16x32",
                                         "fp8_e4m3", "fp8_e4m3:expert", "fp8_e4m3:block128x128", "fp8_e5m2:block8x16",
                                         "mxfp8", "nf4:32", "nf4:64", "nf4:64,blocking=row", "nf4:64,blocking=flat",
                                         "nf4:32,nested", "nf4:64,profile=bnb_cpu,blocking=flat",
                                         "fp4:128,nested,blocking=row", "nf4:4096", "fp4:32,nonfinite=refuse,axis=-2"));

TEST(BuilderStaging, is_what_the_page_says)
{
    const Context context = make_context();
    const int64_t shape[3] = {2, 16, 128};
    Error e;
    const auto staged = [&](const char* text, int64_t row, int64_t column, const Shape& size,
                            const moeq_quantize_options* options) {
        const moeq_spec spec = parse(text);
        moeq_builder* out = nullptr;
        MOEQ_EXPECT_OK(moeq_builder_create(context.get(), &spec, 3, shape, options, nullptr, &out, &ok));
        const Builder owner(out);
        HostTensor piece(MOEQ_DTYPE_BF16, size);
        MOEQ_EXPECT_OK(moeq_builder_write(out, 0, row, column, piece.fill(), nullptr, &ok));
        auto state = sized<moeq_builder_state>();
        MOEQ_EXPECT_OK(moeq_builder_get_state(out, &state, &ok));
        return state.staged_bytes;
    };
    // Whole units: nothing. Else the units in flight, in the source's type.
    EXPECT_EQ(staged("int8", 3, 0, {4, 128}, nullptr), 0);
    EXPECT_EQ(staged("int8", 3, 64, {4, 64}, nullptr), 4 * 128 * 2);
    EXPECT_EQ(staged("int8:axis=-2", 0, 10, {16, 5}, nullptr), 0);
    EXPECT_EQ(staged("int8:axis=-2", 0, 10, {15, 5}, nullptr), 5 * 16 * 2);
    EXPECT_EQ(staged("fp8_e4m3:expert", 0, 0, {1, 128}, nullptr), 16 * 128 * 2);
    EXPECT_EQ(staged("fp8_e4m3:block8x64", 0, 0, {8, 100}, nullptr), 8 * 64 * 2);
    EXPECT_EQ(staged("nf4:64", 0, 0, {3, 64}, nullptr), 0);
    EXPECT_EQ(staged("nf4:64", 0, 32, {3, 64}, nullptr), 6 * 64 * 2);
    EXPECT_EQ(staged("nf4:64,nested", 0, 0, {3, 64}, nullptr), 2 * 16 * 128 / 64 * 4);
    // A given amax needs no staging.
    HostTensor amax(MOEQ_DTYPE_FP32, {2});
    amax.as<float>()[0] = 4.0f;
    amax.as<float>()[1] = 1.0f;
    auto options = sized<moeq_quantize_options>();
    options.amax = amax;
    EXPECT_EQ(staged("fp8_e4m3:expert", 0, 0, {1, 100}, &options), 0);
    // A limit refuses the piece, and it may come in another form.
    options = sized<moeq_quantize_options>();
    options.staging_limit = 1000;
    const moeq_spec spec = parse("int8");
    moeq_builder* out = nullptr;
    MOEQ_EXPECT_OK(moeq_builder_create(context.get(), &spec, 3, shape, &options, nullptr, &out, &ok));
    const Builder owner(out);
    HostTensor half(MOEQ_DTYPE_BF16, {4, 64});
    EXPECT_EQ(moeq_builder_write(out, 0, 0, 0, half.fill(), nullptr, &e), MOEQ_ERROR_LIMIT);
    HostTensor rows(MOEQ_DTYPE_BF16, {4, 128});
    MOEQ_EXPECT_OK(moeq_builder_write(out, 0, 0, 0, rows.fill(), nullptr, &ok));
}

TEST(BuilderAmax, encodes_every_piece_at_once)
{
    const Context context = make_context();
    HostTensor source(MOEQ_DTYPE_FP32, {2, 16, 128});
    source.fill(4);
    HostTensor amax(MOEQ_DTYPE_FP32, {2});
    amax.as<float>()[0] = 2.5f;
    amax.as<float>()[1] = 0.5f; // smaller than the data: saturates
    auto options = sized<moeq_quantize_options>();
    options.amax = amax;
    uint32_t seen = 0;
    options.status_word = &seen;
    const moeq_spec spec = parse("fp8_e4m3:expert");
    const Bytes expected = stored_bytes(quantize(context, source, spec, &options));
    EXPECT_EQ(seen, uint32_t{MOEQ_SEEN_SATURATED});
    const int64_t shape[3] = {2, 16, 128};
    moeq_builder* out = nullptr;
    MOEQ_EXPECT_OK(moeq_builder_create(context.get(), &spec, 3, shape, &options, nullptr, &out, &ok));
    Builder builder(out);
    amax.as<float>()[0] = 77.0f; // borrowed for the call only
    for (int64_t e = 0; e < 2; ++e)
        for (int64_t c = 0; c < 128; c += 16) {
            HostTensor piece(MOEQ_DTYPE_FP32, {16, 16});
            for (int64_t r = 0; r < 16; ++r)
                std::memcpy(piece.as<float>() + r * 16, source.as<float>() + (e * 16 + r) * 128 + c, 64);
            MOEQ_EXPECT_OK(moeq_builder_write(out, e, 0, c, piece, nullptr, nullptr));
        }
    moeq_qtensor* q = nullptr;
    MOEQ_EXPECT_OK(moeq_builder_finish(out, nullptr, &q, &ok));
    (void)builder.release();
    EXPECT_EQ(stored_bytes(QTensor(q)), expected);
}

TEST(BuilderStorage, H10_belongs_to_the_builder_and_goes_with_it)
{
    const Context context = make_context();
    HostTensor codes(MOEQ_DTYPE_INT8, {2, 4, 8});
    HostTensor scale(MOEQ_DTYPE_FP32, {2, 4});
    const moeq_component storage[2] = {{MOEQ_COMPONENT_CODES, 0, codes}, {MOEQ_COMPONENT_SCALE, 0, scale}};
    auto options = sized<moeq_quantize_options>();
    options.storage = storage;
    options.storage_count = 2;
    const moeq_spec spec = parse("int8");
    const int64_t shape[3] = {2, 4, 8};
    moeq_builder* out = nullptr;
    MOEQ_EXPECT_OK(moeq_builder_create(context.get(), &spec, 3, shape, &options, nullptr, &out, &ok));
    HostTensor piece(MOEQ_DTYPE_FP32, {4, 3});
    MOEQ_EXPECT_OK(moeq_builder_write(out, 1, 0, 2, piece.fill(), nullptr, &ok));
    moeq_builder_destroy(out); // abandoned with staged elements
    EXPECT_EQ(codes.deleted, 1);
    EXPECT_EQ(scale.deleted, 1);
    auto memory = sized<moeq_memory>();
    MOEQ_EXPECT_OK(moeq_context_get_memory(context.get(), &memory, &ok));
    const int64_t alone = memory.host_live;
    moeq_builder_destroy(nullptr);
    MOEQ_EXPECT_OK(moeq_builder_create(context.get(), &spec, 3, shape, nullptr, nullptr, &out, &ok));
    moeq_builder_destroy(out);
    MOEQ_EXPECT_OK(moeq_context_get_memory(context.get(), &memory, &ok));
    EXPECT_EQ(memory.host_live, alone);
}

} // namespace
} // namespace moeq_test
