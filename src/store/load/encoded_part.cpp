#include "store/load/encoded_part.h"

#include "codec/amax.h"
#include "store/dialects/dialect.h"

namespace moeq::store {

namespace {

constexpr int64_t kAlignment = 64;
int64_t padded(int64_t bytes) { return round_up(bytes, kAlignment); }

// The same address as integers have it: `bytes` before it, where nothing of ours need be.
char* before(char* address, int64_t bytes)
{
    return reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(address) - static_cast<uintptr_t>(bytes));
}

} // namespace

ComponentRange codes_of_rows(const Geometry& g, int64_t expert, int64_t row_begin, int64_t row_end)
{
    const int64_t first = expert * g.rows + row_begin;
    const int64_t last = expert * g.rows + row_end;
    if (!g.in_runs())
        return {first * g.columns, last * g.columns};
    if (g.run_per_row())
        return {first * g.run_bytes(), last * g.run_bytes()};
    const auto [run, begin] = g.run_place(expert, row_begin);
    const int64_t end = begin + (row_end - row_begin) * g.columns;
    return {run * g.run_bytes() + g.format->code_byte(begin), run * g.run_bytes() + g.format->code_bytes(end)};
}

ComponentRange scales_of_rows(const Geometry& g, int64_t expert, int64_t row_begin, int64_t row_end)
{
    if (row_begin == row_end)
        return {0, 0};
    if (!g.in_runs()) {
        const int64_t rows = g.row_tiling.count();
        const int64_t columns = g.column_tiling.count();
        const int64_t first = expert * rows + g.row_tiling.index_of(row_begin);
        const int64_t last = expert * rows + g.row_tiling.index_of(row_end - 1);
        return {first * columns, (last + 1) * columns};
    }
    if (g.run_per_row())
        return {(expert * g.rows + row_begin) * g.run_blocks(), (expert * g.rows + row_end) * g.run_blocks()};
    const auto [run, begin] = g.run_place(expert, row_begin);
    const int64_t end = begin + (row_end - row_begin) * g.columns;
    return {run * g.run_blocks() + begin / g.block, run * g.run_blocks() + ceil_divide(end, g.block)};
}

namespace {

// Statistics that are 8-bit codes: with their scales, the map and the offset.
class NestedReader {
public:
    NestedReader(const Checkpoint& checkpoint, const Weight& weight, char* scratch, Report& report)
        : checkpoint_(checkpoint), weight_(weight), scratch_(scratch), report_(report)
    {
    }

    moeq_status read(cpu::DecodeNested decode, const ComponentRange& range, float* out)
    {
        const int64_t first = range.begin / kNestedBlock;
        const int64_t last = ceil_divide(range.end, kNestedBlock);
        auto* map = reinterpret_cast<float*>(scratch_);
        float* scales = map + kNestedMapSize;
        auto* codes = reinterpret_cast<uint8_t*>(scales + (last - first));
        MOEQ_TRY(read(MOEQ_COMPONENT_NESTED_MAP, {0, kNestedMapSize}, map));
        MOEQ_TRY(read(MOEQ_COMPONENT_NESTED_SCALE, {first, last}, scales));
        MOEQ_TRY(checkpoint_.read(weight_.tensors[MOEQ_COMPONENT_SCALE], range.begin, range.count(), codes, report_));
        float offset = weight_.nested_offset;
        if (weight_.tensors[MOEQ_COMPONENT_NESTED_OFFSET] >= 0)
            MOEQ_TRY(read(MOEQ_COMPONENT_NESTED_OFFSET, {0, 1}, &offset));
        for (int64_t at = range.begin; at < range.end;) {
            const int64_t block = at / kNestedBlock;
            const int64_t end = minimum(range.end, (block + 1) * kNestedBlock);
            decode(codes + (at - range.begin), end - at, map, scales[block - first], offset, out + (at - range.begin));
            at = end;
        }
        return MOEQ_OK;
    }

private:
    moeq_status read(int32_t component, const ComponentRange& range, float* out)
    {
        constexpr int64_t kItem = sizeof(float);
        return checkpoint_.read(weight_.tensors[component], range.begin * kItem, range.count() * kItem, out, report_);
    }

    const Checkpoint& checkpoint_;
    const Weight& weight_;
    char* scratch_;
    Report& report_;
};

} // namespace

int64_t statistics_scratch(int64_t count)
{
    constexpr int64_t kItem = sizeof(float);
    return padded(kNestedMapSize * kItem + (count / kNestedBlock + 2) * kItem + count * kItem);
}

