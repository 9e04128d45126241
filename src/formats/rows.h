// The rows of the format table and their scalar references, each defined in its format's file.
#pragma once

#include "cpu/kernels.h"
#include "formats/format.h"

namespace moeq {

#define MOEQ_TILE_ROW(name, id)          \
    extern const Format k##name##Format; \
    extern const cpu::TileKernels k##name##Reference;
#define MOEQ_RUN_ROW(name, id)           \
    extern const Format k##name##Format; \
    extern const cpu::RunKernels k##name##Reference;
MOEQ_FORMAT_LIST(MOEQ_TILE_ROW, MOEQ_RUN_ROW)
#undef MOEQ_RUN_ROW
#undef MOEQ_TILE_ROW

} // namespace moeq
