// Digests with the wide registers of AVX2.
#include "cpu/avx2/tier.h"
#include "cpu/xxh3.h"

namespace moeq::cpu::avx2 {

void overlay_digest(Kernels* kernels) { kernels->digest = digest_run; }

} // namespace moeq::cpu::avx2
