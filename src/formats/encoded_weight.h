// Codes and scales in memory, with their meaning: what encoding writes and decoding reads. Owns nothing.
#pragma once

#include "core/stack_view.h"
#include "formats/geometry.h"

namespace moeq {

struct EncodedWeight {
    Geometry geometry;
    TensorView codes;
    TensorView scale;        // fp32, or E8M0; nested: uint8
    TensorView nested_scale; // these three only where nested
    TensorView nested_map;
    TensorView nested_offset;
    TensorView code_map; // only a destination has one: the format's own table is what decoding uses

    // The view of a stored component.
    TensorView& component(int32_t id);
    const TensorView& component(int32_t id) const { return const_cast<EncodedWeight*>(this)->component(id); }
    // Whether a view is set.
    bool has(int32_t id) const { return component_known(id) && component(id).dtype != 0; }
    // To be called when the component views are set.
    void prepare();

    // The stored components of a geometry, one behind the other in one block of memory, each aligned as the allocator aligns.
    // with_codes false: codes take no room. Sets geometry, types and shapes; the bytes of the block.
    int64_t lay_out(const Geometry& of, bool with_codes = true);
    // The views, over such a block, and where it is.
    void place(void* memory, const Device& device = {}, bool with_codes = true);

    // Units that are tiles: the codes of a row from a column on, one byte each; and the statistic of a scale unit.
    uint8_t* codes_at(int64_t expert, int64_t row, int64_t column) const
    {
        return bytes_of(codes) + code_lead_.offset(expert) + row * code_row_stride_ + column;
    }
    float* scale_at(int64_t expert, int64_t row_tile, int64_t column_tile) const
    {
        return reinterpret_cast<float*>(scale.data) + scale_lead_.offset(expert) + row_tile * scale_row_stride_ +
               column_tile * scale_column_stride_;
    }
    int64_t scale_column_stride() const { return scale_column_stride_; }

    // Units that are runs: the first byte of a run's codes, and the offset of its first statistic in elements of `scale`.
    uint8_t* run_codes(int64_t run) const { return bytes_of(codes) + run_offset(run, code_lead_, code_row_stride_); }
    // Where statistics are floats.
    float* run_absmax(int64_t run) const
    {
        return reinterpret_cast<float*>(scale.data) + run_offset(run, scale_lead_, scale_row_stride_);
    }
    // Its first statistic's bytes, whatever those are.
    uint8_t* run_statistics(int64_t run) const
    {
        return bytes_of(scale) + run_offset(run, scale_lead_, scale_row_stride_) * scale.itemsize();
    }
    // Whether statistics are what kernels take: else they are decoded first (host/decode.h).
    bool statistics_are_floats() const { return scale.dtype == MOEQ_DTYPE_FP32; }
    float nested_offset_value() const { return *reinterpret_cast<const float*>(nested_offset.data); }

private:
    static bool component_known(int32_t id) { return id >= MOEQ_COMPONENT_CODES && id <= MOEQ_COMPONENT_CODE_MAP; }
    static uint8_t* bytes_of(const TensorView& view) { return reinterpret_cast<uint8_t*>(view.data); }
    int64_t run_offset(int64_t run, const LeadAxes& lead, int64_t row_stride) const
    {
        const int64_t per_expert = geometry.runs_per_expert;
        if (per_expert == 0)
            return 0;
        return per_expert == 1 && !geometry.run_per_row()
                   ? lead.offset(run)
                   : lead.offset(run / per_expert) + run % per_expert * row_stride;
    }

    LeadAxes code_lead_;
    LeadAxes scale_lead_;
    int64_t code_row_stride_ = 0;
    int64_t scale_row_stride_ = 0;
    int64_t scale_column_stride_ = 0;
};

} // namespace moeq
