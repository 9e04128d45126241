// Digests with the registers of NEON.
#include "cpu/neon/tier.h"
#include "cpu/xxh3.h"

namespace moeq::cpu::neon {

void overlay_digest(Kernels* kernels) { kernels->digest = digest_run; }

} // namespace moeq::cpu::neon
