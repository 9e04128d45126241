#include "formats/encoded_weight.h"

#include "core/checked.h"
#include "core/memory.h"

namespace moeq {

TensorView& EncodedWeight::component(int32_t id)
{
    switch (id) {
    case MOEQ_COMPONENT_SCALE:
        return scale;
    case MOEQ_COMPONENT_NESTED_SCALE:
        return nested_scale;
    case MOEQ_COMPONENT_NESTED_MAP:
        return nested_map;
    case MOEQ_COMPONENT_NESTED_OFFSET:
        return nested_offset;
    case MOEQ_COMPONENT_CODE_MAP:
        return code_map;
    default:
        return codes;
    }
}

void EncodedWeight::prepare()
{
    const int32_t lead = geometry.flat() ? 0 : geometry.lead();
    code_lead_ = LeadAxes(codes, lead);
    scale_lead_ = LeadAxes(scale, lead);
    if (geometry.in_runs()) {
        const bool by_row = geometry.run_per_row();
        code_row_stride_ = by_row ? codes.strides[lead] : 0;
        scale_row_stride_ = by_row ? scale.strides[lead] : 0;
        return;
    }
    code_row_stride_ = codes.strides[lead];
    scale_row_stride_ = scale_column_stride_ = 0;
    if (geometry.spec.granularity == MOEQ_GRANULARITY_BLOCK) {
        scale_row_stride_ = scale.strides[lead];
        scale_column_stride_ = scale.strides[lead + 1];
    } else if (geometry.spec.granularity == MOEQ_GRANULARITY_ROW) {
        (geometry.scale_per_column() ? scale_column_stride_ : scale_row_stride_) = scale.strides[lead];
    }
}

namespace {

int64_t placed_bytes(const TensorView& view)
{
    return round_up(view.count * view.itemsize(), static_cast<int64_t>(Allocator::kAlignment));
}

} // namespace

int64_t EncodedWeight::lay_out(const Geometry& of, bool with_codes)
{
    geometry = of;
    int32_t ids[kComponentLimit];
    const int32_t count = stored_components(geometry, ids);
    int64_t bytes = 0;
    for (int32_t i = 0; i < count; ++i) {
        TensorView& view = component(ids[i]);
        component_layout(geometry, ids[i], &view);
        bytes += with_codes || ids[i] != MOEQ_COMPONENT_CODES ? placed_bytes(view) : 0;
    }
    return bytes;
}

void EncodedWeight::place(void* memory, const Device& device, bool with_codes)
{
    int32_t ids[kComponentLimit];
    const int32_t count = stored_components(geometry, ids);
    char* next = static_cast<char*>(memory);
    for (int32_t i = 0; i < count; ++i) {
        TensorView& view = component(ids[i]);
        view.data = next;
        view.device_type = device.type;
        view.device_id = device.id;
        next += with_codes || ids[i] != MOEQ_COMPONENT_CODES ? placed_bytes(view) : 0;
    }
    prepare();
}

} // namespace moeq
