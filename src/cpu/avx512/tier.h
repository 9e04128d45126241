// The AVX-512 tier: F, BW, DQ, VL, VBMI and VBMI2 (Ice Lake, Zen 4 and later).
#pragma once

#include "cpu/kernels.h"

namespace moeq::cpu::avx512 {

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

} // namespace moeq::cpu::avx512
