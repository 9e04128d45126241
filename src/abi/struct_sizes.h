// The public structs with a struct_size: what the library knows of each, and the least that it accepts, which is the size in
// the first release and never changes.
#pragma once

#include <cstdint>

#include "moeq.h"

namespace moeq {

template <class T>
struct SizedStruct;

#define MOEQ_SIZED_STRUCT(type, first_release_size)              \
    template <>                                                  \
    struct SizedStruct<type> {                                   \
        static constexpr const char* kName = #type;              \
        static constexpr uint32_t kMinimum = first_release_size; \
        static_assert(sizeof(type) >= kMinimum);                 \
    };

MOEQ_SIZED_STRUCT(moeq_context_options, 56)
MOEQ_SIZED_STRUCT(moeq_memory, 24)
MOEQ_SIZED_STRUCT(moeq_spec, 52)
MOEQ_SIZED_STRUCT(moeq_component_info, 88)
MOEQ_SIZED_STRUCT(moeq_quantize_options, 56)
MOEQ_SIZED_STRUCT(moeq_qtensor_info, 128)
MOEQ_SIZED_STRUCT(moeq_region, 56)
MOEQ_SIZED_STRUCT(moeq_builder_state, 32)
MOEQ_SIZED_STRUCT(moeq_reduce_options, 40)
MOEQ_SIZED_STRUCT(moeq_progress, 32)
MOEQ_SIZED_STRUCT(moeq_reader_options, 24)
MOEQ_SIZED_STRUCT(moeq_reader_info, 40)
MOEQ_SIZED_STRUCT(moeq_tensor_info, 136)
MOEQ_SIZED_STRUCT(moeq_stack_info, 64)
MOEQ_SIZED_STRUCT(moeq_load_options, 72)
MOEQ_SIZED_STRUCT(moeq_writer_options, 24)
MOEQ_SIZED_STRUCT(moeq_convert_options, 72)

#undef MOEQ_SIZED_STRUCT

} // namespace moeq
