// The rows of the format table and their scalar references, each defined in its format's file.
#pragma once

#include "cpu/kernels.h"
#include "formats/format.h"

namespace moeq {

#define MOEQ_FORMAT_ROW(name, id)        \
    extern const Format k##name##Format; \
    extern const cpu::FormatKernels k##name##Reference;
MOEQ_FORMAT_LIST(MOEQ_FORMAT_ROW)
#undef MOEQ_FORMAT_ROW

} // namespace moeq
