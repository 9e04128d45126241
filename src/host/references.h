#pragma once

#include "cpu/kernels.h"

namespace moeq {

void fill_reference_kernels(cpu::Kernels* kernels);

} // namespace moeq
