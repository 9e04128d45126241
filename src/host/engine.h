// What the host works with.
#pragma once

#include "core/parallel.h"
#include "cpu/kernels.h"

namespace moeq {

struct Engine {
    const Executor& executor;
    const cpu::Kernels& kernels;
};

} // namespace moeq
