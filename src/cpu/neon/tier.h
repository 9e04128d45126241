// The NEON tier: what every 64-bit ARM processor has (Armv8.0-A), no more.
#pragma once

#include "cpu/kernels.h"

namespace moeq::cpu::neon {

// Writes this tier's kernels over `kernels`.
void overlay(Kernels* kernels);

// The parts of it, one for each file.
void overlay_amax(Kernels* kernels);
void overlay_nested(Kernels* kernels);
void overlay_digest(Kernels* kernels);
void overlay_transpose(Kernels* kernels);
void overlay_int8(TileKernels* kernels);
void overlay_e4m3(TileKernels* kernels);
void overlay_e5m2(TileKernels* kernels);
void overlay_nf4(RunKernels* kernels);
void overlay_fp4(RunKernels* kernels);

} // namespace moeq::cpu::neon
