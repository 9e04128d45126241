// Digests with the wide registers of AVX-512.
#include "cpu/avx512/tier.h"
#include "cpu/xxh3.h"

namespace moeq::cpu::avx512 {

void overlay_digest(Kernels* kernels) { kernels->digest = digest_run; }

} // namespace moeq::cpu::avx512
