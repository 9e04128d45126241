// The rows of the format table, each defined in its format's file. A new format adds its line here and in table.cpp.
#pragma once

#include "formats/format.h"

namespace moeq {

extern const Format kInt8Format;
extern const Format kNf4Format;
extern const Format kFp4Format;
extern const Format kE4m3Format;
extern const Format kE5m2Format;

} // namespace moeq
