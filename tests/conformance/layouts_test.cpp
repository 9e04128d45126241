// Elements that are not row-major: a destination of any strides gets what a plain one gets and nothing else, and a source of any
// strides gives the codes of a plain one; whatever the tier, the threads, the stores and the region.
#include "support/api.h"

namespace moeq_test {
namespace {

constexpr uint8_t kUntouched = 0xA5;

// [n, rows, columns] somewhere in memory that is its own.
struct Layout {
    const char* name;
    Shape strides;
    int64_t first; // element of the memory that (0, 0, 0) is, behind 64 of a border of cache lines
};

// n, rows and columns are above 1.
std::vector<Layout> layouts_of(int64_t n, int64_t rows, int64_t columns)
{
    const int64_t lines = (rows + 63) / 64 * 64; // every column begins where (0, 0, 0) does to its cache line
    return {
        {"padded", {rows * (columns + 5), columns + 5, 1}, 0},
        {"transposed", {rows * columns, 1, rows}, 0},
        {"transposed, odd base", {rows * columns, 1, rows}, 3},
        {"transposed, whole lines", {lines * columns, 1, lines}, 0},
        {"transposed, whole lines, odd base", {lines * columns, 1, lines}, 7},
        {"transposed, experts backwards", {-columns * (rows + 9), 1, rows + 9}, (n - 1) * columns * (rows + 9)},
        {"transposed, rows backwards", {rows * columns, -1, rows}, rows - 1},
        {"transposed, columns backwards", {lines * columns, 1, -lines}, (columns - 1) * lines},
        {"transposed, every other row", {2 * rows * columns, 2, 2 * rows}, 1},
        {"experts innermost", {1, n, n * rows}, 0},
        {"every third column", {rows * columns * 3, columns * 3, 3}, 2},
    };
}

class Memory {
public:
    Memory(int32_t dtype, const Shape& shape, const Layout& layout)
        : bytes_(bytes_of(dtype)), strides_(layout.strides), tensor_(dtype, {1})
    {
        int64_t last = layout.first;
        for (size_t i = 0; i < 3; ++i) {
            shape_[i] = shape[i];
            last += strides_[i] > 0 ? (shape[i] - 1) * strides_[i] : 0;
        }
        memory_.assign(static_cast<size_t>((last + 1) * bytes_ + 256), kUntouched);
        base_ = memory_.data() + 64 + (-reinterpret_cast<uintptr_t>(memory_.data()) & 63) + layout.first * bytes_;
        DLTensor& plain = tensor_.plain();
        plain.ndim = 3;
        plain.shape = shape_;
        plain.strides = strides_.data();
        plain.data = base_;
    }

    DLManagedTensorVersioned* tensor() { return tensor_; }

    // Whether exactly the elements are those of `plain`, row-major, and every other byte is as it was made.
    testing::AssertionResult holds(const Bytes& plain)
    {
        Bytes wanted(memory_.size(), kUntouched);
        for_each([&](int64_t i, int64_t offset) {
            std::memcpy(wanted.data() + (base_ - memory_.data()) + offset * bytes_, plain.data() + i * bytes_,
                        static_cast<size_t>(bytes_));
        });
        if (wanted == memory_)
            return testing::AssertionSuccess();
        size_t at = 0;
        while (wanted[at] == memory_[at])
            ++at;
        return testing::AssertionFailure() << "byte " << static_cast<int64_t>(at) - (base_ - memory_.data())
                                           << " from (0, 0, 0) is " << int{memory_[at]} << ", not " << int{wanted[at]};
    }

    void fill(const Bytes& plain)
    {
        for_each([&](int64_t i, int64_t offset) {
            std::memcpy(base_ + offset * bytes_, plain.data() + i * bytes_, static_cast<size_t>(bytes_));
        });
    }

private:
    template <class Visit>
    void for_each(Visit visit)
    {
        int64_t i = 0;
        for (int64_t e = 0; e < shape_[0]; ++e)
            for (int64_t r = 0; r < shape_[1]; ++r)
                for (int64_t c = 0; c < shape_[2]; ++c)
                    visit(i++, e * strides_[0] + r * strides_[1] + c * strides_[2]);
    }

