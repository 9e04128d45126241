#pragma once

#include "cpu/kernels.h"

namespace moeq {

// Sets every kernel of the table to its scalar reference; a tier then lays what it has of its own over them.
void fill_reference_kernels(cpu::Kernels* kernels);

} // namespace moeq
