// The formats that there are, and what their statistics are: what a weight's description and the tables of kernels are both
// indexed by.
#pragma once

#include <cstdint>

namespace moeq {

// Every format, in the order of the ids: X(name here, name behind MOEQ_FORMAT_). The rows of the format table
// (formats/table.cpp), the scalar references and the indices of kernels are made of it.
#define MOEQ_FORMAT_LIST(X) X(Int8, INT8) X(Nf4, NF4) X(Fp4, FP4) X(E4m3, FP8_E4M3) X(E5m2, FP8_E5M2)

#define MOEQ_FORMAT_INDEX(name, id) k##name,
enum FormatIndex : int32_t { MOEQ_FORMAT_LIST(MOEQ_FORMAT_INDEX) kFormats };
#undef MOEQ_FORMAT_INDEX

// The largest magnitude of a unit, or what its codes are multiplied by.
enum ScaleKind : int32_t { kAbsmax = 0, kFactor = 1, kScaleKinds = 2 };

} // namespace moeq