    int64_t bytes_;
    int64_t shape_[3];
    Shape strides_;
    Bytes memory_;
    uint8_t* base_;
    HostTensor tensor_;
};

struct Size {
    int64_t experts, rows, columns;
};
// Less than a band, several with a rest, whole ones; columns in one piece and in several, odd and even.
constexpr Size kSizes[] = {{2, 6, 7}, {3, 150, 301}, {2, 128, 576}, {4, 334, 70}};
constexpr int32_t kDtypes[] = {MOEQ_DTYPE_FP32, MOEQ_DTYPE_FP16, MOEQ_DTYPE_BF16};

struct Way {
    const char* name;
    int32_t threads, tier, stores;
};
constexpr Way kWays[] = {{"cached", 1, MOEQ_CPU_TIER_BEST, MOEQ_STORES_CACHED},
                         {"streamed by 3", 3, MOEQ_CPU_TIER_BEST, MOEQ_STORES_STREAMED},
                         {"avx2 streamed", 1, MOEQ_CPU_TIER_AVX2, MOEQ_STORES_STREAMED},
                         {"scalar by 2", 2, MOEQ_CPU_TIER_SCALAR, MOEQ_STORES_STREAMED}};

Context context_of(const Way& way)
{
    auto options = sized<moeq_context_options>();
    options.thread_limit = way.threads;
    options.cpu_tier = way.tier;
    moeq_context* out = nullptr;
    return moeq_context_create(&options, &out, nullptr) == MOEQ_OK ? Context(out) : nullptr; // none: no such tier here
}

class LayoutsOf : public testing::TestWithParam<const char*> {};

TEST_P(LayoutsOf, destinations_get_what_a_plain_one_gets_and_nothing_else)
{
    const Context first = make_context();
    for (const Size& size : kSizes) {
        HostTensor source(MOEQ_DTYPE_BF16, {size.experts, size.rows, size.columns});
        const QTensor made = quantize(first, source.fill(21), GetParam());
        std::vector<int64_t> backwards{size.experts - 1, 0, size.experts - 1};
        for (const Way& way : kWays) {
            const Context context = context_of(way);
            if (context == nullptr)
                continue;
            const QTensor q = quantize(context, source, GetParam());
            for (const bool some : {false, true}) {
                auto region = sized<moeq_region>();
                region.stores = way.stores;
                Shape shape = source.shape();
                if (some) {
                    region.experts = backwards.data();
                    region.expert_count = 3;
                    region.row_begin = size.rows / 3;
                    region.row_end = size.rows - 1;
                    shape[0] = 3;
                    shape[1] = region.row_end - region.row_begin;
                }
                for (const int32_t dtype : kDtypes) {
                    HostTensor plain(dtype, shape);
                    MOEQ_EXPECT_OK(moeq_qtensor_dequantize(made.get(), &region, nullptr, plain, &ok));
                    for (const Layout& layout : layouts_of(shape[0], shape[1], shape[2])) {
                        Memory memory(dtype, shape, layout);
                        MOEQ_EXPECT_OK(moeq_qtensor_dequantize(q.get(), &region, nullptr, memory.tensor(), &ok));
                        ASSERT_TRUE(memory.holds(plain.memory()))
                            << layout.name << ", " << way.name << ", " << size.rows << " x " << size.columns
                            << (some ? ", some rows" : "") << ", dtype " << dtype;
                    }
                }
            }
        }
    }
}

TEST_P(LayoutsOf, sources_give_the_codes_of_a_plain_one)
{
    for (const Size& size : kSizes) {
        const Shape shape{size.experts, size.rows, size.columns};
        for (const int32_t dtype : {MOEQ_DTYPE_FP32, MOEQ_DTYPE_BF16}) {
            HostTensor source(dtype, shape);
            source.fill(22);
            for (const Way& way : kWays) {
                const Context context = context_of(way);
                if (context == nullptr || way.tier == MOEQ_CPU_TIER_SCALAR)
                    continue;
                const Bytes wanted = stored_bytes(quantize(context, source, GetParam()));
                for (const Layout& layout : layouts_of(shape[0], shape[1], shape[2])) {
                    Memory memory(dtype, shape, layout);
                    memory.fill(source.memory());
                    ASSERT_TRUE(stored_bytes(quantize(context, memory.tensor(), GetParam())) == wanted)
                        << layout.name << ", " << way.name << ", " << size.rows << " x " << size.columns << ", dtype "
                        << dtype;
                }
            }
        }
    }
}

// Scales that are given, some too small and one 0.
TEST(Layouts, sources_with_given_amax)
{
    for (const char* text : {"int8:expert", "fp8_e4m3:expert"}) {
        const moeq_spec spec = parse(text);
        const Shape shape{3, 150, 301};
        HostTensor amax(MOEQ_DTYPE_FP32, {3});
        amax.as<float>()[0] = 100.0f;
        amax.as<float>()[1] = 0.25f;
        amax.as<float>()[2] = 0.0f;
        uint32_t seen = 0;
        auto options = sized<moeq_quantize_options>();
        options.amax = amax;
        options.status_word = &seen;
        for (const int32_t dtype : kDtypes) {
            HostTensor source(dtype, shape);
            source.fill(24);
            for (const Way& way : kWays) {
                const Context context = context_of(way);
                if (context == nullptr)
                    continue;
                const Bytes wanted = stored_bytes(quantize(context, source, spec, &options));
                for (const Layout& layout : layouts_of(shape[0], shape[1], shape[2])) {
                    Memory memory(dtype, shape, layout);
                    memory.fill(source.memory());
                    seen = 0;
                    ASSERT_TRUE(stored_bytes(quantize(context, memory.tensor(), spec, &options)) == wanted)
                        << text << ", " << layout.name << ", " << way.name << ", dtype " << dtype;
                    ASSERT_EQ(seen, uint32_t{MOEQ_SEEN_SATURATED}) << layout.name;
                }
            }
        }
    }
}

// NaN and Inf among elements that are not row-major: the same place is named, the same codes are made.
TEST_P(LayoutsOf, sources_with_nan_and_inf)
{
    const Context context = make_context();
    const Shape shape{2, 150, 301};
    for (const int32_t dtype : {MOEQ_DTYPE_FP32, MOEQ_DTYPE_BF16}) {
        HostTensor source(dtype, shape);
        source.fill(23);
        for (const int64_t bad : {int64_t{70} * 301 + 290, int64_t{151} * 301, int64_t{299} * 301 + 300}) {
            if (dtype == MOEQ_DTYPE_FP32)
                source.as<uint32_t>()[bad] = bad % 2 == 0 ? 0x7F800000u : 0x7FC00000u;
            else
                source.as<uint16_t>()[bad] = bad % 2 == 0 ? 0xFF80u : 0x7FC0u;
        }
        for (const int32_t policy : {MOEQ_NONFINITE_REFUSE, MOEQ_NONFINITE_SATURATE}) {
            moeq_spec spec = parse(GetParam());
            spec.nonfinite = policy;
            moeq_qtensor* out = nullptr;
            Error plain_error;
            const moeq_status status =
                moeq_qtensor_quantize(context.get(), source, &spec, nullptr, nullptr, &out, &plain_error);
            const QTensor plain(out);
            for (const Layout& layout : layouts_of(shape[0], shape[1], shape[2])) {
                Memory memory(dtype, shape, layout);
                memory.fill(source.memory());
                Error error;
                ASSERT_EQ(moeq_qtensor_quantize(context.get(), memory.tensor(), &spec, nullptr, nullptr, &out, &error),
                          status);
                const QTensor q(out);
                ASSERT_EQ(error.text(), plain_error.text()) << layout.name;
                if (status == MOEQ_OK) {
                    ASSERT_TRUE(stored_bytes(q) == stored_bytes(plain)) << layout.name;
                }
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Specs, LayoutsOf,
                         testing::Values("int8", "int8:scale=factor", "int8:axis=-2", "int8:expert", "int8:block16x32",
                                         "fp8_e4m3", "fp8_e4m3:block128x128", "fp8_e4m3:block64x300",
                                         "fp8_e4m3:block7x13,layout=gate_up", "fp8_e5m2:axis=-2", "mxfp8", "nf4",
                                         "nf4:32,nested", "nf4:64,blocking=row", "nf4:128,nested,blocking=flat",
                                         "nf4:4096", "fp4:32,nested,blocking=row", "fp4:profile=bnb_cpu"));

} // namespace
} // namespace moeq_test
