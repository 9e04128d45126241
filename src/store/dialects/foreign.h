// What a checkpoint holds in schemes that moeq does not read: codes that are no weight here, and what they call themselves.
#pragma once

#include "store/dialects/dialect.h"

namespace moeq::store {

struct ForeignCodes {
    // Of whom: "modelopt NVFP4", as config.json says, or what names and types tell. NULL: nothing is said, and nothing is there.
    const char* scheme = nullptr;
    const char* detail = ""; // of the scheme: its algorithm or packing; "": none is stated
    bool stated = false;     // config.json says so
    bool lost = false;       // codes of a scheme that moeq reads, whose scales are in none of the files
    int64_t count = 0;       // tensors with codes that no weight has
    int64_t first = -1;
};

// Whether a tensor is called what scales, zero points and the like beside codes are.
bool is_companion_name(const char* name, int64_t length);

// Linear in the tensors.
ForeignCodes find_foreign_codes(const Checkpoint& checkpoint, const Weights& weights);

// {"scheme", "detail", "codes", "first", "lost"}, or null where there is nothing foreign.
void write_foreign_codes(const Checkpoint& checkpoint, const ForeignCodes& foreign, text::JsonWriter& json);
// "96 tensors of modelopt NVFP4, which moeq does not read, such as "a.b" (uint8 [128, 64])".
Failure& append_foreign_codes(const Checkpoint& checkpoint, const ForeignCodes& foreign, Failure& failure);

} // namespace moeq::store
