// The formats that there are, and what their statistics are: what a weight's description and the tables of kernels are both
// indexed by.
#pragma once

#include <cstdint>

namespace moeq {

// Every format, in the order of the ids: TILE or RUN(name here, name behind MOEQ_FORMAT_), by what its scale units are. The rows
// of the format table (formats/table.cpp), the scalar references and the indices of kernels are made of it.
#define MOEQ_FORMAT_LIST(TILE, RUN) \
    TILE(Int8, INT8) RUN(Nf4, NF4) RUN(Fp4, FP4) TILE(E4m3, FP8_E4M3) TILE(E5m2, FP8_E5M2) RUN(Mxfp8, MXFP8)

// Where the kernels of a format are among those of its family.
#define MOEQ_NO_FORMAT(name, id)
#define MOEQ_FORMAT_INDEX(name, id) k##name,
enum TileFormat : int32_t { MOEQ_FORMAT_LIST(MOEQ_FORMAT_INDEX, MOEQ_NO_FORMAT) kTileFormats };
enum RunFormat : int32_t { MOEQ_FORMAT_LIST(MOEQ_NO_FORMAT, MOEQ_FORMAT_INDEX) kRunFormats };
constexpr int32_t kKernelIndex[] = {MOEQ_FORMAT_LIST(MOEQ_FORMAT_INDEX, MOEQ_FORMAT_INDEX)};
#undef MOEQ_FORMAT_INDEX
#undef MOEQ_NO_FORMAT
constexpr int32_t kFormatCount = int32_t{kTileFormats} + int32_t{kRunFormats};

// The largest magnitude of a unit, or what its codes are multiplied by.
enum ScaleKind : int32_t { kAbsmax = 0, kFactor = 1, kScaleKinds = 2 };

} // namespace moeq
