// The rows of the format table, each defined in its format's file.
#pragma once

#include "formats/format.h"

namespace moeq {

#define MOEQ_FORMAT_ROW(name, id) extern const Format k##name##Format;
MOEQ_FORMAT_LIST(MOEQ_FORMAT_ROW)
#undef MOEQ_FORMAT_ROW

} // namespace moeq