moeq_status read_statistics(const cpu::Kernels& kernels, const Checkpoint& checkpoint, const Weight& weight,
                            const ComponentRange& range, float* out, void* scratch, Report& report)
{
    if (range.count() == 0)
        return MOEQ_OK;
    if (weight.spec.nested != 0)
        return NestedReader(checkpoint, weight, static_cast<char*>(scratch), report)
            .read(kernels.decode_nested, range, out);
    const int64_t tensor = weight.tensors[MOEQ_COMPONENT_SCALE];
    const int32_t dtype = checkpoint.tensor(tensor).entry.dtype;
    const int64_t item = dtype_bytes(dtype);
    void* raw = dtype == MOEQ_DTYPE_FP32 ? static_cast<void*>(out) : scratch;
    MOEQ_TRY(checkpoint.read(tensor, range.begin * item, range.count() * item, raw, report));
    if (raw != out)
        widen_statistics(dtype, raw, range.count(), out);
    return MOEQ_OK;
}

bool is_good_statistic(float value, bool signs)
{
    return codec::magnitude_bits_fp32(value) < codec::kNonfiniteBits && (signs || !(value < 0.0f));
}

moeq_status refuse_statistic(const Weight& weight, float value, bool signs, int64_t expert, Report& report)
{
    Failure failure = report.fail(MOEQ_ERROR_VALUE);
    report.set_class("F16");
    report.set_place({expert, -1, -1});
    const bool finite = codec::magnitude_bits_fp32(value) < codec::kNonfiniteBits;
    (failure << "got " << (finite ? "a negative scale" : "a scale that is NaN or Inf") << " in ").quoted(weight.name);
    return failure << "; want finite scales" << (signs ? "" : " of 0 or more")
                   << "; a lenient reader takes what there is";
}

int64_t expert_of_statistic(const Geometry& g, int64_t index)
{
    if (!g.in_runs())
        return index / maximum(1, g.row_tiling.count() * g.column_tiling.count());
    return g.flat() ? index * g.block / maximum(1, g.expert_elements())
                    : index / maximum(1, g.run_blocks() * g.runs_per_expert);
}

moeq_status plain_geometry(const Weight& weight, Geometry* out, Report& report)
{
    moeq_spec spec = weight.spec;
    spec.nested = 0;
    return make_geometry(spec, 0, weight.ndim, weight.shape, 0, nullptr, out, report);
}

namespace {

// The most scale units that so many rows of an expert touch.
int64_t most_scales(const Geometry& g, int64_t rows)
{
    if (!g.in_runs())
        return minimum(rows / g.row_tiling.size + 3, g.row_tiling.count()) * g.column_tiling.count();
    return g.run_per_row() ? rows * g.run_blocks() : rows * g.columns / g.block + 2;
}

} // namespace

int64_t encoded_part_bytes(const Geometry& g, int64_t rows)
{
    const int64_t codes = rows * (g.format->code_byte(g.columns) + 1) + 2;
    const int64_t scales = most_scales(g, rows);
    return padded(codes) + padded(scales * static_cast<int64_t>(sizeof(float))) + statistics_scratch(scales);
}

moeq_status read_encoded_part(const cpu::Kernels& kernels, const Checkpoint& checkpoint, const Weight& weight,
                              const Geometry& geometry, int64_t expert, int64_t row_begin, int64_t row_end,
                              void* scratch, EncodedWeight* out, Report& report)
{
    const ComponentRange codes = codes_of_rows(geometry, expert, row_begin, row_end);
    const ComponentRange scales = scales_of_rows(geometry, expert, row_begin, row_end);
    char* code_bytes = static_cast<char*>(scratch);
    char* scale_bytes = code_bytes + padded(codes.count());
    constexpr int64_t kItem = sizeof(float);
    MOEQ_TRY(checkpoint.read(weight.tensors[MOEQ_COMPONENT_CODES], codes.begin, codes.count(), code_bytes, report));
    MOEQ_TRY(read_statistics(kernels, checkpoint, weight, scales, reinterpret_cast<float*>(scale_bytes),
                             scale_bytes + padded(scales.count() * kItem), report));
    EncodedWeight part;
    part.geometry = geometry;
    component_layout(geometry, MOEQ_COMPONENT_CODES, &part.codes);
    component_layout(geometry, MOEQ_COMPONENT_SCALE, &part.scale);
    part.scale.dtype = MOEQ_DTYPE_FP32; // as read_statistics gives them, whatever the file has
    part.codes.data = before(code_bytes, codes.begin);
    part.scale.data = before(scale_bytes, scales.begin * kItem);
    part.prepare();
    *out = part;
    return MOEQ_OK;
}

} // namespace moeq::store
