// One call of a conversion.
#pragma once

#include "host/engine.h"
#include "store/convert/target.h"
#include "store/load/progress.h"

namespace moeq::store {

// What all units of one call work with.
struct Conversion {
    const Engine& engine;
    Allocator& allocator;
    const Checkpoint& checkpoint;
    const Weights& weights;
    const Plan& plan;
    Progress& progress;
    ConvertTarget& target;
    bool durable;
    int folder() const { return target.folder(); }
};

} // namespace moeq::store
