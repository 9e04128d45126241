// What a load works with: a part of a stack on its way into memory, as codes and scales.
#pragma once

#include "formats/encoded_weight.h"
#include "store/load/buffers.h"
#include "store/load/progress.h"
#include "store/load/stack_source.h"

namespace moeq::store {

struct LoadJob {
    const Engine& engine;
    Allocator& allocator;
    const StackSource& source;
    const EncodedWeight& out; // whose components are allocated
    Progress& progress;
    // [experts], EXPERT granularity; NULL: an amax pass comes first where the spec needs one.
    const TensorView* amax = nullptr;
    Digest* digest = nullptr;   // of the bytes read, in a fixed order; NULL: nobody asks
    Buffers* buffers = nullptr; // memory that loads one after the other share; NULL: this one has its own
};

} // namespace moeq::store
