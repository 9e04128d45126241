// Which kernels the AVX2 tier has.
#include "cpu/avx2/tier.h"

namespace moeq::cpu::avx2 {

void overlay(Kernels* kernels)
{
    overlay_amax(kernels);
    overlay_nested(kernels);
    overlay_digest(kernels);
    overlay_transpose(kernels);
    overlay_int8(&kernels->tiles[kInt8]);
    overlay_nf4(&kernels->runs[kNf4]);
    overlay_fp4(&kernels->runs[kFp4]);
    overlay_e4m3(&kernels->tiles[kE4m3]);
    overlay_e5m2(&kernels->tiles[kE5m2]);
}

} // namespace moeq::cpu::avx2
