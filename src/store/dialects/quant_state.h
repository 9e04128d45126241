// The JSON object in bitsandbytes' tensor P.quant_state.bitsandbytes__nf4 (or __fp4), written and read.
#pragma once

#include "formats/geometry.h"
#include "store/container/checkpoint.h"

namespace moeq::store {

// One of bitsandbytes' 4-bit types.
struct QuantType {
    int32_t format;     // MOEQ_FORMAT_
    const char* name;   // as the JSON and the tensor's name spell it
    const char* suffix; // of the tensor, after the parameter's name
};

constexpr char kQuantStateStem[] = ".quant_state.bitsandbytes__";
const QuantType& quant_type(const Geometry& geometry);
const QuantType* find_quant_type(const char* suffix); // NULL: none

// What a quant_state says.
struct QuantState {
    int32_t block = 0;
    int32_t dtype = 0;
    int32_t ndim = 0;
    int64_t shape[kMaxDims] = {};
    bool nested = false;
    float offset = 0.0f;
};

// Appends the JSON; with nested statistics it is filled up with spaces, so that its size does not depend on the offset.
[[nodiscard]] moeq_status append_quant_state(const Geometry& geometry, double offset, Array<char>* out, Report& report);
// FORMAT, F11, F12 or F15, for what is no such object, or has other members than bitsandbytes writes; UNSUPPORTED for kinds of
// nested statistics that nobody writes.
[[nodiscard]] moeq_status read_quant_state(Allocator& allocator, const Checkpoint& checkpoint, int64_t tensor,
                                           const QuantType& type, QuantState* out, Report& report);

} // namespace moeq::store
